//! Commands that list what is registered, built in or by plugins.

use crate::cli::output::table;
use crate::cli::{Context, Failure};
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
    list(context, ofa_space::plugin::entries::<ofa_space::SpaceEntry>().iter().map(entry).collect())
}

pub(super) fn predictors(context: &Context) -> Result<(), Failure> {
    let entries = ofa_predictors::estimators::entries();
    list(context, entries.iter().map(|e| Entry { name: e.name.to_owned(), about: e.about.to_owned() }).collect())
}

pub(super) fn strategies(context: &Context) -> Result<(), Failure> {
    let entries = ofa_search::strategy::entries();
    list(context, entries.iter().map(|e| Entry { name: e.name.to_owned(), about: e.about.to_owned() }).collect())
}

pub(super) fn samplers(context: &Context) -> Result<(), Failure> {
    let entries = ofa_space::plugin::entries::<ofa_train::sampler::SamplerEntry>();
    list(context, entries.iter().map(|e| Entry { name: e.name.to_owned(), about: e.about.to_owned() }).collect())
}

pub(super) fn losses(context: &Context) -> Result<(), Failure> {
    let entries = ofa_space::plugin::entries::<ofa_train::loss::LossEntry>();
    list(context, entries.iter().map(|e| Entry { name: e.name.to_owned(), about: e.about.to_owned() }).collect())
}
