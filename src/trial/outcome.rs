//! Runs the programs on one record at a time, in the stage that a run has.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};

use super::input::Found;
use crate::{
    checkpoint::Checkpoint,
    coordinator::none::Always,
    dead_letter::{DeadLetters, Letter, Returns},
    delivery::{self, Handle, Intake, Message},
    kind::Kind,
    ledger::{Effect, Ledger},
    meta::{Meta, Origin},
    program::{self, Enrich, Extra, Surroundings},
    record::{Envelope, Record},
    telemetry::{Metrics, Status},
};

/// A record, and what became of it.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) kind: Kind,
    pub(super) id: Box<str>,
    pub(super) body: Bytes,
    /// What `$meta` is.
    pub(super) meta: Bytes,
    /// The variables that the programs use, with their values.
    pub(super) variables: Vec<(&'static str, Bytes)>,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// There is no output.
    Filtered,
    /// The outputs.
    Outputs(Vec<Record>),
    /// A program failed.
    Failed(String),
}

/// The stage, and both of its ends.
pub(super) struct Bench {
    ledger: Arc<Ledger>,
    origin: Origin,
    stage: Handle,
    outputs: Intake,
    refusals: Arc<Refusals>,
    looked_up: Arc<LookedUp>,
    uses: program::Uses,
}

impl Bench {
    pub(super) fn new(program: Option<program::Config>, origin: Origin, enrich: Option<Arc<dyn Enrich>>) -> Self {
        let (next, outputs) = delivery::stage(16);
        let refusals = Arc::new(Refusals::default());
        let looked_up = Arc::new(LookedUp { enrich, last: Mutex::default() });
        let uses = program.as_ref().map(|program| program.uses).unwrap_or_default();
        let stage = match program {
            None => next,
            Some(config) => {
                let around = Surroundings {
                    dead_letters: DeadLetters::returned_to(Arc::clone(&refusals) as Arc<dyn Returns>),
                    metrics: Metrics::new(&Kind::ALL),
                    status: Status::new(&Kind::ALL),
                    origin: origin.clone(),
                };
                program::spawn(config, around, Some(Arc::clone(&looked_up) as Arc<dyn Enrich>), next)
            }
        };
        let ledger = Ledger::new(Arc::new(Always), Checkpoint::default());
        Bench { ledger, origin, stage, outputs, refusals, looked_up, uses }
    }

    /// What becomes of a record; `None` if the stage has ended.
    pub(super) async fn run(&mut self, Found { kind, draft }: Found) -> Option<Tried> {
        let ack = self.ledger.enter(Effect::default(), 1, None)?;
        let (id, body) = (draft.id.clone(), draft.body.clone());
        let record = Record {
            kind,
            id: draft.id,
            key: draft.key,
            namespace: draft.namespace,
            job: draft.job,
            node: draft.node,
            group: None,
            time: None,
            envelope: Envelope::default(),
            index: draft.index,
            body: draft.body,
            ack,
        };
        let meta = Bytes::from(serde_json::to_vec(&Meta::of(&record, &self.origin)).unwrap_or_default());
        let stage = self.stage.clone();
        let submit = async { stage.submit(vec![record]).await.is_ok() && stage.drain().await.is_ok() };
        let (is_done, outputs) = tokio::join!(submit, outputs_of(&mut self.outputs));
        let extra = mem::take(&mut *self.looked_up.last.lock().unwrap_or_else(PoisonError::into_inner));
        let failed = self.refusals.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let outcome = match (failed, outputs?) {
            (Some(reason), _) => Outcome::Failed(reason),
            (None, outputs) if outputs.is_empty() => Outcome::Filtered,
            (None, outputs) => Outcome::Outputs(outputs),
        };
        let variables = self.variables(&meta, extra);
        is_done.then_some(Tried { kind, id, body, meta, variables, outcome })
    }

    fn variables(&self, meta: &Bytes, extra: Extra) -> Vec<(&'static str, Bytes)> {
        let program::Uses { mentions, meta: uses_meta } = self.uses;
        let null = || Bytes::from_static(b"null");
        let all = [
            ("$meta", uses_meta, meta.clone()),
            ("$diff", mentions.diff, extra.diff.unwrap_or_else(null)),
            ("$node", mentions.node, extra.node.unwrap_or_else(null)),
            ("$job", mentions.job, extra.job.unwrap_or_else(null)),
        ];
        all.into_iter().filter(|(_, is_used, _)| *is_used).map(|(name, _, value)| (name, value)).collect()
    }
}

/// What comes before the next drain.
async fn outputs_of(intake: &mut Intake) -> Option<Vec<Record>> {
    let mut outputs = Vec::new();
    loop {
        match intake.next().await? {
            Message::Records(records) => outputs.extend(records),
            Message::Drain(drain) => {
                drain.drained();
                return Some(outputs);
            }
        }
    }
}

/// Why programs failed.
#[derive(Debug, Default)]
struct Refusals(Mutex<Vec<String>>);

impl Returns for Refusals {
    fn rejected(&self, letters: &[Letter]) {
        let reasons = letters.iter().map(|letter| letter.reason().to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(reasons);
    }

    fn is_shown(&self) -> bool {
        true
    }
}

/// Remembers what was looked up.
#[derive(Debug)]
struct LookedUp {
    enrich: Option<Arc<dyn Enrich>>,
    last: Mutex<Extra>,
}

impl Enrich for LookedUp {
    fn extra<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Extra> {
        async move {
            let Some(enrich) = &self.enrich else { return Extra::default() };
            let extra = enrich.extra(record).await;
            self.last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&extra);
            extra
        }
        .boxed()
    }
}
