//! Accuracies that were measured: how sure they are, and how they are written everywhere.

use ofa_train::evaluation::ClassAccuracy;
use serde::{Deserialize, Serialize};

/// Half the width, in standard deviations, of a two-sided interval of 95 %.
const DEVIATIONS: f64 = 1.959_963_984_540_054;

/// Test images below which an accuracy hardly tells networks apart.
const FEW_IMAGES: usize = 100;

/// A share of right answers, and over how many images it was counted.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct MeasuredAccuracy {
    /// Right answers over all, 0 to 1.
    pub share: f64,
    /// Images.
    pub images: usize,
}

impl MeasuredAccuracy {
    /// So many right answers over all, of so many images.
    pub fn new(share: f64, images: usize) -> Self {
        Self { share, images }
    }

    /// The 95 % interval of the accuracy on further images of the same kind (Wilson 1927, without continuity correction);
    /// 0 to 1 where nothing was counted.
    pub fn interval(self) -> [f64; 2] {
        if self.images == 0 {
            return [0.0, 1.0];
        }
        let (p, n, z2) = (self.share, self.images as f64, DEVIATIONS * DEVIATIONS);
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = DEVIATIONS / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        [(centre - half).max(0.0), (centre + half).min(1.0)]
    }

    /// Digits after the point that its interval supports.
    fn digits(self) -> usize {
        let [low, high] = self.interval();
        // An interval of ±1 point is 2 points wide.
        if high - low > 0.02 { 1 } else { 2 }
    }

    /// In per cent: two digits after the point, or one where the interval is wider than ±1 point.
    pub fn percent(self) -> String {
        self.number() + " %"
    }

    /// [`percent`](Self::percent) with the interval: `85.3 % (82.0–88.2)`.
    pub fn with_interval(self) -> String {
        let ([low, high], digits) = (self.interval(), self.digits());
        format!("{} ({:.digits$}–{:.digits$})", self.percent(), 100.0 * low, 100.0 * high)
    }

    /// [`percent`](Self::percent) without its sign.
    pub fn number(self) -> String {
        format!("{:.*}", self.digits(), 100.0 * self.share)
    }

    /// The same share of the same images, written for another value, such as a prediction.
    pub fn written_like_it(self, share: f64) -> String {
        format!("{:.*}", self.digits(), 100.0 * share)
    }
}

/// The share of the largest class: the accuracy of a network that always answers with it. `None` where nothing was counted.
pub fn baseline(per_class: &[ClassAccuracy]) -> Option<f64> {
    let total: usize = per_class.iter().map(|class| class.images).sum();
    let largest = per_class.iter().map(|class| class.images).max()?;
    (total > 0).then(|| largest as f64 / total as f64)
}

/// The warning of too few test images.
pub fn few_test_images(images: usize) -> Option<String> {
    (images < FEW_IMAGES).then(|| {
        let [low, high] = MeasuredAccuracy::new(0.8, images).interval();
        format!(
            "only {images} test images: an accuracy of 80 % may as well be {:.0} or {:.0} %; differences between networks mean \
             little",
            100.0 * low,
            100.0 * high
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of statsmodels' `proportion_confint(count, n, method="wilson")`.
    #[test]
    fn intervals_are_those_of_wilson() {
        for (right, images, low, high) in [
            (7, 10, 0.396_77, 0.892_21),
            (0, 10, 0.0, 0.277_53),
            (10, 10, 0.722_47, 1.0),
            (431, 505, 0.820_05, 0.881_55),
        ] {
            let accuracy = MeasuredAccuracy::new(f64::from(right) / f64::from(images), images as usize);
            let [l, h] = accuracy.interval();
            assert!((l - low).abs() < 1e-4 && (h - high).abs() < 1e-4, "{right}/{images}: {l} {h}");
        }
        assert_eq!(MeasuredAccuracy::new(0.0, 0).interval(), [0.0, 1.0]);
    }

    #[test]
    fn digits_follow_the_interval() {
        assert_eq!(MeasuredAccuracy::new(0.853_465, 505).percent(), "85.3 %");
        assert_eq!(MeasuredAccuracy::new(0.853_465, 505).with_interval(), "85.3 % (82.0–88.2)");
        assert_eq!(MeasuredAccuracy::new(0.991_23, 10_000).percent(), "99.12 %");
    }

    #[test]
    fn the_baseline_is_the_largest_class() {
        let class = |images| ClassAccuracy { class: String::new(), images, recall: None, precision: None };
        assert_eq!(baseline(&[class(90), class(3), class(7)]), Some(0.9));
        assert_eq!(baseline(&[class(0)]), None);
    }
}
