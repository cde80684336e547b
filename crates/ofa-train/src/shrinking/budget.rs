//! A time to keep to: how many epochs of each phase, and how many subnets a step, fit into it on this machine.

use crate::error::TrainError;
use crate::shrinking::config::TrainConfig;
use crate::shrinking::phases::PhaseConfig;
use crate::shrinking::rehearsal::Rehearsal;
use ofa_space::Checked;

/// Share of a budget that optimizer steps take; the rest is for validation, reading images and the error of the probe.
pub const STEPS_SHARE: f64 = 0.85;

/// Fewest steps in which subnets learn, if fewer subnets a step can give that many.
const ENOUGH_STEPS: usize = 500;

impl Rehearsal {
    /// The same training in `seconds`: the epochs of all phases are scaled by one factor. Where phases with several subnets a
    /// step would come to fewer than 500 steps together, they train fewer subnets a step, and more steps, in the same time.
    ///
    /// # Errors
    /// [`TrainError::Config`] if a phase would be shorter than a step.
    pub fn within(&self, seconds: f64, config: Checked<TrainConfig>) -> Result<Checked<TrainConfig>, TrainError> {
        let factor = STEPS_SHARE * seconds / self.seconds.max(f64::MIN_POSITIVE);
        let several = |phase: &PhaseConfig| phase.subnets_per_step > 1;
        let epochs = config.phases.iter().filter(|phase| several(phase)).map(|phase| phase.epochs);
        let steps = epochs.sum::<f64>() * factor * self.steps_per_epoch as f64;
        let most = config.phases.iter().map(|phase| phase.subnets_per_step).max().unwrap_or(1);
        // What a step costs is nearly in proportion to its subnets.
        let mut shares = (1..=most).rev().map(|count| count as f64 / most as f64);
        let kept = shares.find(|share| steps / share >= ENOUGH_STEPS as f64).unwrap_or(1.0 / most as f64);
        let subnets = |phase: &PhaseConfig| match several(phase) {
            true => ((phase.subnets_per_step as f64 * kept).round() as usize).max(1),
            false => phase.subnets_per_step,
        };
        let stretch = |phase: &PhaseConfig| factor * phase.subnets_per_step as f64 / subnets(phase) as f64;
        let problem =
            |problem: String| TrainError::Config { file: "budget".to_owned(), field: format!("{seconds} s"), problem };
        let least = 1.0 / self.steps_per_epoch as f64;
        if let Some(phase) = config.phases.iter().find(|phase| rounded(phase.epochs * stretch(phase)) < least) {
            return Err(problem(format!(
                "leaves phase `{}` less than one step; at full length the training takes {:.0} s",
                phase.name, self.seconds
            )));
        }
        let fitted = config.changed(|config| {
            for phase in &mut config.phases {
                let (stretch, subnets) = (stretch(phase), subnets(phase));
                phase.epochs = rounded(phase.epochs * stretch);
                phase.warmup_epochs = rounded(phase.warmup_epochs * stretch);
                phase.subnets_per_step = subnets;
            }
            if let Some(schedule) = &mut config.schedule {
                schedule.warmup_epochs = rounded(schedule.warmup_epochs * factor);
            }
        });
        fitted.map_err(|invalid| problem(invalid.to_string()))
    }
}

/// Epochs as a person would write them.
fn rounded(epochs: f64) -> f64 {
    (epochs * 1000.0).round() / 1000.0
}

/// Takes over epochs and subnets a step that a budget decided when the training began.
///
/// # Errors
/// [`TrainError::Config`] if the phases are not those of the earlier configuration; `file` is the earlier one.
pub fn as_begun(
    config: Checked<TrainConfig>,
    begun: &TrainConfig,
    file: &str,
) -> Result<Checked<TrainConfig>, TrainError> {
    let names =
        |config: &TrainConfig| -> Vec<String> { config.phases.iter().map(|phase| phase.name.clone()).collect() };
    if names(&config) != names(begun) {
        let (now, then) = (names(&config).join(", "), names(begun).join(", "));
        let problem = format!("the training began with the phases {then}, but the configuration has {now}");
        return Err(TrainError::Config { file: file.to_owned(), field: "phases".to_owned(), problem });
    }
    let changed = config.changed(|config| {
        for (phase, begun) in config.phases.iter_mut().zip(&begun.phases) {
            phase.epochs = begun.epochs;
            phase.warmup_epochs = begun.warmup_epochs;
            phase.subnets_per_step = begun.subnets_per_step;
        }
        if let (Some(schedule), Some(begun)) = (&mut config.schedule, &begun.schedule) {
            schedule.warmup_epochs = begun.warmup_epochs;
        }
    });
    changed.map_err(|invalid| TrainError::in_file(file, invalid))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::device;
    use crate::shrinking::rehearsal::rehearse;

    const PLAN: &str = "space = \"tiny-28\"\nbatch_size = 10\n\
        [[phases]]\nname = \"largest\"\nepochs = 4\nwarmup_epochs = 1\nlearning_rate = 0.1\n\
        [[phases]]\nname = \"subnets\"\nopens = { depth = 2 }\nepochs = 2\nlearning_rate = 0.03\nsubnets_per_step = 4\n";

    fn rehearsed(images: usize) -> (Checked<TrainConfig>, Rehearsal) {
        let config = TrainConfig::parse(PLAN, "plan").unwrap();
        let mut rehearsal =
            rehearse(&config, &config.space().unwrap(), images, &device::open("flex").unwrap()).unwrap();
        // The probe's times are those of this machine.
        rehearsal.seconds = 1000.0;
        (config, rehearsal)
    }

    #[test]
    fn all_phases_are_scaled_alike() {
        let (config, rehearsal) = rehearsed(10_000);
        let half = rehearsal.within(500.0 / STEPS_SHARE, config).unwrap();
        let epochs: Vec<(f64, f64, usize)> =
            half.phases.iter().map(|phase| (phase.epochs, phase.warmup_epochs, phase.subnets_per_step)).collect();
        assert_eq!(epochs, [(2.0, 0.5, 1), (1.0, 0.0, 4)]);
    }

    #[test]
    fn a_short_training_of_subnets_takes_more_steps_of_fewer() {
        let (config, rehearsal) = rehearsed(1_000);
        // Half of 200 steps; two subnets a step would give 200, one 400: still too few, so one.
        let half = rehearsal.within(500.0 / STEPS_SHARE, config).unwrap();
        assert_eq!((half.phases[1].epochs, half.phases[1].subnets_per_step), (4.0, 1));
        assert_eq!((half.phases[0].epochs, half.phases[0].subnets_per_step), (2.0, 1));
        let (config, rehearsal) = rehearsed(3_000);
        let half = rehearsal.within(500.0 / STEPS_SHARE, config).unwrap();
        assert_eq!((half.phases[1].epochs, half.phases[1].subnets_per_step), (2.0, 2));
    }

    #[test]
    fn a_budget_below_a_step_is_refused_with_what_it_would_take() {
        let (config, rehearsal) = rehearsed(1_000);
        let error = rehearsal.within(0.5, config).unwrap_err().to_string();
        assert!(error.contains("largest") && error.contains("1000 s"), "{error}");
    }

    #[test]
    fn a_training_goes_on_with_the_epochs_that_it_began_with() {
        let (config, rehearsal) = rehearsed(10_000);
        let begun = rehearsal.within(500.0 / STEPS_SHARE, config).unwrap();
        let again = as_begun(TrainConfig::parse(PLAN, "plan").unwrap(), &begun, "out/train.toml").unwrap();
        assert_eq!(toml::to_string(&*again).unwrap(), toml::to_string(&*begun).unwrap());
        let other = PLAN.replace("\"subnets\"", "\"pupils\"");
        let error = as_begun(TrainConfig::parse(&other, "plan").unwrap(), &begun, "out/train.toml").unwrap_err();
        assert!(error.to_string().contains("subnets") && error.to_string().contains("pupils"), "{error}");
    }
}
