//! Which namespaces a lane's subscription has, and what it owes of those it did not have.

use tracing::info;

use super::Lane;
use crate::{
    checkpoint::{Gap, Pass},
    kind::Kind,
    nomad::Namespace,
    position::{Position, RaftIndex},
    resource,
    source::{
        Stopped,
        catch_up::CatchUp,
        namespaces::newest,
        tracker::{Batch, report_gap},
    },
};

impl Lane {
    /// Takes in the namespaces that the subscription has.
    pub(super) async fn cover(&mut self, found: Vec<Namespace>) -> Result<(), Stopped> {
        if let Some(catch_up) = &mut self.catch_up {
            // The others were created behind the position: the stream has them whole.
            catch_up.newest = catch_up.newest.max(newest(&found));
            return Ok(());
        }
        self.covered = self.covered.max(newest(&found));
        self.mark_covered().await
    }

    /// What was created at or below the position, but never covered, is caught up with: it came while the program was
    /// stopped, or between two looks.
    pub(super) fn find_uncovered(&mut self, found: &[Namespace]) {
        if self.trackers.iter().any(|tracker| tracker.unlisted.is_some()) {
            // All that they had up to here is owed already.
            self.covered = self.covered.max(self.furthest().index);
        }
        let uncovered = self.uncovered(found);
        if !uncovered.is_empty() {
            self.begin_catch_up(uncovered);
        }
    }

    /// Those of `found` that are to be caught up with.
    pub(super) fn uncovered(&self, found: &[Namespace]) -> Vec<Namespace> {
        uncovered(found, self.covered, self.furthest().index, self.catch_up.as_ref())
    }

    /// Where the kind that has read most has read to.
    fn furthest(&self) -> Position {
        let positions = self.trackers.iter().map(|tracker| tracker.cursor.position());
        positions.max_by_key(|position| position.index).cloned().unwrap_or_default()
    }

    pub(super) fn begin_catch_up(&mut self, found: Vec<Namespace>) {
        let names: Vec<&str> = found.iter().map(|namespace| namespace.name.as_str()).collect();
        info!(namespaces = ?names, "new namespaces; subscribing again");
        let until = self.furthest();
        let earlier = self.catch_up.take();
        self.catch_up = Some(CatchUp::new(&found, self.covered, until, &self.history, earlier));
    }

    /// What lists of one namespace did not show of the others can be read from here on: of all that there are by now.
    pub(super) async fn list_unlisted(&mut self) -> Result<(), Stopped> {
        let mut gap = false;
        for tracker in &mut self.trackers {
            gap |= tracker.owe_unlisted(&self.ctx).await?;
        }
        if gap {
            self.covered = self.covered.max(self.furthest().index);
            self.mark_covered().await?;
        }
        Ok(())
    }

    /// Books what namespaces could have had, where their events can't be seen any more.
    pub(super) async fn owe_namespaces(&mut self, gap: Vec<(String, Gap)>) -> Result<(), Stopped> {
        if gap.is_empty() {
            return Ok(());
        }
        for tracker in self.trackers.iter_mut().filter(|tracker| !tracker.first_start && tracker.kind != Kind::Nodes) {
            let mut batch = Batch::default();
            for (name, gap) in &gap {
                report_gap(&self.ctx, tracker.kind, name, gap);
                if tracker.kind == Kind::Events {
                    batch.drafts.push(resource::gap(name, gap));
                } else {
                    let ranges = vec![gap.clone()];
                    tracker.add_pass(Pass { ranges, namespace: Some(name.clone()), ..Pass::default() });
                    batch.effect.backfill = Some(tracker.passes.iter().cloned().collect());
                }
            }
            tracker.submit(&self.ctx, batch, None).await?;
        }
        Ok(())
    }

    pub(super) async fn mark_covered(&mut self) -> Result<(), Stopped> {
        for tracker in &mut self.trackers {
            let mut batch = Batch::default();
            batch.effect.namespaces = Some(self.covered);
            tracker.submit(&self.ctx, batch, None).await?;
        }
        Ok(())
    }
}

/// Those of `found` that were created behind `covered`, and at or below the place to which any kind has read: its own
/// subscription did not have them, wherever the others are.
fn uncovered(
    found: &[Namespace],
    covered: RaftIndex,
    furthest: RaftIndex,
    catch_up: Option<&CatchUp>,
) -> Vec<Namespace> {
    let is_known = |name: &str| catch_up.is_some_and(|catch_up| catch_up.has(name));
    let uncovered = found.iter().filter(|namespace| {
        namespace.create_index > covered && namespace.create_index <= furthest && !is_known(&namespace.name)
    });
    uncovered.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a crash, kinds can stand at different places.
    #[test]
    fn what_was_created_behind_the_slowest_kind_is_caught_up_with_for_the_others() {
        let found = [("default", 1), ("known", 500), ("new", 595), ("later", 601)];
        let found = found.map(|(name, index)| Namespace { name: name.to_owned(), create_index: RaftIndex(index) });
        let uncovered = uncovered(&found, RaftIndex(500), RaftIndex(600), None);
        assert_eq!(uncovered, found[2..3]);
    }
}
