//! The sink `stdout`: a pipe.

use std::{
    io::{PipeReader, Read},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    common::{Lines, Process, Setup, collect, order::Leaps},
    rig::{Cause, Rig, SLOW},
};

/// The reader of a pipe, with a new pipe for each start of the program.
#[derive(Default)]
struct Pipe {
    cause: Arc<Mutex<Option<Cause>>>,
    /// The lines of each start, and how many of them were given out.
    starts: Vec<(Lines, usize)>,
    readers: Vec<JoinHandle<()>>,
}

/// One that reads as it can.
struct Paced {
    pipe: PipeReader,
    cause: Arc<Mutex<Option<Cause>>>,
}

impl Read for Paced {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let cause = *self.cause.lock().expect("no panic");
            match cause {
                Some(Cause::Stalled) => std::thread::sleep(Duration::from_millis(1)),
                Some(Cause::Slow) => {
                    let most = buffer.len().min(1024);
                    let length = self.pipe.read(&mut buffer[..most])?;
                    std::thread::sleep(Duration::from_secs(length as u64) / SLOW);
                    return Ok(length);
                }
                _ => return self.pipe.read(buffer),
            }
        }
    }
}

impl Rig for Pipe {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Slow, Cause::Stalled];
    const REFUSAL: &'static str = "";
    const SECRETS: &'static [&'static str] = &[];

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("SINK_TYPE", "stdout".into())]
    }

    fn spawn(&mut self, setup: &Setup) -> Process {
        let (pipe, writer) = std::io::pipe().expect("a pipe");
        let process = setup.spawn_into(writer);
        let (lines, reader) = collect(Paced { pipe, cause: Arc::clone(&self.cause) });
        self.starts.push((lines, 0));
        self.readers.push(reader);
        process
    }

    async fn received(&mut self) -> Vec<String> {
        let mut more = Vec::new();
        for (lines, given) in &mut self.starts {
            let lines = lines.lock().expect("no panic");
            more.extend_from_slice(&lines[*given..]);
            *given = lines.len();
        }
        more
    }

    async fn suffer(&mut self, cause: Cause) {
        assert!(matches!(cause, Cause::Slow | Cause::Stalled), "a pipe knows no {cause:?}");
        *self.cause.lock().expect("no panic") = Some(cause);
    }

    async fn recover(&mut self) {
        *self.cause.lock().expect("no panic") = None;
    }

    async fn program_ended(&mut self) {
        // What is left in the pipe is read at once.
        let cause = self.cause.lock().expect("no panic").take();
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        *self.cause.lock().expect("no panic") = cause;
    }
}

suite! {
    Pipe::default();
    order_per_key: passes,
    partial_failure: "a pipe takes bytes in their order: what stands behind a failure is not taken",
    unknown_outcome: "a write waits as long as the reader does, and then says what it has written",
    reject_with_stop: "a pipe takes whatever is written",
    reject_to_file: "a pipe takes whatever is written",
    drain_on_stop: passes,
    reconnect: "a reader that goes away does not come back: the program ends, see tests/ending.rs",
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: "it has none",
    kill_in_mid_batch: passes,
}
