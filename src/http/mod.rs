//! What the clients of Nomad and of Consul and the HTTP sink share: addresses, certificates, tokens, and the causes of
//! a failed request.
//!
//! All are reached alike, and their settings have the same names with another prefix: `Names` holds that prefix's
//! variables, so that every message names the one to mend.

mod address;
mod body;
mod connect;
mod fault;
mod foreign;
mod proxy;
mod secret;
mod settings;
mod token;

#[cfg(feature = "kinesis")]
pub(crate) use self::connect::client;
pub(crate) use self::{
    address::user,
    body::{Cut, body, text},
    connect::{Reach, Server, servers},
    fault::{Fault, UNASKED, of_proxy, reason},
    foreign::foreign,
    proxy::Proxies,
    settings::Names,
    token::Token,
};
pub use self::{
    address::{Address, BadAddress},
    secret::{BasicAuth, Secret},
    settings::TokenSource,
};
pub use crate::tls::Tls;
