//! Rounding of channel counts.

/// Multiple of `divisor` nearest to `value` (halves up), at least `divisor` and never below 90 % of `value`.
///
/// Source: `make_divisible` of the authors' `ofa/utils`, which took it from TensorFlow's MobileNet.
///
/// # Panics
/// If `divisor` is 0.
pub fn make_divisible(value: f64, divisor: usize) -> usize {
    let d = divisor as f64;
    let rounded = (((value + d / 2.0) / d).floor() * d).max(d);
    let rounded = if rounded < 0.9 * value { rounded + d } else { rounded };
    rounded as usize
}

/// Middle channels of a block: `in_channels · ratio`, rounded half to even and then to a multiple of 8.
///
/// Source: `make_divisible(round(in_channels * expand_ratio), MyNetwork.CHANNEL_DIVISIBLE)` in the authors' layers.
pub fn middle_channels(in_channels: usize, ratio: f64) -> usize {
    make_divisible((in_channels as f64 * ratio).round_ties_even(), 8)
}

/// Squeeze width of a squeeze-excite over `channels`: a quarter, rounded to a multiple of 8.
///
/// Source: `SEModule` of the authors' `pytorch_modules.py` (reduction 4).
pub fn squeeze_channels(channels: usize) -> usize {
    make_divisible((channels / 4) as f64, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_the_reference() {
        for (value, expected) in
            [(4.0, 8), (10.0, 16), (12.0, 16), (28.0, 32), (26.0, 24), (20.0, 24), (40.0, 40), (19.2, 24)]
        {
            assert_eq!(make_divisible(value, 8), expected, "{value}");
        }
        assert_eq!(middle_channels(24, 3.0), 72);
        assert_eq!(squeeze_channels(72), 24);
    }

    #[test]
    fn never_below_ninety_percent() {
        for v in 1..2000 {
            assert!(make_divisible(v as f64, 8) as f64 >= 0.9 * v as f64);
        }
    }
}
