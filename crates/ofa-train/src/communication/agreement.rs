//! Whether all ranks are about to do the same.

use super::{CommunicationError, Communicator};
use ofa_space::dependencies::Dependencies;
use ofa_space::{digest, listing};

/// Compares what the work of every rank depends on, program, settings and data.
///
/// # Errors
/// [`CommunicationError::Differs`] on all ranks, with the first that differs from rank 0.
pub fn agree(ranks: &dyn Communicator, own: &Dependencies) -> Result<(), CommunicationError> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let all = ranks.gather(serde_json::to_vec(own).unwrap_or_default())?;
    let differing = all.iter().enumerate().skip(1).find_map(|(rank, bytes)| {
        let other: Dependencies = serde_json::from_slice(bytes).unwrap_or_default();
        let names: Vec<String> =
            other.since(own).into_iter().map(|difference| format!("`{}`", difference.name)).collect();
        (!names.is_empty()).then(|| (rank, listing::beginning(&names, MOST)))
    });
    let mut verdict = match differing {
        Some((rank, differences)) => [&(rank as u64).to_le_bytes()[..], differences.as_bytes()].concat(),
        None => Vec::new(),
    };
    ranks.broadcast(&mut verdict)?;
    match verdict.split_first_chunk() {
        None => Ok(()),
        Some((rank, differences)) => {
            let differences = String::from_utf8_lossy(differences).into_owned();
            Err(CommunicationError::Differs { rank: u64::from_le_bytes(*rank) as usize, differences })
        }
    }
}

/// Longest list of names.
const MOST: usize = 5;

/// The program that runs: its version, and the content of its file where that can be read.
pub fn program() -> String {
    let file = std::env::current_exe().and_then(|path| digest::sha256_of_file(&path));
    format!("{} {}", env!("CARGO_PKG_VERSION"), file.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::communication::Threads;

    #[test]
    fn the_rank_and_what_differs_are_named_on_every_rank() {
        let outcome = |seeds: [u64; 4]| -> Vec<Result<(), String>> {
            let ranks = Threads::ranks(4);
            std::thread::scope(|scope| {
                let threads = ranks.iter().zip(seeds).map(|(rank, seed)| {
                    scope.spawn(move || {
                        let mut own = Dependencies::default();
                        own.add("train", &serde_json::json!({ "seed": seed, "keep": 1 }));
                        agree(rank, &own).map_err(|error| error.to_string())
                    })
                });
                threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
            })
        };
        assert!(outcome([3; 4]).iter().all(Result::is_ok));
        for error in outcome([3, 3, 4, 3]) {
            assert!(error.unwrap_err().starts_with("rank 2 differs from rank 0 in `train.seed`:"));
        }
    }
}
