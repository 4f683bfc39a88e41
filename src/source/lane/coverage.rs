//! Which namespaces a lane's subscription has, and what it owes of those it did not have.

use tracing::info;

use super::Lane;
use crate::{
    checkpoint::{Owed, Pass},
    kind::Kind,
    nomad::Namespace,
    resource,
    source::{
        Stopped,
        catch_up::CatchUp,
        member::{Batch, report_gap},
        namespaces::newest,
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
        let uncovered = self.uncovered(found);
        if !uncovered.is_empty() {
            self.begin_catch_up(uncovered);
        }
    }

    /// Those of `found` that are to be caught up with.
    pub(super) fn uncovered(&self, found: &[Namespace]) -> Vec<Namespace> {
        let position = self.position();
        let is_known = |name: &str| self.catch_up.as_ref().is_some_and(|catch_up| catch_up.has(name));
        let uncovered = found.iter().filter(|namespace| {
            namespace.create_index > self.covered && namespace.create_index <= position && !is_known(&namespace.name)
        });
        uncovered.cloned().collect()
    }

    pub(super) fn begin_catch_up(&mut self, found: Vec<Namespace>) {
        let names: Vec<&str> = found.iter().map(|namespace| namespace.name.as_str()).collect();
        info!(namespaces = ?names, "new namespaces; subscribing again");
        let furthest = self.members.iter().map(|member| member.cursor.position()).max_by_key(|position| position.index);
        let until = furthest.cloned().unwrap_or_default();
        let earlier = self.catch_up.take();
        self.catch_up = Some(CatchUp::new(&found, until, &self.history, earlier));
    }

    /// Books what namespaces could have had, where their events can't be seen any more.
    pub(super) async fn owe_namespaces(&mut self, owed: Vec<(String, Owed)>) -> Result<(), Stopped> {
        if owed.is_empty() {
            return Ok(());
        }
        for member in self.members.iter_mut().filter(|member| !member.first_start && member.kind != Kind::Nodes) {
            let mut batch = Batch::default();
            for (name, owed) in &owed {
                report_gap(&self.ctx, member.kind, name, owed);
                if member.kind == Kind::Events {
                    batch.drafts.push(resource::gap(name, owed));
                } else {
                    let ranges = vec![owed.clone()];
                    member.add_pass(Pass { ranges, namespace: Some(name.clone()), ..Pass::default() });
                    batch.effect.backfill = Some(member.passes.iter().cloned().collect());
                }
            }
            member.submit(&self.ctx, batch, None).await?;
        }
        Ok(())
    }

    pub(super) async fn mark_covered(&mut self) -> Result<(), Stopped> {
        for member in &self.members {
            let mut batch = Batch::default();
            batch.effect.namespaces = Some(self.covered);
            member.submit(&self.ctx, batch, None).await?;
        }
        Ok(())
    }
}
