//! A live cluster made up from a few numbers: any size, any churn, and the same again for the same seed.
//!
//! Nothing is remembered between transactions: which allocation a transaction updates, and when its earlier updates
//! were, follows from the transaction's number alone.

mod objects;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Entry, History, Silent};
use crate::line::Line;
use crate::object::{Body, Object};
use crate::table::Kind;
use objects::{Allocation, World};

/// What to generate.
#[derive(Debug, Clone)]
pub struct Options {
    /// Live allocations, at least two.
    pub allocations: u64,
    /// Transactions a second.
    pub churn: f64,
    /// Where all identities come from.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { allocations: 1000, churn: 20.0, seed: 1 }
    }
}

impl Options {
    /// The last raft index of the beginning, before the first event.
    #[must_use]
    pub fn beginning(&self) -> u64 {
        FIRST + 1 + self.allocations.max(TOGETHER).div_ceil(LOAD)
    }
}

/// A generated history. It begins with the existing cluster, without events, and never ends.
#[derive(Debug)]
pub struct Generator {
    world: Arc<World>,
    /// Allocations that the beginning still has to create.
    loaded: u64,
    started: bool,
    transaction: u64,
    index: u64,
    options: Options,
}

/// Allocations per entry of the beginning.
const LOAD: u64 = 1000;
/// Transactions in one cycle of kinds.
pub(super) const CYCLE: u64 = 16;
/// This many of them, the first ones, are not updates of allocations.
pub(super) const OTHERS: u64 = 6;
/// Allocations updated in one transaction.
pub(super) const TOGETHER: u64 = 2;
/// Cycles for which evaluations and deployments are kept.
const KEPT: u64 = 1000;
/// The raft index before the first one.
const FIRST: u64 = 9;

impl Generator {
    /// A generator of the given cluster.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let world = Arc::new(World::new(&options));
        Self { world, loaded: 0, started: false, transaction: 0, index: FIRST, options }
    }

    fn load(&mut self) -> Entry {
        let mut silent = Vec::new();
        if !self.started {
            self.started = true;
            for node in 0..self.world.nodes {
                silent.extend(upsert(Kind::Node, self.world.node(node, self.index, self.index, 0)));
            }
            for job in 0..self.world.jobs {
                silent.extend(upsert(Kind::Job, self.world.job(job, 0, self.index)));
            }
        } else {
            let end = (self.loaded + LOAD).min(self.world.allocations);
            for slot in self.loaded..end {
                let allocation = Allocation::initial(&self.world, slot, self.index);
                silent.push(Silent::Upsert(Kind::Allocation, Arc::new(allocation.object())));
            }
            self.loaded = end;
        }
        Entry { index: self.index, silent, ..Entry::default() }
    }

    fn live(&mut self) -> Entry {
        let transaction = self.transaction;
        self.transaction += 1;
        let gap = Duration::from_nanos(self.world.interval);
        let (index, cycle) = (self.index, transaction / CYCLE);
        let mut silent = Vec::new();
        let world = &self.world;
        let lines = match transaction % CYCLE {
            0 => vec![world.job_registered(cycle, index), world.evaluation_line(cycle, "JobRegistered", index)],
            1 => vec![world.plan_result(cycle, index)],
            2 => {
                if let Some(old) = cycle.checked_sub(KEPT) {
                    let remove = |kind, id: String| Silent::Remove(kind, Box::from("default"), id.into());
                    silent.push(remove(Kind::Evaluation, world.evaluation_id(old)));
                    silent.push(remove(Kind::Deployment, world.deployment_id(old)));
                }
                vec![world.evaluation_line(cycle, "EvaluationUpdated", index)]
            }
            3 => vec![world.deployment_line(cycle, index)],
            4 => vec![world.node_line(cycle, "NodeEligibility", index)],
            5 => vec![world.node_line(cycle, "NodeStreamEvent", index)],
            at => {
                let update = cycle * (CYCLE - OTHERS) + at - OTHERS;
                return self.updates(update, silent, gap);
            }
        };
        let lines = lines.into_iter().filter_map(|text| Line::parse(text).ok()).map(Arc::new).collect();
        Entry { index, lines, silent, gap }
    }

    /// A transaction that updates a few allocations, with their nodes as bystanders.
    fn updates(&self, update: u64, mut silent: Vec<Silent>, gap: Duration) -> Entry {
        let world = &self.world;
        let mut events = Vec::new();
        let mut recipes = Vec::new();
        let mut kind = "AllocationUpdated";
        for sequence in update * TOGETHER..(update + 1) * TOGETHER {
            let allocation = Allocation::updated(world, sequence, self.index, FIRST + 1);
            if allocation.is_new() {
                kind = "PlanResult";
                let old = allocation.predecessor();
                silent.push(Silent::Remove(Kind::Allocation, Box::from("default"), old.into()));
            }
            recipes.push(allocation);
        }
        for allocation in &recipes {
            events.push(allocation.event(kind, self.index));
        }
        if kind == "AllocationUpdated" {
            for node in world.nodes_of(&recipes) {
                events.push(world.node_event(node, kind, FIRST + 1, self.index));
            }
        }
        let text = format!("{{\"Events\":[{}],\"Index\":{}}}", events.join(","), self.index);
        let mut lines = Vec::new();
        if let Ok(mut line) = Line::parse(text) {
            // The tables keep the recipe, not the text.
            for (event, allocation) in line.events.iter_mut().zip(recipes) {
                event.object = Some(Arc::new(allocation.object()));
            }
            lines.push(Arc::new(line));
        }
        Entry { index: self.index, lines, silent, gap }
    }
}

fn upsert(kind: Kind, json: String) -> Option<Silent> {
    let object = Object::from_json(Body::Raw(Bytes::from(json)))?;
    Some(Silent::Upsert(kind, Arc::new(object)))
}

impl History for Generator {
    fn next(&mut self) -> Option<Entry> {
        self.index += 1;
        if !self.started || self.loaded < self.world.allocations { Some(self.load()) } else { Some(self.live()) }
    }

    fn anew(&self, generation: u64) -> Box<dyn History> {
        let seed = self.options.seed.wrapping_add(generation.wrapping_mul(0x9e37_79b9));
        Box::new(Self::new(Options { seed, ..self.options.clone() }))
    }
}
