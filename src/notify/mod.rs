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

pub(crate) use self::text::cut;
pub use self::{merge::merge, message::Message, severity::Severity};
