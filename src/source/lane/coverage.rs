//! Which namespaces a lane's subscription has, and what it owes of those it did not have.

use tracing::info;

use super::Lane;
use crate::{
    checkpoint::{Owed, Pass},
    kind::Kind,
    nomad::Namespace,
    position::{RaftIndex, Seen},
    resource,
    source::{
        Stopped,
        catch_up::CatchUp,
        member::{Batch, report_gap},
    },
};

impl Lane {
    /// Takes in the namespaces that the subscription has. What was created below the position, but never covered, is
    /// read from its list.
    pub(super) async fn cover(&mut self, found: Vec<Namespace>) -> Result<(), Stopped> {
        if self.catch_up.is_some() {
            return Ok(());
        }
        let position = self.position();
        let missed: Vec<&Namespace> = found
            .iter()
            .filter(|namespace| namespace.create_index > self.covered && namespace.create_index <= position)
            .collect();
        if let Some(from) = missed.iter().map(|namespace| namespace.create_index).min() {
            let names = missed.iter().map(|namespace| namespace.name.clone()).collect();
            self.owe_namespaces(names, from, position).await?;
        }
        self.covered = self.covered.max(newest(&found));
        self.mark_covered().await
    }

    pub(super) fn begin_catch_up(&mut self, found: Vec<Namespace>) {
        let names: Vec<&str> = found.iter().map(|namespace| namespace.name.as_str()).collect();
        info!(namespaces = ?names, "new namespaces; subscribing again");
        let furthest = self.members.iter().map(|member| member.cursor.position()).max_by_key(|position| position.index);
        let until = furthest.cloned().unwrap_or_default();
        let earlier = self.catch_up.take();
        self.catch_up = Some(CatchUp::new(&found, until, &self.history, earlier));
    }

    /// Books what namespaces could have had between two indexes, where their events can't be seen any more.
    pub(super) async fn owe_namespaces(
        &mut self,
        names: Vec<String>,
        from: RaftIndex,
        until: RaftIndex,
    ) -> Result<(), Stopped> {
        for member in self.members.iter_mut().filter(|member| !member.first_start && member.kind != Kind::Nodes) {
            let owed = Owed { from, until, known: Seen::default() };
            let mut batch = Batch::default();
            report_gap(&self.ctx, member.kind, &names.join(","), &owed);
            if member.kind == Kind::Events {
                batch.drafts.extend(names.iter().map(|name| resource::gap(name, &owed)));
            } else {
                for name in &names {
                    let ranges = vec![owed.clone()];
                    member.add_pass(Pass { ranges, namespace: Some(name.clone()), ..Pass::default() });
                }
                batch.effect.backfill = Some(member.passes.iter().cloned().collect());
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

pub(super) fn newest(namespaces: &[Namespace]) -> RaftIndex {
    namespaces.iter().map(|namespace| namespace.create_index).max().unwrap_or_default()
}
