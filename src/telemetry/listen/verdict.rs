//! The first thing that an operator reads: one sentence that says that all is well, or what is wrong, since when, and what to do.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::parts::{of_resource, of_sink, unix};
use crate::{
    pulse,
    telemetry::{
        Cause, Phase, SinkState,
        board::{Row, Shown},
        journal::Noted,
    },
};

/// How long a sink may take to answer before that is a problem.
const SILENT: Duration = Duration::from_secs(10);
/// How long a kind may take to get its lease, or its first answer from Nomad.
const BEGUN_WITHIN: Duration = Duration::from_secs(10);
/// How long a runtime may stand still before that is a problem.
const STUCK: Duration = Duration::from_secs(10);
/// How old an undelivered event may be before that is a problem of its own.
const BEHIND: f64 = 30.0;
/// How long a gap is worth the first sentence.
const GAP_FOR: Duration = Duration::from_secs(3600);
/// How many names a sentence has.
const NAMES: usize = 4;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tone {
    /// Records do not arrive.
    Bad,
    /// Something is wrong, and records arrive.
    Warning,
    /// Worth a look.
    Notice,
    /// All is well.
    Good,
}

/// A sentence, with what to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    pub(super) tone: Tone,
    pub(super) text: String,
    /// Since when, in Unix seconds.
    pub(super) since: Option<f64>,
    pub(super) fix: Option<&'static str>,
}

impl Verdict {
    fn new(tone: Tone, text: String, since: Option<SystemTime>, fix: Option<&'static str>) -> Self {
        Verdict { tone, text, since: since.map(unix), fix }
    }

    /// Nothing is wrong.
    pub(super) fn well(pipelines: &[Shown]) -> Self {
        let rows = || pipelines.iter().flat_map(|pipeline| &pipeline.rows);
        let led: Vec<_> = rows().filter(|row| row.resource.is_led_here).collect();
        let others: Vec<_> = rows().filter(|row| row.phase == Phase::Standby).collect();
        let holder = others.iter().find_map(|row| row.resource.holder.clone());
        let leader = holder.unwrap_or_else(|| "another replica".to_owned());
        let text = match (led.is_empty(), others.is_empty()) {
            (true, true) => "All is well: this replica is starting.".to_owned(),
            (false, true) => format!("All is well: this replica leads {} and delivers as events arrive.", names(&led)),
            (true, false) => format!("All is well: this replica stands by. {leader} leads {}.", names(&others)),
            (false, false) => format!(
                "All is well: this replica leads {} and stands by for {}, which {leader} leads.",
                names(&led),
                names(&others)
            ),
        };
        Verdict::new(Tone::Good, text, None, None)
    }
}

/// A runtime of the process that stands still.
pub(super) fn stuck() -> Option<Verdict> {
    let (name, silence) = pulse::stuck(STUCK)?;
    let what = if name.is_empty() { "The program".to_owned() } else { format!("The pipeline {name}") };
    let text = format!("{what} has made no progress for {} s.", silence.as_secs());
    let fix = "Restart this replica; another one takes over. Keep its log for a report of the fault.";
    Some(Verdict::new(Tone::Bad, text, SystemTime::now().checked_sub(silence), Some(fix)))
}

/// What is wrong, the worst first.
pub(super) fn problems(pipelines: &[Shown], gaps: &[Arc<Noted>], now: SystemTime) -> Vec<Verdict> {
    let mut found = Vec::new();
    for pipeline in pipelines {
        found.extend(blocked(pipeline));
        found.extend(silent(pipeline, now));
        found.extend(behind(pipeline));
        found.extend(slow_start(pipeline, now));
        found.extend(in_gaps(pipeline, gaps, now));
        found.extend(polling(pipeline));
        found.extend(dead_letters(pipeline));
    }
    found.sort_by_key(|verdict| verdict.tone);
    found
}

/// The kinds that deliver nothing, and why.
fn blocked(pipeline: &Shown) -> Vec<Verdict> {
    let mut groups: Vec<(&str, Cause, Vec<&Row>)> = Vec::new();
    for row in &pipeline.rows {
        let Phase::Blocked { reason } = &row.phase else { continue };
        let cause = row.resource.causes.first().copied().unwrap_or(Cause::Lease);
        match groups.iter_mut().find(|(known, other, _)| known == reason && *other == cause) {
            Some((_, _, rows)) => rows.push(row),
            None => groups.push((reason, cause, vec![row])),
        }
    }
    let verdict = |(reason, cause, rows): (&str, Cause, Vec<&Row>)| {
        let since = rows.iter().map(|row| row.resource.since).min();
        let (text, fix) = of_cause(pipeline, cause, reason, &names(&rows));
        Verdict::new(Tone::Bad, text, since, Some(fix))
    };
    groups.into_iter().map(verdict).collect()
}

fn of_cause(pipeline: &Shown, cause: Cause, reason: &str, names: &str) -> (String, &'static str) {
    let sink = pipeline.outline.sink;
    // In the sink's own words, where it is the only trouble.
    let of_sink = of_sink(&pipeline.outlet.state).1.unwrap_or(reason);
    match cause {
        Cause::Pipeline => (
            format!("The pipeline of {names} does not run: {reason}."),
            "Fix the cause. The pipeline starts again by itself, or after SIGHUP if its table changed.",
        ),
        Cause::Lease => (
            format!("This replica cannot hold or take the lease of {names}: {reason}."),
            "Check that the coordinator answers, and that its token may write. A replica that reaches it goes on.",
        ),
        Cause::Nomad => (
            format!("Nomad does not give {names}: {reason}."),
            "Check that Nomad answers, and what the token may read. What Nomad's event buffer still holds is sent later.",
        ),
        Cause::Program => (
            format!("Records of {names} wait for the jq program: {reason}."),
            "Fix the program, or what it asks of Nomad; nomad-firehose try shows what it does. Nothing is lost meanwhile.",
        ),
        Cause::Rejected => (
            format!("The sink {sink} rejected a record, and {names} wait behind it: {of_sink}."),
            "Fix the cause, or set NOMAD_FIREHOSE_DEAD_LETTER=file:PATH to put such records aside.",
        ),
        Cause::Sink => (
            format!("The sink {sink} takes no records of {names}: {of_sink}."),
            "Fix the sink, or the way to it. Delivery tries again by itself, and sends what Nomad's event buffer still holds.",
        ),
    }
}

/// The sink has a batch and does not answer.
fn silent(pipeline: &Shown, now: SystemTime) -> Option<Verdict> {
    let waiting = pipeline.outlet.waiting.filter(|waiting| *waiting >= SILENT)?;
    let is_plain = pipeline.outlet.state == SinkState::Flowing;
    let rows: Vec<_> = pipeline.rows.iter().filter(|row| row.resource.is_led_here).collect();
    if !is_plain || rows.is_empty() {
        return None;
    }
    let (sink, seconds) = (pipeline.outline.sink, waiting.as_secs());
    let text = format!("The sink {sink} has not answered for {seconds} s, and {} wait for it.", names(&rows));
    let fix = "Check the sink, and whether its reader still reads. Delivery goes on by itself once it answers.";
    Some(Verdict::new(Tone::Bad, text, now.checked_sub(waiting), Some(fix)))
}

/// Delivery is slow.
fn behind(pipeline: &Shown) -> Option<Verdict> {
    let is_late = |row: &&Row| row.phase.is_ready() && row.summary.lag_seconds >= BEHIND;
    let rows: Vec<_> = pipeline.rows.iter().filter(is_late).collect();
    let worst = rows.iter().map(|row| row.summary.lag_seconds).fold(0.0, f64::max);
    if rows.is_empty() || pipeline.outlet.waiting.is_some_and(|waiting| waiting >= SILENT) {
        return None;
    }
    let sink = pipeline.outline.sink;
    let text =
        format!("{} are {worst:.0} s behind: events come faster than the sink {sink} takes records.", names(&rows));
    let fix = "Wait if this is a backfill. Otherwise make the sink faster, or raise its batches or workers.";
    Some(Verdict::new(Tone::Warning, text, None, Some(fix)))
}

fn slow_start(pipeline: &Shown, now: SystemTime) -> Vec<Verdict> {
    let waits = |wanted: Phase, text: &str, fix: &'static str| {
        let is_slow = |row: &&Row| {
            let age = now.duration_since(row.resource.since).unwrap_or_default();
            row.phase == wanted && age >= BEGUN_WITHIN
        };
        let rows: Vec<_> = pipeline.rows.iter().filter(is_slow).collect();
        let since = rows.iter().map(|row| row.resource.since).min()?;
        Some(Verdict::new(Tone::Warning, format!("{} {text}.", names(&rows)), Some(since), Some(fix)))
    };
    let starting = waits(Phase::Starting, "still wait for the coordinator", "Check that the coordinator answers.");
    let connecting = waits(
        Phase::Connecting,
        "still wait for the first answer of Nomad's event stream",
        "Check that Nomad answers, and that no proxy holds its event stream back.",
    );
    starting.into_iter().chain(connecting).collect()
}

/// The newest gap of each kind, if it is fresh.
fn in_gaps(pipeline: &Shown, gaps: &[Arc<Noted>], now: SystemTime) -> Option<Verdict> {
    let name = pipeline.name.as_ref().map(|name| name.as_str());
    let is_fresh = |gap: &Noted| now.duration_since(gap.at).unwrap_or_default() < GAP_FOR;
    let newest = |row: &Row| of_resource(gaps, name, row.resource.kind).next().filter(|gap| is_fresh(gap)).cloned();
    let found: Vec<_> = pipeline.rows.iter().filter_map(|row| Some((row, newest(row)?))).collect();
    let (_, newest) = found.iter().max_by_key(|(_, gap)| gap.at)?;
    let rows: Vec<_> = found.iter().map(|(row, _)| *row).collect();
    let range = match (newest.field("from"), newest.field("until")) {
        (Some(from), Some(until)) => format!(", raft indexes {from} to {until}"),
        _ => String::new(),
    };
    let text = format!("Events of {} may be missing{range}: Nomad no longer had them.", names(&rows));
    let fix = "Lists gave the newest version of each object; versions between are gone. Raise event_buffer_size of the Nomad \
               servers if it happens again.";
    Some(Verdict::new(Tone::Warning, text, Some(newest.at), Some(fix)))
}

fn polling(pipeline: &Shown) -> Option<Verdict> {
    let is_polled = |row: &&Row| matches!(row.phase, Phase::Polling { .. });
    let rows: Vec<_> = pipeline.rows.iter().filter(is_polled).collect();
    let since = rows.iter().map(|row| row.resource.since).min()?;
    let why = rows.iter().find_map(|row| row.phase.text()).map(|text| format!(": {text}")).unwrap_or_default();
    let text = format!("Records of {} come from lists, because there is no event stream{why}.", names(&rows));
    Some(Verdict::new(
        Tone::Notice,
        text,
        Some(since),
        Some("Versions between two lists are not seen: see polling.md."),
    ))
}

fn dead_letters(pipeline: &Shown) -> Option<Verdict> {
    let rows: Vec<_> = pipeline.rows.iter().filter(|row| row.summary.dead_letters > 0).collect();
    let all: u64 = rows.iter().map(|row| row.summary.dead_letters).sum();
    let text = format!("{all} dead letters of {} since the start; everything else is delivered.", names(&rows));
    let fix = "nomad-firehose dead-letters lists a file of them, and sends them again once the cause is fixed.";
    (all > 0).then(|| Verdict::new(Tone::Notice, text, None, Some(fix)))
}

fn names(rows: &[&Row]) -> String {
    let all: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    match all.as_slice() {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] if all.len() <= NAMES => format!("{} and {last}", first.join(", ")),
        first => format!("{} and {} more", first[..NAMES - 1].join(", "), all.len() + 1 - NAMES),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;
    use tracing::Level;

    use super::*;
    use crate::{
        kind::Kind,
        telemetry::{Board, Leadership, Metrics, Outline, SourceState, Status},
    };

    const KINDS: [Kind; 2] = [Kind::Jobs, Kind::Nodes];

    /// A pipeline into `http` that leads both kinds, and streams.
    fn leader() -> (Board, Metrics, Status) {
        let (board, metrics, status) = (Board::default(), Metrics::new(&KINDS), Status::new(&KINDS));
        board.show(None, &metrics, &status, Outline { sink: "http", ..Outline::default() });
        for kind in KINDS {
            status.lease(kind, Leadership::Leading);
            status.source(kind, "*", SourceState::Streaming);
        }
        (board, metrics, status)
    }

    fn said(board: &Board, gaps: &[Arc<Noted>]) -> Vec<(Tone, String)> {
        let found = problems(&board.pipelines(), gaps, SystemTime::now());
        found.into_iter().map(|verdict| (verdict.tone, verdict.text)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_does_not_answer_is_named() {
        let (board, _, status) = leader();
        status.sink_has_batch(true);
        advance(Duration::from_secs(9)).await;
        assert_eq!(said(&board, &[]), []);
        advance(Duration::from_secs(3)).await;
        let expected = "The sink http has not answered for 12 s, and nodes and jobs wait for it.".to_owned();
        assert_eq!(said(&board, &[]), [(Tone::Bad, expected)]);
        status.sink_has_batch(false);
        assert_eq!(said(&board, &[]), []);
    }

    #[test]
    fn the_worst_comes_first_and_kinds_with_one_reason_share_a_sentence() {
        let (board, metrics, status) = leader();
        metrics.dead_letters(Kind::Jobs, crate::telemetry::metrics::REJECTED, 2);
        status.sink(SinkState::Retrying { reason: "status 503".to_owned() });
        let said = said(&board, &[]);
        assert_eq!(said[0], (Tone::Bad, "The sink http takes no records of nodes and jobs: status 503.".to_owned()));
        assert_eq!(said[1].0, Tone::Notice);
        assert!(said[1].1.starts_with("2 dead letters of jobs"), "{said:?}");
    }

    #[test]
    fn each_cause_has_its_own_sentence() {
        let (board, _, status) = leader();
        status.source(Kind::Jobs, "*", SourceState::Blocked { reason: "no route".to_owned() });
        status.lease(Kind::Nodes, Leadership::Blocked { reason: "permission denied".to_owned() });
        let texts: Vec<_> = said(&board, &[]).into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            texts,
            [
                "This replica cannot hold or take the lease of nodes: permission denied.",
                "Nomad does not give jobs: no route."
            ]
        );
    }

    #[test]
    fn a_gap_is_told_for_an_hour() {
        let (board, ..) = leader();
        let gap = |at| {
            let fields = [("kind", "jobs"), ("from", "502"), ("until", "901")];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.into())).to_vec();
            Arc::new(Noted { at, level: Level::ERROR, event: "gap detected".to_owned(), pipeline: None, fields })
        };
        let now = SystemTime::now();
        assert_eq!(said(&board, &[gap(now - Duration::from_secs(3700))]), []);
        let expected = "Events of jobs may be missing, raft indexes 502 to 901: Nomad no longer had them.".to_owned();
        assert_eq!(said(&board, &[gap(now)]), [(Tone::Warning, expected)]);
    }

    #[test]
    fn a_standby_says_who_leads() {
        let (board, _, status) = leader();
        status.lease(Kind::Jobs, Leadership::Standby);
        status.holder(Kind::Jobs, Some("process 8 on there".to_owned()));
        let expected = "All is well: this replica leads nodes and stands by for jobs, which process 8 on there leads.";
        assert_eq!(Verdict::well(&board.pipelines()).text, expected);
    }
}
