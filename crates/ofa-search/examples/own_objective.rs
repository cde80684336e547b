//! A plain function over a space of one's own: the oven settings of the best bread within an hour.
#![allow(clippy::print_stdout)]
use ofa_search::{Budget, Constraint, Search, strategy};
use ofa_space::FnObjective;
use ofa_space::{Arch, Dimension, Gene, NetSpec, SearchSpace, SpaceError, SpaceInfo, typetag};
use std::sync::Arc;
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Oven {
    #[serde(skip, default = "settings")]
    info: SpaceInfo,
}
fn settings() -> SpaceInfo {
    let gene = |group: &str, choices: &[f64]| {
        let (group, choices, phases) = (group.to_owned(), choices.to_vec(), vec![0; choices.len()]);
        Gene { group, index: 0, dimension: Dimension::Width, choices, phases, active_when: None }
    };
    let genes = vec![gene("celsius", &[180.0, 200.0, 220.0, 240.0]), gene("minutes", &[30.0, 45.0, 60.0, 75.0])];
    SpaceInfo { name: "oven".into(), input_channels: 1, classes: 2, resolutions: vec![], genes }
}
#[typetag::serde(name = "oven")]
impl SearchSpace for Oven {
    fn info(&self) -> &SpaceInfo {
        &self.info
    }
    fn resolve(&self, _: &Arch) -> Result<NetSpec, SpaceError> {
        Err(SpaceError::MissingResolution { example: 1 }) // bread is no network
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let crust = FnObjective::new("crust", |a: &Arch| Ok(f64::from(a.choices()[0] * a.choices()[1]).sqrt()));
    let minutes = FnObjective::new("minutes", |a: &Arch| Ok(settings().genes[1].choices[a.choices()[1] as usize]));
    let oven = Oven { info: settings() };
    let search = Search { strategy: strategy::named("memetic")?, budget: Budget::evaluations(1000), seed: 0 };
    let limit = Constraint { objective: Arc::new(minutes), limit: 60.0 };
    let best = search.run(&oven, &crust, &[limit])?.best.ok_or("nothing fits into an hour")?;
    println!("crust {:.2} with {}", best.accuracy, oven.format(&best.arch));
    Ok(())
}
