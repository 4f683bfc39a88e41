//! The client against small servers that answer what the real Consul cannot be made to say. Those against the real one
//! are in `tests/consul_client.rs`.

use super::*;

pub(super) fn client_at(address: &str, change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config {
        address: address.parse().expect("an address"),
        token: TokenSource::None,
        basic_auth: None,
        namespace: None,
        partition: None,
        datacenter: None,
        tls: Tls::default(),
        folder: "firehose".to_owned(),
    };
    change(&mut config);
    Client::new(config).expect("a plain configuration")
}
