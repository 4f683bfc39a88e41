//! The events of the console, and of a session that ends.

use std::io;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown,
};

use crate::sys::Sent;

/// The events that are sent to this process from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: CtrlC,
    pause: CtrlBreak,
    close: CtrlClose,
    logoff: CtrlLogoff,
    shutdown: CtrlShutdown,
}

impl Signals {
    /// # Errors
    /// The system refuses a handler.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Signals {
            interrupt: ctrl_c()?,
            pause: ctrl_break()?,
            close: ctrl_close()?,
            logoff: ctrl_logoff()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// The next event. Can be cancelled. There is none that asks for a reload.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        tokio::select! {
            found = self.interrupt.recv() => found.map(|()| Sent::Stop("CTRL_C")),
            found = self.pause.recv() => found.map(|()| Sent::Stop("CTRL_BREAK")),
            found = self.close.recv() => found.map(|()| Sent::Stop("CTRL_CLOSE")),
            found = self.logoff.recv() => found.map(|()| Sent::Stop("CTRL_LOGOFF")),
            found = self.shutdown.recv() => found.map(|()| Sent::Stop("CTRL_SHUTDOWN")),
        }
    }
}
