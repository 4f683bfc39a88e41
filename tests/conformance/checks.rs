//! The checks, each for any rig.

mod faults;
mod limits;
mod stops;

pub(crate) use self::{
    faults::{order_per_key, partial_failure, reconnect, reject_to_file, reject_with_stop, unknown_outcome},
    limits::{back_pressure, bytes_in_flight, secrets},
    stops::{drain_on_stop, kill_in_mid_batch},
};

/// What a sink has to say something to: that it passes the check, or why its protocol knows no such thing.
#[allow(dead_code, reason = "it is made, so that none is left out, and never read")]
pub(crate) struct Named {
    pub(crate) order_per_key: (),
    pub(crate) partial_failure: (),
    pub(crate) unknown_outcome: (),
    pub(crate) reject_with_stop: (),
    pub(crate) reject_to_file: (),
    pub(crate) drain_on_stop: (),
    pub(crate) reconnect: (),
    pub(crate) back_pressure: (),
    pub(crate) bytes_in_flight: (),
    pub(crate) secrets: (),
    pub(crate) kill_in_mid_batch: (),
}
