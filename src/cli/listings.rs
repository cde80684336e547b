//! Commands that list what is registered, built in or by plugins.

use super::output::table;
use super::{Context, Failure};
use serde::Serialize;

#[derive(Serialize)]
struct Entry {
    name: String,
    about: String,
}

fn list(context: &Context, entries: Vec<Entry>) -> Result<(), Failure> {
    context.output.result(&entries, || {
        let rows: Vec<Vec<String>> = entries.iter().map(|e| vec![e.name.clone(), e.about.clone()]).collect();
        table(&["name", "about"], &rows)
    })
}

pub(super) fn spaces(context: &Context) -> Result<(), Failure> {
    let entry = |e: &&ofa_space::SpaceEntry| Entry { name: e.name.to_owned(), about: e.about.to_owned() };
    list(context, ofa_space::registry::entries().iter().map(entry).collect())
}

#[derive(Serialize)]
struct Device {
    name: String,
    about: String,
    source: String,
}

pub(super) fn devices(context: &Context) -> Result<(), Failure> {
    let mut devices: Vec<Device> = ofa_hw::entries()
        .into_iter()
        .map(|e| Device { name: e.name.to_owned(), about: e.about.to_owned(), source: e.source.to_string() })
        .collect();
    for (name, path) in ofa_hw::registry::dropped_in() {
        let source = match ofa_hw::load(&path.display().to_string()) {
            Ok(device) => device.source().to_string(),
            Err(error) => {
                context.output.note(&format!("warning: {error}"));
                continue;
            }
        };
        devices.push(Device { name, about: format!("profile {}", path.display()), source });
    }
    context.output.result(&devices, || {
        let rows: Vec<Vec<String>> =
            devices.iter().map(|d| vec![d.name.clone(), d.source.clone(), d.about.clone()]).collect();
        table(&["name", "source", "about"], &rows)
    })
}

pub(super) fn predictors(context: &Context) -> Result<(), Failure> {
    let entries = ofa_predictors::estimator::entries();
    list(context, entries.iter().map(|e| Entry { name: e.name.to_owned(), about: e.about.to_owned() }).collect())
}

pub(super) fn strategies(context: &Context) -> Result<(), Failure> {
    let entries = ofa_search::strategy::entries();
    list(context, entries.iter().map(|e| Entry { name: e.name.to_owned(), about: e.about.to_owned() }).collect())
}

pub(super) fn samplers(context: &Context) -> Result<(), Failure> {
    let entries = ofa_train::sampler::entries();
    list(context, entries.iter().map(|e| Entry { name: e.name.to_owned(), about: e.about.to_owned() }).collect())
}

pub(super) fn losses(context: &Context) -> Result<(), Failure> {
    let entries = ofa_train::loss::entries();
    list(context, entries.iter().map(|e| Entry { name: e.name.to_owned(), about: e.about.to_owned() }).collect())
}
