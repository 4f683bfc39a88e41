//! The pipelines of a process, with what each counts and how each is: what the status pages show.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{
    Metrics, Outline, Phase, Recent, Status,
    facets::Cause,
    metrics::{Summary, merge, of_process},
    status::{Outlet, Resource},
};
use crate::{
    redact::{LINE, shown},
    settings::PipelineName,
};

/// The pipelines of a process. Cheap to clone; all clones share the same.
#[derive(Clone, Debug, Default)]
pub struct Board {
    views: Arc<Mutex<BTreeMap<Option<PipelineName>, View>>>,
    recent: Recent,
}

/// What is seen of one pipeline.
#[derive(Clone, Debug)]
struct View {
    metrics: Metrics,
    status: Status,
    outline: Arc<Outline>,
    /// Why it is not running, and since when.
    failure: Option<(String, SystemTime)>,
}

/// One pipeline at one moment.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its name, if it has one.
    pub name: Option<PipelineName>,
    /// What it is set to do.
    pub outline: Arc<Outline>,
    /// How its sink is.
    pub outlet: Outlet,
    /// Bytes read from Nomad and not delivered yet.
    pub in_flight_bytes: i64,
    /// Its kinds.
    pub rows: Vec<Row>,
}

/// One kind of one pipeline.
#[derive(Clone, Debug)]
pub struct Row {
    /// `KIND`, or `PIPELINE/KIND`.
    pub name: String,
    /// What it is doing.
    pub phase: Phase,
    /// What else is known of it.
    pub resource: Resource,
    /// Its numbers.
    pub summary: Summary,
}

impl Board {
    /// Shows a pipeline; `None` is the one without a name. It takes the place of an earlier one of that name.
    pub fn show(&self, pipeline: Option<PipelineName>, metrics: &Metrics, status: &Status, outline: Outline) {
        let (metrics, status, outline) = (metrics.clone(), status.clone(), Arc::new(outline));
        self.lock().insert(pipeline, View { metrics, status, outline, failure: None });
    }

    /// The last records of all pipelines.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Says why a pipeline is not running.
    pub fn failed(&self, pipeline: &PipelineName, reason: String) {
        if let Some(view) = self.lock().get_mut(&Some(pipeline.clone())) {
            let since = view.failure.take().map_or_else(SystemTime::now, |(_, since)| since);
            view.failure = Some((reason, since));
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

    /// All pipelines, each with its kinds.
    pub fn pipelines(&self) -> Vec<Shown> {
        let views: Vec<_> = self.lock().iter().map(|(name, view)| (name.clone(), view.clone())).collect();
        views.into_iter().map(|(name, view)| view.shown(name)).collect()
    }

    /// One row for each kind of each pipeline.
    pub fn rows(&self) -> Vec<Row> {
        self.pipelines().into_iter().flat_map(|pipeline| pipeline.rows).collect()
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
            texts.push(of_process()?);
        }
        Ok(merge(&texts))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<PipelineName>, View>> {
        // A panic elsewhere leaves plain data behind.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn shown(self, name: Option<PipelineName>) -> Shown {
        let View { metrics, status, outline, failure } = self;
        let row = |(mut phase, mut resource): (Phase, Resource)| {
            if let Some((reason, since)) = &failure {
                phase = Phase::Blocked { reason: shown(reason, LINE) };
                resource.causes = vec![Cause::Pipeline];
                resource.since = *since;
                resource.is_led_here = false;
            }
            let kind = resource.kind;
            let row_name = name.as_ref().map_or_else(|| kind.to_string(), |name| format!("{name}/{kind}"));
            Row { name: row_name, phase, resource, summary: metrics.summary(kind) }
        };
        let rows = status.resources().into_iter().map(row).collect();
        let in_flight_bytes = metrics.process().in_flight_bytes.get();
        Shown { name, outline, outlet: status.outlet(), in_flight_bytes, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kind::Kind,
        telemetry::{Leadership, SourceState},
    };

    fn name(text: &str) -> PipelineName {
        text.parse().expect("a name")
    }

    #[test]
    fn each_pipeline_has_its_rows_and_one_that_fails_says_why() {
        let board = Board::default();
        let status = Status::new(&[Kind::Jobs]);
        board.show(Some(name("web")), &Metrics::of_pipeline("web", &[Kind::Jobs]), &status, Outline::default());
        board.show(
            Some(name("all")),
            &Metrics::of_pipeline("all", &[Kind::Nodes]),
            &Status::new(&[Kind::Nodes]),
            Outline::default(),
        );
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
            board.show(Some(name(pipeline)), &metrics, &Status::new(&[Kind::Jobs]), Outline::default());
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
