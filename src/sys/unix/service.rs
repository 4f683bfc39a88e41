//! The service manager that has started this process, as `sd_notify(3)` describes it.

use std::{
    env, io,
    os::unix::{ffi::OsStrExt as _, net::UnixDatagram},
    path::PathBuf,
    time::Duration,
};

use super::clock;

/// The socket of the service manager.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: UnixDatagram,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Path(PathBuf),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Abstract(std::os::unix::net::SocketAddr),
}

impl Manager {
    /// The one that `NOTIFY_SOCKET` names; `None` if it is not set or names nothing that can be a socket.
    ///
    /// # Errors
    /// There is no socket to send from.
    pub(crate) fn of_environment() -> io::Result<Option<Manager>> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let place = match name.as_bytes() {
            [b'/', ..] => Place::Path(PathBuf::from(name)),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            [b'@', rest @ ..] => {
                use std::os::linux::net::SocketAddrExt as _;
                Place::Abstract(std::os::unix::net::SocketAddr::from_abstract_name(rest)?)
            }
            _ => return Ok(None),
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold us up.
        socket.set_nonblocking(true)?;
        Ok(Some(Manager { socket, place }))
    }

    /// Sends assignments, one a line.
    ///
    /// # Errors
    /// The manager cannot be reached, or does not read.
    pub(crate) fn tell(&self, assignments: &str) -> io::Result<()> {
        let bytes = assignments.as_bytes();
        match &self.place {
            Place::Path(path) => self.socket.send_to(bytes, path),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Place::Abstract(address) => self.socket.send_to_addr(bytes, address),
        }
        .map(drop)
    }
}

/// Within which time the manager wants to hear of this process again and again; `None` if it does not.
pub(crate) fn watchdog() -> Option<Duration> {
    let is_for_us = env::var("WATCHDOG_PID").map_or(true, |id| id.parse() == Ok(std::process::id()));
    let within = env::var("WATCHDOG_USEC").ok()?.parse().ok().map(Duration::from_micros);
    within.filter(|within| is_for_us && !within.is_zero())
}

/// The time that a message about a reload has to carry.
pub(crate) fn now() -> Duration {
    clock::monotonic()
}
