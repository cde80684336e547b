//! Histograms of activations whose range is not known beforehand, and where to cut them off.

/// Bins of a histogram, from −limit to limit. At least a quarter of them are used.
const BINS: usize = 8192;
/// Thresholds that are tried on each side of 0.
const STEPS: usize = 100;

/// How often values occur.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// A power of two above every magnitude; 0 as long as only zeros were seen.
    limit: f32,
    counts: Vec<u64>,
    /// Zeros, which every quantisation here keeps as they are.
    zeros: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { limit: 0.0, counts: vec![0; BINS], zeros: 0 }
    }
}

impl Histogram {
    /// Counts values; those that are no number, or infinite, are left out.
    pub fn extend(&mut self, values: &[f32]) {
        let largest = values.iter().filter(|v| v.is_finite()).fold(0.0f32, |largest, v| largest.max(v.abs()));
        if largest > 0.0 && self.limit == 0.0 {
            self.limit = 2.0f32.powi(largest.log2().floor() as i32 + 1);
        }
        while largest >= self.limit && largest > 0.0 {
            self.widen();
        }
        let (half, per_unit) = (BINS as f32 / 2.0, BINS as f32 / 2.0 / self.limit);
        for value in values.iter().filter(|v| v.is_finite()) {
            match *value == 0.0 {
                true => self.zeros += 1,
                false => self.counts[((value * per_unit + half) as usize).min(BINS - 1)] += 1,
            }
        }
    }

    /// Doubles the limit.
    fn widen(&mut self) {
        let mut wider = vec![0; BINS];
        for (bin, count) in self.counts.iter().enumerate() {
            wider[BINS / 4 + bin / 2] += count;
        }
        self.counts = wider;
        self.limit *= 2.0;
    }

    /// The range within `extremes` whose 256 steps have the least squared error, if values outside `matters` count as its
    /// ends: rounding within the range, s²/12 a value, and cutting off outside it. 0 is within the range always.
    ///
    /// The criterion is that of R. Banner et al., "Post-training 4-bit quantization of convolution networks for
    /// rapid-deployment" (arXiv 1810.05723), taken over the histogram instead of a fitted density.
    pub fn least_error(&self, extremes: (f32, f32), matters: (f32, f32)) -> (f32, f32) {
        let (lowest, highest) = (extremes.0.max(matters.0).min(0.0), extremes.1.min(matters.1).max(0.0));
        let bins: Vec<(f64, f64)> = self.bins(matters).collect();
        // A side's thresholds, and what cutting off there costs.
        let side = |end: f32| -> Vec<(f64, f64, f64)> {
            let steps = if end == 0.0 { STEPS..=STEPS } else { 1..=STEPS };
            let cost = |threshold: f64| {
                let beyond = bins.iter().filter(|(value, _)| match end > 0.0 {
                    true => *value > threshold,
                    false => *value < threshold,
                });
                beyond.fold((0.0, 0.0), |(cost, count), (v, n)| (cost + n * (v - threshold).powi(2), count + n))
            };
            steps
                .map(|step| {
                    let threshold = f64::from(end) * step as f64 / STEPS as f64;
                    let (cost, count) = if end == 0.0 { (0.0, 0.0) } else { cost(threshold) };
                    (threshold, cost, count)
                })
                .collect()
        };
        let all: f64 = bins.iter().map(|(_, count)| count).sum();
        let (lows, highs) = (side(lowest), side(highest));
        let mut best = (f64::INFINITY, (lowest, highest));
        for (low, cut_below, below) in &lows {
            for (high, cut_above, above) in &highs {
                let step = (high - low) / 255.0;
                let cost = cut_below + cut_above + (all - below - above).max(0.0) * step * step / 12.0;
                if cost < best.0 {
                    best = (cost, (*low as f32, *high as f32));
                }
            }
        }
        best.1
    }

    /// Centre and count of every bin that is not empty, within what matters.
    fn bins(&self, matters: (f32, f32)) -> impl Iterator<Item = (f64, f64)> {
        let width = 2.0 * self.limit / BINS as f32;
        let limit = self.limit;
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(bin, count)| {
            let centre = (bin as f32 + 0.5) * width - limit;
            (f64::from(centre.clamp(matters.0, matters.1)), *count as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

    #[test]
    fn it_widens_without_losing_a_value() {
        let mut histogram = Histogram::default();
        histogram.extend(&[0.0, 0.0, 0.3, -0.2]);
        histogram.extend(&[100.0, f32::NAN, -3.0]);
        assert_eq!((histogram.zeros, histogram.counts.iter().sum::<u64>(), histogram.limit), (2, 4, 128.0));
        let near =
            |value: f64| histogram.bins(ALL).any(|(centre, count)| count == 1.0 && (centre - value).abs() < 0.05);
        assert!(near(100.0) && near(-3.0), "{:?}", histogram.bins(ALL).collect::<Vec<_>>());
    }

    #[test]
    fn evenly_spread_values_are_not_cut_off_and_an_outlier_is() {
        let even: Vec<f32> = (0..10_000).map(|i| i as f32 / 1000.0).collect();
        let mut histogram = Histogram::default();
        histogram.extend(&even);
        let (low, high) = histogram.least_error((0.0, 10.0), ALL);
        assert!(low == 0.0 && high > 9.8, "{low} {high}");
        histogram.extend(&[200.0]);
        let (_, high) = histogram.least_error((0.0, 200.0), ALL);
        assert!(high < 200.0, "{high}");
        assert_eq!(Histogram::default().least_error((0.0, 0.0), ALL), (0.0, 0.0));
    }

    #[test]
    fn what_does_not_matter_takes_no_steps() {
        let values: Vec<f32> = (-5000..5000).map(|i| i as f32 / 1000.0).collect();
        let mut histogram = Histogram::default();
        histogram.extend(&values);
        let (low, high) = histogram.least_error((-5.0, 5.0), (-3.0, f32::INFINITY));
        assert!((-3.0..-2.8).contains(&low) && high > 4.8, "{low} {high}");
    }
}
