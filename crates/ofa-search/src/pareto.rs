//! Pareto fronts of evaluated candidates.

use crate::problem::candidate::Candidate;

/// The candidates so far that no other beats: higher score, or a lower value of some constraint quantity, at no worse
/// of the rest. Of equal ones, the first stays.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Front {
    /// By rising first value; with a single quantity, score rises too.
    members: Vec<Candidate>,
}

impl Front {
    /// Whether a candidate with this score and these values would enter.
    pub fn admits(&self, score: f64, values: &[f64]) -> bool {
        match values {
            [] => self.members.first().is_none_or(|best| score > best.score),
            [value] => {
                // Every member up to here costs no more; the last of them is the best.
                let up_to = self.members.partition_point(|member| member.values[0] <= *value);
                up_to == 0 || self.members[up_to - 1].score < score
            }
            values => !self.members.iter().any(|member| {
                member.score >= score && member.values.iter().zip(values).all(|(theirs, ours)| theirs <= ours)
            }),
        }
    }

    /// Takes a candidate in and removes the members that it beats; false if it is beaten itself.
    pub fn insert(&mut self, candidate: &Candidate) -> bool {
        if !self.admits(candidate.score, &candidate.values) {
            return false;
        }
        let beaten = |member: &Candidate| {
            candidate.score >= member.score
                && candidate.values.iter().zip(&member.values).all(|(ours, theirs)| ours <= theirs)
        };
        match candidate.values.first() {
            Some(value) if candidate.values.len() == 1 => {
                let from = self.members.partition_point(|member| member.values[0] < *value);
                let beaten = self.members[from..].iter().take_while(|member| beaten(member)).count();
                self.members.splice(from..from + beaten, [candidate.clone()]);
            }
            _ => {
                self.members.retain(|member| !beaten(member));
                let first = |c: &Candidate| c.values.first().copied().unwrap_or(c.score);
                let at = self.members.partition_point(|member| first(member) <= first(candidate));
                self.members.insert(at, candidate.clone());
            }
        }
        true
    }

    /// The members, sorted by the first quantity (by score if there is none).
    pub fn members(&self) -> &[Candidate] {
        &self.members
    }

    /// The members, sorted by the first quantity.
    pub fn into_members(self) -> Vec<Candidate> {
        self.members
    }
}

/// The front of some candidates.
pub fn front(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut front = Front::default();
    for candidate in candidates {
        front.insert(candidate);
    }
    front.into_members()
}
