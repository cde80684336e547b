//! Accuracies that were measured: how sure they are, and how they are written everywhere.

use ofa_train::evaluation::ClassAccuracy;
use serde::{Deserialize, Serialize};

/// Half the width, in standard deviations, of a two-sided interval of 95 %.
const DEVIATIONS: f64 = 1.959_963_984_540_054;

/// With fewer test images, the accuracies of similar networks cannot be compared.
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
        format!("{} ({})", self.percent(), self.interval_number())
    }

    /// The interval alone, in per cent without their sign: `82.0–88.2`.
    pub fn interval_number(self) -> String {
        let ([low, high], digits) = (self.interval(), self.digits());
        format!("{:.digits$}–{:.digits$}", 100.0 * low, 100.0 * high)
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

/// Which images of a set a network answered rightly, in the order of the set: four to a hexadecimal digit, the first in its
/// highest bit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RightAnswers(String);

/// One accuracy less another on the same images.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// Difference of the shares.
    pub mean: f64,
    /// Its standard error, from the images on which the two disagree.
    pub error: f64,
}

impl RightAnswers {
    /// From one answer for each image.
    pub fn of(right: &[bool]) -> Self {
        let digit = |four: &[bool]| {
            let bits = four.iter().enumerate().map(|(place, right)| u32::from(*right) << (3 - place)).sum();
            char::from_digit(bits, 16).unwrap_or('0')
        };
        Self(right.chunks(4).map(digit).collect())
    }

    /// The accuracy of `a` less that of `b`, image by image; `None` if they are not of equally many images.
    pub fn difference(a: &Self, b: &Self) -> Option<Difference> {
        if a.0.len() != b.0.len() || a.0.is_empty() {
            return None;
        }
        let (mut only_a, mut only_b) = (0_u32, 0_u32);
        for (a, b) in a.0.chars().zip(b.0.chars()) {
            let (a, b) = (a.to_digit(16)?, b.to_digit(16)?);
            only_a += (a & !b).count_ones();
            only_b += (b & !a).count_ones();
        }
        // The last digit may be of fewer than four images, which changes the error by less than a percent of itself.
        let n = 4.0 * a.0.len() as f64;
        let mean = (f64::from(only_a) - f64::from(only_b)) / n;
        let variance = (f64::from(only_a + only_b) / n - mean * mean) / n;
        Some(Difference { mean, error: variance.max(0.0).sqrt() })
    }
}

impl Difference {
    /// Whether chance explains it, at 95 %.
    pub fn is_noise(self) -> bool {
        self.mean.abs() <= DEVIATIONS * self.error
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
    #![allow(clippy::unwrap_used)]
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
    fn differences_are_those_of_the_same_images() {
        let answers = |text: &str| RightAnswers::of(&text.chars().map(|c| c == '1').collect::<Vec<_>>());
        let (a, b) = (answers("1111000011110000"), answers("1110100011100000"));
        // Two images only a has, one only b has, of sixteen.
        let difference = RightAnswers::difference(&a, &b).unwrap();
        assert!((difference.mean - 1.0 / 16.0).abs() < 1e-12);
        let expected = ((3.0 / 16.0 - 1.0 / 256.0) / 16.0_f64).sqrt();
        assert!((difference.error - expected).abs() < 1e-12);
        assert!(difference.is_noise());
        let (all, none) = (answers(&"1".repeat(16)), answers(&"0".repeat(16)));
        assert!(!RightAnswers::difference(&all, &none).unwrap().is_noise());
        assert_eq!(RightAnswers::difference(&all, &answers("1")), None);
    }

    #[test]
    fn the_baseline_is_the_largest_class() {
        let class = |images| ClassAccuracy { class: String::new(), images, recall: None, precision: None };
        assert_eq!(baseline(&[class(90), class(3), class(7)]), Some(0.9));
        assert_eq!(baseline(&[class(0)]), None);
    }
}
