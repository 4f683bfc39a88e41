//! The pipelines of a process, with what each counts and how each is: what the status pages show.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Metrics, Phase, Status,
    metrics::{Summary, certificates, merge},
};
use crate::{kind::Kind, settings::PipelineName};

/// The pipelines of a process. Cheap to clone; all clones share the same.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<Option<PipelineName>, View>>>);

/// What is seen of one pipeline.
#[derive(Clone, Debug)]
struct View {
    metrics: Metrics,
    status: Status,
    /// Why it is not running.
    failure: Option<String>,
}

/// One kind of one pipeline.
#[derive(Debug)]
pub struct Row {
    /// `KIND`, or `PIPELINE/KIND`.
    pub name: String,
    /// How it is.
    pub phase: Phase,
    /// Its numbers.
    pub summary: Summary,
}

impl Board {
    /// Shows a pipeline; `None` is the one without a name. It takes the place of an earlier one of that name.
    pub fn show(&self, pipeline: Option<PipelineName>, metrics: &Metrics, status: &Status) {
        let view = View { metrics: metrics.clone(), status: status.clone(), failure: None };
        self.lock().insert(pipeline, view);
    }

    /// Says why a pipeline is not running.
    pub fn failed(&self, pipeline: &PipelineName, reason: String) {
        if let Some(view) = self.lock().get_mut(&Some(pipeline.clone())) {
            view.failure = Some(reason);
        }
    }

    /// Whether a pipeline is known not to be running.
    pub fn has_failed(&self, pipeline: &PipelineName) -> bool {
        self.lock().get(&Some(pipeline.clone())).is_some_and(|view| view.failure.is_some())
    }

    /// No longer shows a pipeline.
    pub fn remove(&self, pipeline: &PipelineName) {
        self.lock().remove(&Some(pipeline.clone()));
    }

    /// One row for each kind of each pipeline.
    pub fn rows(&self) -> Vec<Row> {
        let views: Vec<_> = self.lock().iter().map(|(name, view)| (name.clone(), view.clone())).collect();
        let mut rows = Vec::new();
        for (pipeline, View { metrics, status, failure }) in views {
            rows.extend(status.phases().into_iter().map(|(kind, phase)| {
                let phase = match &failure {
                    Some(reason) => Phase::Blocked { reason: reason.clone() },
                    None => phase,
                };
                Row { name: row_name(pipeline.as_ref(), kind), phase, summary: metrics.summary(kind) }
            }));
        }
        rows
    }

    /// Whether every kind of every pipeline is ready.
    pub fn is_ready(&self) -> bool {
        self.rows().iter().all(|row| row.phase.is_ready())
    }

    /// The metrics of all pipelines as one OpenMetrics text.
    ///
    /// # Errors
    /// A metric could not be written as text.
    pub fn metrics(&self) -> Result<String, fmt::Error> {
        let views: Vec<_> = self.lock().iter().map(|(name, view)| (name.is_some(), view.clone())).collect();
        views.iter().for_each(|(_, view)| view.show_states());
        let metrics: Vec<_> = views.into_iter().map(|(is_named, view)| (is_named, view.metrics)).collect();
        let mut texts = metrics.iter().map(|(_, metrics)| metrics.encode()).collect::<Result<Vec<_>, _>>()?;
        if metrics.iter().all(|(is_named, _)| *is_named) {
            texts.push(certificates()?);
        }
        Ok(merge(&texts))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<PipelineName>, View>> {
        // A panic elsewhere leaves plain data behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// Shows in the metrics what the kinds are doing.
    fn show_states(&self) {
        let is_running = self.failure.is_none();
        for (kind, phase) in self.status.phases() {
            let state = if is_running { phase.word() } else { "blocked" };
            self.metrics.state(kind, state, is_running && phase.is_ready());
        }
        for (kind, state) in self.status.sources() {
            self.metrics.source(kind, state.filter(|_| is_running));
        }
    }
}

fn row_name(pipeline: Option<&PipelineName>, kind: Kind) -> String {
    pipeline.map_or_else(|| kind.to_string(), |pipeline| format!("{pipeline}/{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Leadership, SourceState};

    fn name(text: &str) -> PipelineName {
        text.parse().expect("a name")
    }

    #[test]
    fn each_pipeline_has_its_rows_and_one_that_fails_says_why() {
        let board = Board::default();
        let status = Status::new(&[Kind::Jobs]);
        board.show(Some(name("web")), &Metrics::of_pipeline("web", &[Kind::Jobs]), &status);
        board.show(Some(name("all")), &Metrics::of_pipeline("all", &[Kind::Nodes]), &Status::new(&[Kind::Nodes]));
        status.lease(Kind::Jobs, Leadership::Leading);
        status.source(Kind::Jobs, "*", SourceState::Streaming);
        let shown = || board.rows().iter().map(|row| format!("{}: {}", row.name, row.phase)).collect::<Vec<_>>();
        assert_eq!(shown(), ["all/nodes: starting", "web/jobs: leader"]);
        assert!(!board.is_ready());
        board.remove(&name("all"));
        assert!(board.is_ready());
        board.failed(&name("web"), "no disk".to_owned());
        assert_eq!(shown(), ["web/jobs: blocked: no disk"]);
        assert!(!board.is_ready());
    }

    #[test]
    fn the_metrics_of_all_are_one_text_with_each_family_once() {
        let board = Board::default();
        for pipeline in ["all", "web"] {
            let metrics = Metrics::of_pipeline(pipeline, &[Kind::Jobs]);
            metrics.delivered(Kind::Jobs, 3, 10);
            board.show(Some(name(pipeline)), &metrics, &Status::new(&[Kind::Jobs]));
        }
        let text = board.metrics().expect("text");
        for pipeline in ["all", "web"] {
            let line = format!("nomad_firehose_records_delivered_total{{pipeline=\"{pipeline}\",kind=\"jobs\"}} 3\n");
            assert!(text.contains(&line), "{text}");
        }
        assert_eq!(text.matches("# TYPE nomad_firehose_records_delivered counter").count(), 1, "{text}");
        assert_eq!(text.matches("# EOF\n").count(), 1, "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
