//! Gaps of one kind: which ranges are booked for lists, and which of them are reported.

use tracing::error;

use super::{StartMode, Submission, Tracker};
use crate::{
    checkpoint::{Gap, Pass},
    kind::Kind,
    position::{Identity, Position, RaftIndex, Seen},
    resource,
    source::{
        context::{Context, Stopped},
        resume::proof::TableVerdict,
    },
};

/// When a gap is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapReport {
    Now,
    /// It is only known that a table moved, and tables also move without an event: the list decides.
    IfListFindsSomething,
}

impl Tracker {
    /// Evaluates the index of the kind's tables while the proof is missing.
    pub(crate) async fn take_table_index(&mut self, ctx: &Context, index: RaftIndex) -> Result<TableVerdict, Stopped> {
        // Raw events have no list. Waiting for the next one costs nothing, and loses none that is still to come.
        if self.kind == Kind::Events && !self.cursor.is_proven_by_table(index) {
            return Ok(TableVerdict::Wait);
        }
        let verdict = self.cursor.observe_table(index);
        if let TableVerdict::Gap(gap) = &verdict {
            let mut submission = Submission::default();
            self.book_gap(ctx, gap.clone(), GapReport::IfListFindsSomething, &mut submission);
            submission.effect.line = Some((index, Vec::new()));
            self.submit(ctx, submission, None).await?;
        }
        Ok(verdict)
    }

    /// Books a range in which versions could have been missed. A range before a first start is booked, and is no gap.
    pub(super) fn book_gap(&mut self, ctx: &Context, gap: Gap, report: GapReport, submission: &mut Submission) {
        let start_mode = std::mem::replace(&mut self.start_mode, StartMode::Resumed);
        let is_gap = !start_mode.is_first_start();
        if is_gap && report == GapReport::Now {
            report_gap(ctx, self.kind, &self.namespace, &gap);
        }
        match (self.kind, is_gap) {
            (Kind::Events, true) => submission.drafts.push(resource::gap(&self.namespace, &gap)),
            (Kind::Events, false) => {}
            _ => self.backfill.add(Pass {
                ranges: vec![gap],
                baseline: start_mode.needs_baseline(),
                unreported: is_gap && report == GapReport::IfListFindsSomething,
                ..Pass::default()
            }),
        }
    }

    /// Books what new namespaces could have had, if their events are no longer in the buffer.
    pub(crate) async fn book_namespaces(&mut self, ctx: &Context, gaps: &[(String, Gap)]) -> Result<(), Stopped> {
        let mut submission = Submission::default();
        for (name, gap) in gaps {
            report_gap(ctx, self.kind, name, gap);
            if self.kind == Kind::Events {
                submission.drafts.push(resource::gap(name, gap));
            } else {
                let ranges = vec![gap.clone()];
                self.backfill.add(Pass { ranges, namespace: Some(name.clone()), ..Pass::default() });
            }
        }
        self.submit(ctx, submission, None).await
    }

    /// A line was too long to be kept: everything that it can have had is a gap. Events of other lines of its index are
    /// known.
    pub(super) fn book_long_line(&mut self, ctx: &Context, index: RaftIndex, submission: &mut Submission) {
        let Position { index: at, seen, .. } = self.cursor.position();
        let known = if *at == index { seen.clone() } else { Seen::default() };
        let gap = Gap { from: index, until: index.next(), known };
        ctx.metrics.gap(self.kind, 1);
        if self.kind == Kind::Events {
            submission.drafts.push(resource::gap(&self.namespace, &gap));
        } else {
            self.backfill.add(Pass { ranges: vec![gap], ..Pass::default() });
        }
    }

    /// Lists need not deliver further lines of the index at which a gap ends. If the list covers that index whole, none
    /// of them is new, and all of them are left to it.
    pub(super) fn know_at_gap_end(&mut self, index: RaftIndex, identities: &[Identity]) {
        if index != self.cursor.position().index {
            return;
        }
        let new = identities.iter().copied().filter(|event| self.cursor.is_new(index, *event));
        let new: Vec<Identity> = new.collect();
        if !new.is_empty() {
            self.backfill.know(index, &new);
        }
    }
}

/// Reports that versions could have been missed.
pub(super) fn report_gap(ctx: &Context, kind: Kind, namespace: &str, gap: &Gap) {
    ctx.metrics.gap(kind, gap.until.0.saturating_sub(gap.from.0));
    let action = if kind == Kind::Events { "report in the stream" } else { "backfill" };
    error!(
        %kind,
        namespace,
        from = %gap.from,
        until = %gap.until,
        action,
        reason = "Nomad's event buffer no longer covers this range",
        "gap detected"
    );
}
