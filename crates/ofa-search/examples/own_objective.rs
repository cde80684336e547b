//! Somebody's own objective over a registered space, without predictors or devices.
#![allow(clippy::print_stdout)]

use ofa_search::{Budget, Constraint, Search, strategy};
use ofa_space::objective::FnObjective;
use ofa_space::{Arch, cost, registry};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space = registry::named("ofa-mbv3-w1.0")?;
    // Prefer large kernels late in the network and a high resolution …
    let taste = FnObjective::new("taste", |arch: &Arch| {
        let kernels = arch.choices()[..20].iter().enumerate().map(|(i, c)| i as f64 * f64::from(*c));
        Ok(kernels.sum::<f64>() + f64::from(arch.resolution().unwrap_or(0)))
    });
    // … within 200 million multiply-accumulates.
    let costed = space.clone();
    let macs = FnObjective::new("macs", move |arch: &Arch| Ok(cost::macs(&costed.resolve(arch)?) as f64));
    let limit = Constraint { objective: Arc::new(macs), limit: 200e6 };
    for entry in strategy::entries().into_iter().filter(|e| e.name != "exhaustive") {
        let search = Search { strategy: (entry.build)(), budget: Budget::evaluations(10_000), seed: 0 };
        let outcome = search.run(space.as_ref(), &taste, std::slice::from_ref(&limit))?;
        match outcome.best {
            Some(best) => println!(
                "{:<10} {:7.1} at {:.0} M MACs after {} evaluations: {}",
                entry.name,
                best.accuracy,
                best.values[0] / 1e6,
                outcome.evaluations,
                space.format(&best.arch)
            ),
            None => println!("{:<10} found nothing within the limit", entry.name),
        }
    }
    Ok(())
}
