//! Standard output. A run retries a write that fails; a watch ends with the reason, because a person waits in front of it.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use futures_util::future::BoxFuture;

use crate::{
    lease::LeaseState,
    record::Record,
    sink::{Closed, Outcome, Sink, stdout::Stdout},
};

/// What the sink writes before the words of the system.
const PREFIX: &str = "write to stdout: ";

/// Why nothing more could be written; unset unless a write failed.
pub(super) type Failure = Arc<OnceLock<String>>;

/// The sink `stdout`, which an error closes.
#[derive(Debug)]
pub(super) struct Output {
    stdout: Stdout,
    failure: Failure,
}

impl Output {
    pub(super) fn new(stdout: Stdout, failure: Failure) -> Self {
        Output { stdout, failure }
    }

    async fn write(&mut self, batch: &[Record]) -> Result<Vec<Outcome>, Closed> {
        let outcomes = self.stdout.send(batch).await?;
        let failed = outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Retry { reason, .. } => Some(reason.strip_prefix(PREFIX).unwrap_or(reason).to_owned()),
            _ => None,
        });
        // At the end of the run, the sink writes nothing more without a lease.
        let is_led = batch.iter().all(|record| record.ack.lease_state() == LeaseState::Held);
        match failed {
            Some(reason) if is_led && !is_full_pipe(&reason) => {
                Err(Closed(self.failure.get_or_init(|| reason).clone()))
            }
            _ => Ok(outcomes),
        }
    }
}

impl Sink for Output {
    fn name(&self) -> &'static str {
        self.stdout.name()
    }

    fn send<'a>(&'a mut self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(self.write(batch))
    }
}

/// Whether the far side only has to read: another program can have made the pipe or the terminal non-blocking.
fn is_full_pipe(reason: &str) -> bool {
    let code = reason.rsplit_once("(os error ").and_then(|(_, code)| code.strip_suffix(')')?.parse::<i32>().ok());
    code.is_some_and(|code| io::Error::from_raw_os_error(code).kind() == io::ErrorKind::WouldBlock)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_slow_is_no_failure() {
        assert!(is_full_pipe("Resource temporarily unavailable (os error 11)"));
        for reason in ["No space left on device (os error 28)", "failed to write whole buffer", "(os error x)"] {
            assert!(!is_full_pipe(reason), "{reason}");
        }
    }
}
