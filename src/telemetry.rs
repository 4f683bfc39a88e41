use crate::{kind::Kind, position::RaftIndex};
#[derive(Clone, Debug, Default)]
pub struct Metrics;
impl Metrics {
    pub fn repeat_dropped(&self, _: Kind) {}
    pub fn task_overruns(&self, _: u32) {}
    pub fn gap(&self, _: Kind, _: u64) {}
    pub fn reconnected(&self) {}
    pub fn position(&self, _: RaftIndex) {}
    pub fn garbage_line(&self) {}
    pub fn started_over(&self) {}
    pub fn reconcile_page(&self, _: Kind) {}
    pub fn leading(&self, _: Kind, _: bool) {}
}
#[derive(Clone, Debug, Default)]
pub struct Readiness;
impl Readiness {
    pub fn connected(&self, _: bool) {}
}
