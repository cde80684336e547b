//! An island: a population of local optima at one resolution. Climbers start from crossed and kicked members and walk
//! uphill together, so that their evaluations go through the predictor in one batch.

use crate::error::SearchError;
use crate::pareto::Front;
use crate::problem::candidate::Candidate;
use crate::problem::evaluator::Evaluator;
use crate::problem::legacy::Elite;
use crate::strategies::memetic::batch::Batch;
use crate::strategies::memetic::pricing::Pricing;
use crate::strategies::memetic::proposals::{Best, Ranking};
use crate::strategies::neighbourhood::Neighbourhood;
use ofa_space::{Arch, Population};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How an island works; the fields of [`Memetic`](super::Memetic) that concern it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) population: usize,
    pub(crate) climbers: usize,
    pub(crate) neighbours: usize,
    pub(crate) kick_probability: f64,
    pub(crate) stale: usize,
}

/// A local optimum.
#[derive(Clone, Debug)]
struct Member {
    choices: Vec<u8>,
    score: f64,
}

/// An arch on its way up.
#[derive(Clone, Debug)]
struct Climber {
    choices: Vec<u8>,
    prices: Vec<f64>,
    /// Unknown until its first evaluation.
    score: Option<f64>,
}

/// A population of local optima at one resolution.
pub(crate) struct Island<'a> {
    evaluator: Evaluator<'a>,
    neighbourhood: &'a Neighbourhood,
    pricing: Pricing<'a>,
    habits: Habits,
    resolution: Option<u32>,
    rng: ChaCha8Rng,
    /// An arch within the limits; `None` if none was found, and then nothing is done here.
    anchor: Option<Vec<u8>>,
    seeds: Vec<Vec<u8>>,
    members: Vec<Member>,
    climbers: Vec<Climber>,
    /// Climbers that ended since the members last got better.
    stale: usize,
    best: Option<Member>,
    /// Best of every population that went stale, and of the present one.
    summits: Vec<Member>,
    front: Front,
    evaluations: usize,
    slopeless: bool,
}

impl<'a> Island<'a> {
    pub(crate) fn new(
        evaluator: Evaluator<'a>,
        neighbourhood: &'a Neighbourhood,
        habits: Habits,
        resolution: Option<u32>,
        limits: Vec<f64>,
        rng: ChaCha8Rng,
    ) -> Result<Self, SearchError> {
        let mut island = Self {
            evaluator,
            neighbourhood,
            pricing: Pricing::new(evaluator, resolution, limits),
            habits,
            resolution,
            rng,
            anchor: None,
            seeds: Vec::new(),
            members: Vec::new(),
            climbers: Vec::new(),
            stale: 0,
            best: None,
            summits: Vec::new(),
            front: Front::default(),
            evaluations: 0,
            slopeless: false,
        };
        let (choices, prices) = island.pricing.cheapest(neighbourhood)?;
        if island.pricing.is_feasible(&prices) {
            island.anchor = Some(choices);
        } else {
            // The closest that there is.
            let mut rows = Population::new(choices.len());
            rows.push_row(&choices, resolution);
            let mut score = Vec::new();
            evaluator.score(&rows, &mut score)?;
            island.evaluations = 1;
            island.front.insert(&Candidate { arch: rows.arch(0), score: score[0], values: prices });
        }
        Ok(island)
    }

    /// Whether any arch of this resolution keeps the limits, as far as known.
    pub(crate) fn is_habitable(&self) -> bool {
        self.anchor.is_some()
    }

    pub(crate) fn resolution(&self) -> Option<u32> {
        self.resolution
    }

    /// Archs to climb from first.
    pub(crate) fn seed(&mut self, choices: Vec<u8>) {
        self.seeds.push(choices);
    }

    /// Archs to climb from, chosen among what other cases found: at most `count`, the best of those that keep the limits
    /// here, and a quarter of those that miss them least.
    pub(crate) fn seed_among(&mut self, elites: &[Elite], count: usize) -> Result<(), SearchError> {
        if self.anchor.is_none() {
            return Ok(());
        }
        let mut feasible: Vec<&Elite> = Vec::new();
        let mut others: Vec<(f64, &Elite)> = Vec::new();
        for elite in elites.iter().filter(|elite| elite.arch.resolution() == self.resolution) {
            let prices = self.pricing.prices(elite.arch.choices())?;
            match self.pricing.is_feasible(&prices) {
                true => feasible.push(elite),
                false => others.push((self.pricing.excess(&prices), elite)),
            }
        }
        // Equal archs stand side by side in both orders, as equal figures do.
        feasible.sort_by(|a, b| b.score.total_cmp(&a.score));
        feasible.dedup_by(|a, b| a.arch == b.arch);
        others.sort_by(|a, b| a.0.total_cmp(&b.0));
        others.dedup_by(|a, b| a.1.arch == b.1.arch);
        let others = others.into_iter().map(|(_, elite)| elite).take(count / 4);
        let chosen: Vec<&Elite> = feasible.into_iter().take(count - count / 4).chain(others).collect();
        // The last is the first to climb.
        self.seeds.extend(chosen.iter().rev().map(|elite| elite.arch.choices().to_vec()));
        Ok(())
    }

    /// The best score so far.
    pub(crate) fn best_score(&self) -> f64 {
        self.best.as_ref().map_or(f64::NEG_INFINITY, |best| best.score)
    }

    /// How many populations ended with this arch as their best.
    pub(crate) fn summits_at(&self, arch: &Arch) -> usize {
        match self.resolution == arch.resolution() {
            true => self.summits.iter().filter(|summit| summit.choices == arch.choices()).count(),
            false => 0,
        }
    }

    /// The best members, for other islands to start from.
    pub(crate) fn elites(&self, count: usize) -> Vec<Elite> {
        let mut members: Vec<&Member> = self.members.iter().chain(&self.summits).collect();
        members.sort_by(|a, b| b.score.total_cmp(&a.score));
        members.dedup_by(|a, b| a.choices == b.choices);
        members.truncate(count);
        let mut rows = Population::new(self.neighbourhood.choices.len());
        members.iter().for_each(|member| rows.push_row(&member.choices, self.resolution));
        let elite = |(arch, member): (Arch, &Member)| Elite { arch, score: member.score };
        rows.archs().into_iter().zip(members).map(elite).collect()
    }

    /// Evaluations since the last call, and the front of what they found.
    pub(crate) fn report(&mut self) -> (usize, Vec<Candidate>) {
        let front = std::mem::take(&mut self.front);
        (std::mem::take(&mut self.evaluations), front.into_members())
    }

    /// Works until `quota` evaluations are used up.
    pub(crate) fn run(&mut self, quota: usize) -> Result<(), SearchError> {
        if self.anchor.is_none() {
            return Ok(());
        }
        let start = self.evaluations;
        let mut work = Batch::new(self.neighbourhood.choices.len());
        loop {
            let left = quota.saturating_sub(self.evaluations - start);
            if left == 0 || self.evaluator.is_over() {
                return Ok(());
            }
            while self.climbers.len() < self.habits.climbers {
                let climber = self.launch()?;
                self.climbers.push(climber);
            }
            if !self.step(left, &mut work)? {
                return Ok(());
            }
        }
    }

    /// A new climber: a seed, a random arch while the population fills, else a child.
    fn launch(&mut self) -> Result<Climber, SearchError> {
        let neighbourhood = self.neighbourhood;
        let mut choices = match self.seeds.pop() {
            Some(seed) => seed,
            None if self.members.len() < self.habits.population => neighbourhood.sample(&mut self.rng),
            None => {
                let (one, other) =
                    (self.rng.random_range(0..self.members.len()), self.rng.random_range(0..self.members.len()));
                if one == other || self.rng.random_bool(self.habits.kick_probability) {
                    let mut child = self.members[one].choices.clone();
                    let count = self.rng.random_range(2..6);
                    neighbourhood.kick(&mut child, count, &mut self.rng);
                    child
                } else {
                    neighbourhood.cross(&self.members[one].choices, &self.members[other].choices, &mut self.rng)
                }
            }
        };
        let mut prices = self.pricing.repair(neighbourhood, &mut choices, &mut self.rng)?;
        if !self.pricing.is_feasible(&prices) {
            (choices, prices) = self.towards(&choices)?;
        }
        Ok(Climber { choices, prices, score: None })
    }

    /// From the anchor towards an arch, gene by gene in random order, as far as the limits allow.
    fn towards(&mut self, wanted: &[u8]) -> Result<(Vec<u8>, Vec<f64>), SearchError> {
        let mut choices = self.anchor.clone().unwrap_or_else(|| wanted.to_vec());
        let mut prices = self.pricing.prices(&choices)?;
        for _ in 0..wanted.len() {
            let gene = self.rng.random_range(0..wanted.len());
            let mut changed = choices.clone();
            changed[gene] = wanted[gene];
            self.neighbourhood.canonicalise(&mut changed);
            let new = self.pricing.prices(&changed)?;
            if self.pricing.is_feasible(&new) {
                (choices, prices) = (changed, new);
            }
        }
        Ok((choices, prices))
    }

    /// Every climber tries its most promising neighbours; false if the quota does not even cover that.
    fn step(&mut self, left: usize, work: &mut Batch) -> Result<bool, SearchError> {
        work.clear();
        let walking: Vec<usize> =
            (0..self.climbers.len()).filter(|index| self.climbers[*index].score.is_some()).collect();
        // Slopes take a forward and a backward pass: two evaluations.
        let mut left = left;
        let unknown = self.climbers.iter().enumerate().filter(|(_, climber)| climber.score.is_none());
        for (owner, climber) in unknown.take(left) {
            work.push(owner, &climber.choices, &climber.prices, self.resolution);
        }
        let fresh = work.rows.len();
        left -= fresh;
        let affordable = walking.len().min(left / 3);
        if affordable == 0 && fresh == 0 {
            return Ok(false);
        }
        let walking = &walking[..affordable];
        let with_slopes = !walking.is_empty() && !self.slopeless && self.slopes(walking, work)?;
        if with_slopes {
            left -= 2 * walking.len();
            self.evaluations += 2 * walking.len();
        }
        let each = if walking.is_empty() { 0 } else { left / walking.len() };
        for (rank, owner) in walking.iter().enumerate() {
            self.propose(rank, *owner, each, with_slopes, work)?;
        }
        self.evaluator.score(&work.rows, &mut work.scores)?;
        self.evaluations += work.rows.len();
        self.settle(walking, work);
        Ok(true)
    }

    fn slopes(&mut self, walking: &[usize], work: &mut Batch) -> Result<bool, SearchError> {
        work.starts.clear();
        walking.iter().for_each(|index| work.starts.push_row(&self.climbers[*index].choices, self.resolution));
        let with_slopes = self.evaluator.slopes(&work.starts, &mut work.slopes)?;
        self.slopeless = !with_slopes;
        Ok(with_slopes)
    }

    /// Puts the neighbours of one climber that are worth trying into the batch.
    fn propose(
        &mut self,
        rank: usize,
        owner: usize,
        most: usize,
        with_slopes: bool,
        work: &mut Batch,
    ) -> Result<(), SearchError> {
        let Climber { choices, prices, .. } = self.climbers[owner].clone();
        let neighbourhood = self.neighbourhood;
        let width = neighbourhood.slope_width();
        let slopes = with_slopes.then(|| &work.slopes[rank * width..(rank + 1) * width]);
        neighbourhood.moves(&choices, slopes, &mut work.moves);
        let moves = &work.moves;
        self.pricing.differences(neighbourhood, &choices, &prices, moves, &mut work.differences)?;
        let rng = &mut self.rng;
        let gain = |index: usize| match slopes {
            Some(slopes) => neighbourhood.gain(&choices, slopes, moves.assignments(index)),
            // Without slopes every single move is as promising as any other; a random few are tried.
            None => rng.random_range(-1.0..0.0),
        };
        let ranking = Ranking::new(moves, &prices, self.pricing.limits(), &work.differences, gain);
        // Without slopes the second of two moves cannot be told from noise.
        let wanted = match with_slopes {
            true => self.habits.neighbours,
            false => self.habits.neighbours * 4,
        };
        let mut best = Best::new(wanted.min(most));
        ranking.offer_singles(&mut best);
        if with_slopes {
            ranking.offer_pairs(&mut best);
        }
        for proposal in best.into_proposals() {
            let mut neighbour = choices.clone();
            for index in [Some(proposal.one), proposal.other].into_iter().flatten() {
                work.moves.assignments(index).iter().for_each(|(gene, c)| neighbour[usize::from(*gene)] = *c);
            }
            neighbourhood.canonicalise(&mut neighbour);
            let prices = self.pricing.prices(&neighbour)?;
            if neighbour != choices && self.pricing.is_feasible(&prices) {
                work.push(owner, &neighbour, &prices, self.resolution);
            }
        }
        Ok(())
    }

    /// Moves every climber to its best neighbour; those without a better one join the members.
    fn settle(&mut self, walking: &[usize], work: &Batch) {
        let mut ended = vec![false; self.climbers.len()];
        walking.iter().for_each(|index| ended[*index] = true);
        let constraints = self.pricing.limits().len();
        for (row, (owner, score)) in work.owners.iter().zip(&work.scores).enumerate() {
            let prices = &work.prices[row * constraints..(row + 1) * constraints];
            let climber = &mut self.climbers[*owner];
            // More than one quantity makes fronts large and every look at them long.
            if constraints == 1 && self.front.admits(*score, prices) {
                let candidate = Candidate { arch: work.rows.arch(row), score: *score, values: prices.to_vec() };
                self.front.insert(&candidate);
            }
            if climber.score.is_none_or(|known| *score > known) {
                climber.score = Some(*score);
                climber.choices.copy_from_slice(work.rows.choices(row));
                climber.prices.copy_from_slice(prices);
                ended[*owner] = false;
            }
        }
        let climbers = std::mem::take(&mut self.climbers);
        for (climber, ended) in climbers.into_iter().zip(ended) {
            if let Some(score) = climber.score {
                if self.best.as_ref().is_none_or(|best| score > best.score) {
                    self.best = Some(Member { choices: climber.choices.clone(), score });
                    let mut rows = Population::new(climber.choices.len());
                    rows.push_row(&climber.choices, self.resolution);
                    let values = climber.prices.clone();
                    self.front.insert(&Candidate { arch: rows.arch(0), score, values });
                }
                if ended {
                    self.join(Member { choices: climber.choices, score });
                    continue;
                }
            }
            self.climbers.push(climber);
        }
    }

    /// A local optimum joins the members, in the place of the worst if they are many.
    fn join(&mut self, member: Member) {
        self.stale += 1;
        if self.members.iter().any(|known| known.choices == member.choices) {
        } else if self.members.len() < self.habits.population {
            self.members.push(member);
            self.stale = 0;
        } else {
            let worst =
                (0..self.members.len()).min_by(|a, b| self.members[*a].score.total_cmp(&self.members[*b].score));
            if let Some(worst) = worst.filter(|worst| self.members[*worst].score < member.score) {
                self.members[worst] = member;
                self.stale = 0;
            }
        }
        if self.stale >= self.habits.stale {
            self.stale = 0;
            let best = self.members.iter().max_by(|a, b| a.score.total_cmp(&b.score)).cloned();
            self.summits.extend(best);
            self.members.clear();
        }
    }
}
