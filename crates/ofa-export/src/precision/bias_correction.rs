//! Bias correction: rounded weights shift the mean of what a channel computes, most of all in depthwise convolutions, whose
//! few weights do not average out; the bias takes the shift back.
//!
//! The expected shift of an output channel is `Σ (ŵ − w) · E[x]` over its weights, with the means that the calibration
//! images have in the input channels: section 4.2 of M. Nagel et al., "Data-Free Quantization Through Weight Equalization
//! and Bias Correction" (ICCV 2019, arXiv 1906.04721), with measured means.

/// Takes the shift of every output channel out of its bias, given weights `[output, input, …]` before and after rounding
/// and the mean of every input channel.
///
/// Output channels are in equal groups, and so are input channels: a group of outputs reads its own group of inputs.
pub(crate) fn correct(bias: &mut [f32], weight: &[f32], rounded: &[f32], inputs_of_one: usize, means: &[f64]) {
    let outputs = bias.len().max(1);
    let per_output = weight.len() / outputs;
    let groups = (means.len() / inputs_of_one.max(1)).max(1);
    let taps = (per_output / inputs_of_one.max(1)).max(1);
    let kernels = weight.chunks(per_output.max(1)).zip(rounded.chunks(per_output.max(1)));
    for (output, (bias, (before, after))) in bias.iter_mut().zip(kernels).enumerate() {
        let first = output * groups / outputs * inputs_of_one;
        let of_inputs = before.chunks(taps).zip(after.chunks(taps)).zip(means.iter().skip(first));
        let shift: f64 = of_inputs
            .map(|((before, after), mean)| {
                let change: f64 = before.iter().zip(after).map(|(b, a)| f64::from(*a) - f64::from(*b)).sum();
                change * mean
            })
            .sum();
        *bias -= shift as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_every_output_stays() {
        // Two groups of one input each with two taps, two outputs a group.
        let weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let rounded = [1.5, 2.0, 3.0, 4.0, 5.0, 5.0, 7.0, 8.25];
        let mut bias = [0.0, 0.0, 0.0, 1.0];
        correct(&mut bias, &weight, &rounded, 1, &[2.0, 4.0]);
        assert_eq!(bias, [-1.0, 0.0, 4.0, 0.0]);
        // One group of two inputs.
        let mut bias = [0.0];
        correct(&mut bias, &[1.0, 1.0], &[2.0, 0.0], 2, &[3.0, 1.0]);
        assert_eq!(bias, [-2.0]);
    }
}
