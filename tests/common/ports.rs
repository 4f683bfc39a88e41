//! Ports for programs that are told which ones to take.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use nomad_sim::Address;
use rustix::fs::{FlockOperation, flock};

/// Ports for a program that binds them by number, ours until this is dropped: no test beside us takes them while the
/// program is down. They lie below those that the kernel gives to outgoing connections.
#[derive(Debug)]
pub struct Ports {
    /// The first of them.
    pub base: u16,
    _lock: File,
}

impl Ports {
    /// How many there are.
    const BLOCK: u16 = 4;

    /// Finds ports that nobody has.
    pub fn reserve() -> Self {
        let locks = std::env::temp_dir().join("nomad-firehose-test-ports");
        std::fs::create_dir_all(&locks).expect("a directory for locks");
        for _ in 0..1_000 {
            let base = 20_000 + fastrand::u16(..2_500) * Self::BLOCK;
            let lock = File::create(locks.join(base.to_string())).expect("a lock file");
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let free = |port| {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                Address::reserve(address).is_ok() && UdpSocket::bind(address).is_ok()
            };
            if (base..base + Self::BLOCK).all(free) {
                return Ports { base, _lock: lock };
            }
        }
        panic!("no free ports");
    }

    /// The first of them as an address, such as `127.0.0.1:20000`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.base)
    }
}
