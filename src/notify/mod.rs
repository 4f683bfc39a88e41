//! What all sinks for people share: the [`Message`] that a record becomes, before a sink puts it in the form of its service.
//!
//! [`Message::of`] takes any record. The output of a program is read as a message; every other body becomes a readable sentence about what
//! happened.

mod default;
mod merge;
mod message;
mod severity;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use self::text::{bounded, cut, units};
pub use self::{merge::merge, message::Message, severity::Severity};
use crate::record::Record;

impl Message {
    /// The message of any record.
    pub fn of(record: &Record) -> Self {
        Message::of_body(&record.body).unwrap_or_else(|| default::of(record)).tidy()
    }
}
