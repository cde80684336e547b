//! What the run cost, beside what training a network for every case would have cost.

use super::bars::{Bar, Row, rows};
use super::svg_plot::{escape, number};
use super::{RunResults, Timings};
use ofa_train::shrinking::PhaseRecord;
use std::fmt::Write;

/// The comparison, as far as it was measured.
pub struct Comparison {
    /// Device × limit cases that got a network.
    pub cases: usize,
    /// Seconds of the whole run.
    pub run: f64,
    /// Seconds of training the supernet.
    pub training: f64,
    /// Seconds of the phases before any choice was opened: an ordinary training of the largest network. `None` if training
    /// was cut off and resumed, so that it was not measured in one piece.
    pub one_network: Option<f64>,
}

impl Comparison {
    /// From the measured times; `None` if nothing was measured.
    pub fn of(results: &RunResults, timings: &Timings) -> Option<Self> {
        let (cases, run, training) = (results.cases.len(), timings.total(), timings.step("train"));
        let alone = results.phases.iter().take_while(|phase| trains_the_largest_alone(phase)).count();
        let is_measured = alone > 0 && timings.phases.len() > alone;
        let one_network = is_measured.then(|| timings.phases[..alone].iter().map(|phase| phase.seconds).sum());
        (cases > 0 && run > 0.0).then_some(Self { cases, run, training, one_network })
    }

    /// Seconds of one ordinary training for each case.
    pub fn separately(&self) -> Option<f64> {
        Some(self.one_network? * self.cases as f64)
    }

    /// Cases from which on the run is cheaper than training one network for each: the supernet's cost is paid once,
    /// and a case then costs its share of search and deployment.
    pub fn worth_from(&self, timings: &Timings) -> Option<usize> {
        let one = self.one_network?;
        let per_case = (timings.step("search") + timings.step("deploy")) / self.cases as f64;
        let once = self.run - per_case * self.cases as f64;
        (one > per_case).then(|| (once / (one - per_case)).ceil().max(1.0) as usize)
    }

    /// The comparison in words.
    pub fn sentence(&self, timings: &Timings) -> String {
        let mut text = format!(
            "One training of {} s and {} s for everything else gave {} networks: {} s a network.",
            seconds(self.training),
            seconds(self.run - self.training),
            self.cases,
            seconds(self.run / self.cases as f64)
        );
        if let (Some(one), Some(all)) = (self.one_network, self.separately()) {
            let _ = write!(
                text,
                " An ordinary training of the largest network, before subnets were opened, took {} s; one for each case \
                 would take \
                 {} × {} = {} s (an estimate: smaller networks train a little faster, and each would need its own \
                 search).",
                seconds(one),
                self.cases,
                seconds(one),
                seconds(all)
            );
            if let Some(from) = self.worth_from(timings) {
                let another = (timings.step("search") + timings.step("deploy")) / self.cases as f64;
                let _ = write!(
                    text,
                    " From {from} cases on, one supernet is cheaper; another case costs {} s.",
                    seconds(another)
                );
            }
        }
        text
    }
}

/// Whether the smallest opened subnet of a phase was the largest one.
fn trains_the_largest_alone(phase: &PhaseRecord) -> bool {
    let of = |label: &str| phase.subnets.iter().find(|subnet| subnet.label == label).map(|s| &s.arch.groups);
    of("min").is_some() && of("min") == of("max")
}

/// The section of the page.
pub fn panel(page: &mut String, results: &RunResults, timings: &Timings) {
    let Some(comparison) = Comparison::of(results, timings) else { return };
    let row = |name: String, value: f64, colour, class| Row {
        bar: Bar::Length { value, colour },
        value: format!("{} s", seconds(value)),
        tip: format!("{name}: {} s", seconds(value)),
        name,
        class,
    };
    let mut times = vec![row("this run".to_owned(), comparison.run, Some(0), "strong")];
    times.extend(timings.steps.iter().map(|step| row(step.name.clone(), step.seconds, Some(0), "part")));
    if let Some(all) = comparison.separately() {
        let about = format!("about {} s", seconds(all));
        times
            .push(Row { value: about, ..row(format!("{} ordinary trainings", comparison.cases), all, None, "strong") });
    }
    let _ = write!(
        page,
        "<section id=\"cost\"><h2>One training for {} cases</h2><div class=\"two\"><div class=\"panel\">{}</div>\
         <p class=\"note\">{}</p></div></section>",
        comparison.cases,
        rows(&times),
        escape(&comparison.sentence(timings))
    );
}

/// Seconds with a sensible number of digits.
pub fn seconds(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { number((value * 100.0).round() / 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_break_even_counts_what_is_paid_once() {
        let comparison = Comparison { cases: 9, run: 100.0, training: 70.0, one_network: Some(30.0) };
        let mut timings = Timings::default();
        for (name, seconds) in [("train", 70.0), ("collect", 12.0), ("search", 9.0), ("deploy", 9.0)] {
            timings.add(name, seconds);
        }
        // 82 s once, 2 s a case, against 30 s a case: 82 / 28 = 2.9.
        assert_eq!(comparison.worth_from(&timings), Some(3));
        assert_eq!(comparison.separately(), Some(270.0));
        assert!(comparison.sentence(&timings).contains("9 × 30 = 270 s"));
    }
}
