//! How far the tables of the cluster have come, as the leader has it.

use tracing::debug;

use super::{Context, member::Member};
use crate::{
    nomad::{self, Table},
    position::RaftIndex,
};

/// The greatest index of `tables`; each is asked once for all members. `None` while one cannot be read.
pub(super) async fn greatest_index(
    ctx: &Context,
    namespace: &str,
    tables: &[Table],
    known: &mut Vec<(Table, RaftIndex)>,
) -> Option<RaftIndex> {
    let mut greatest = RaftIndex(0);
    for table in tables {
        let index = match known.iter().find(|(other, _)| other == table) {
            Some((_, index)) => *index,
            None => match ctx.client.table_index(*table, namespace).await {
                Ok(index) => {
                    known.push((*table, index));
                    index
                }
                Err(error) => {
                    debug!(%error, "cannot read the table's index");
                    return None;
                }
            },
        };
        greatest = greatest.max(index);
    }
    Some(greatest)
}

/// The index after which a start at `now` begins.
pub(super) async fn newest_index(ctx: &Context, member: &Member, namespace: &str) -> Result<RaftIndex, nomad::Error> {
    let all = || Table::ALL.to_vec();
    let mut newest = RaftIndex(0);
    for table in member.tables().unwrap_or_else(all) {
        newest = newest.max(ctx.client.table_index(table, namespace).await?);
    }
    Ok(newest)
}
