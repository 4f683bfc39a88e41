//! What the Nomad client, the Consul client and the HTTP sink share: addresses, certificates, tokens, and the causes of a failed
//! request.
//!
//! Their settings have the same names with different prefixes. `Names` holds the variables of one prefix, so that every message
//! names the variable to fix.

mod address;
mod body;
mod connect;
mod fault;
mod foreign;
mod knock;
mod later;
mod proxy;
mod secret;
mod settings;
mod token;
mod transport;

#[cfg(feature = "kinesis")]
pub(crate) use self::connect::client;
pub(crate) use self::{
    address::user,
    body::{Cut, body, text},
    connect::{Reach, Server, servers},
    fault::{Fault, UNASKED, reason},
    foreign::{foreign, refused_connection},
    knock::knock,
    later::retry_after,
    proxy::Proxies,
    settings::Names,
    token::Token,
    transport::of_proxy,
};
pub use self::{
    address::{Address, BadAddress},
    secret::{BasicAuth, Secret},
    settings::TokenSource,
};
#[cfg(feature = "otlp")]
pub(crate) use self::{body::body_with_trailers, connect::http2_server};
pub use crate::tls::Tls;
