//! Signals.

use std::io;

use rustix::process::Signal;
use tokio::{
    signal::unix::{Signal as Stream, SignalKind, signal},
    sync::mpsc,
};

use crate::sys::Sent;

/// Signals that end a process unless it listens, and that mean nothing to this one. SIGXFSZ comes from a limit on the size of files: if
/// it is ignored, the write fails with a reason.
const MEANINGLESS: &[(Signal, &str)] = &[
    (Signal::USR1, "SIGUSR1"),
    (Signal::USR2, "SIGUSR2"),
    (Signal::ALARM, "SIGALRM"),
    (Signal::VTALARM, "SIGVTALRM"),
    (Signal::PROF, "SIGPROF"),
    (Signal::IO, "SIGIO"),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    (Signal::POWER, "SIGPWR"),
    (Signal::XFSZ, "SIGXFSZ"),
];

/// The signals that are sent to this process from now on, in their order for each kind.
#[derive(Debug)]
pub(crate) struct Signals(mpsc::Receiver<Sent>);

impl Signals {
    /// # Errors
    /// The system refuses a handler.
    pub(crate) fn listen() -> io::Result<Self> {
        let (sender, received) = mpsc::channel(16);
        for (number, name) in MEANINGLESS {
            pass_on(signal(SignalKind::from_raw(number.as_raw()))?, Sent::Meaningless(name), sender.clone());
        }
        pass_on(signal(SignalKind::hangup())?, Sent::Reload("SIGHUP"), sender.clone());
        pass_on(signal(SignalKind::terminate())?, Sent::Stop("SIGTERM"), sender.clone());
        pass_on(signal(SignalKind::interrupt())?, Sent::Stop("SIGINT"), sender);
        Ok(Signals(received))
    }

    /// The next signal. Can be cancelled.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        self.0.recv().await
    }
}

fn pass_on(mut signals: Stream, sent: Sent, to: mpsc::Sender<Sent>) {
    tokio::spawn(async move { while signals.recv().await.is_some() && to.send(sent).await.is_ok() {} });
}
