//! The client of Nomad's HTTP API: the event stream, paged lists, single objects and blocking queries.
//!
//! Start at [`Client`]. [`EventStream`] gives the lines of the stream, and [`Page`] the elements of a list while they arrive.
//! Both hold one line or element, and never a whole body. Every failure is an [`Error`] that says what to do, even
//! when Nomad itself closes a connection without a word.
//!
//! Every wait is bounded: five seconds to connect, [`Config::timeout`] for an ordinary answer (plus the time that a blocking
//! query asked for), half a minute between two pieces of a list, forty seconds between two signs of life of a stream.

mod agent;
mod client;
mod config;
mod confirm;
mod credible;
mod elements;
mod error;
mod identity;
pub mod line;
mod lines;
mod list;
mod object;
mod refusal;
mod stream;
mod topic;
mod variables;
mod versions;

#[cfg(test)]
mod tests;

pub use self::{
    agent::{Agent, Token},
    client::Client,
    config::Config,
    error::Error,
    identity::Keyring,
    lines::LongLine,
    list::{ListQuery, Page, TableState},
    object::Namespace,
    stream::{EventStream, StreamQuery},
    topic::{BadTopic, Table, Topic},
    variables::{Items, MAX_ITEMS, MAX_PATH, Place, Variable, Written},
    versions::JobVersion,
};
pub use crate::http::{Address, BadAddress, Secret, Tls, TokenSource};
