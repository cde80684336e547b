//! Pareto fronts of evaluated candidates.

use crate::problem::Candidate;

/// The candidates that no other beats: higher accuracy, or a lower value of some constraint quantity, at no worse of
/// the rest. Sorted by the first quantity (by accuracy if there is none); of equal ones, the first stays.
pub fn front(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    // By falling accuracy and rising values: whoever dominates a candidate comes before it.
    order.sort_by(|a, b| {
        b.accuracy.total_cmp(&a.accuracy).then_with(|| {
            let by_value = a.values.iter().zip(&b.values).map(|(x, y)| x.total_cmp(y));
            by_value.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        })
    });
    let mut front: Vec<Candidate> = Vec::new();
    for candidate in order {
        let beaten = front.iter().any(|other| {
            other.accuracy >= candidate.accuracy
                && other.values.iter().zip(&candidate.values).all(|(theirs, ours)| theirs <= ours)
        });
        if !beaten {
            front.push(candidate.clone());
        }
    }
    front.sort_by(|a, b| match (a.values.first(), b.values.first()) {
        (Some(x), Some(y)) => x.total_cmp(y),
        _ => a.accuracy.total_cmp(&b.accuracy),
    });
    front
}
