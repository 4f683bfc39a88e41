//! The process that runs programs: `nomad-firehose jq-worker`.
//!
//! A program can recurse until the stack ends, or take all memory, and both end the process that it runs in. So it runs in
//! one that carries nothing else. The process limits its own memory, and ends with its parent.

mod reason;
mod run;

use std::{
    fs::File,
    io::{self, BufReader, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use self::run::Runner;
use super::frame::{self, Answer, Setup};
use crate::sys::{process, standard};

/// The subcommand.
pub const COMMAND: &str = "jq-worker";

/// How much is read at a time.
const BUFFER: usize = 256 << 10;

/// How much is gathered before it is written.
const GATHERED: usize = 64 << 10;

/// How long an answer can wait for others. The parent takes a worker that is silent for longer to be at one record.
const LINGER: Duration = Duration::from_millis(20);

/// The share of the memory that is the stack of the programs.
const STACK_SHARE: u64 = 8;

/// The most stack.
const STACK: u64 = 64 << 20;

/// Runs programs for the parent until it closes the pipe.
pub fn serve() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        // The parent reads it, and tells why.
        Err(error) => {
            writeln!(io::stderr(), "{error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn start() -> io::Result<()> {
    process::end_with_parent()?;
    // What jaq says in a panic can hold a record's text, and the parent reads stderr.
    std::panic::set_hook(Box::new(|_| {}));
    let stdin = standard::input()?;
    let stdout = standard::output()?;
    let (mut source, mut frame) = (BufReader::with_capacity(BUFFER, stdin), Vec::new());
    if !frame::read(&mut source, &mut frame)? {
        return Ok(());
    }
    let setup = frame::setup(&frame).ok_or_else(|| io::Error::other("the first frame is no setup"))?;
    // A parent that has ended before the signal was set sends none.
    if !process::is_child_of(setup.parent) {
        return Ok(());
    }
    // A core file would hold records.
    process::restrict(setup.memory)?;
    let stack = usize::try_from((setup.memory / STACK_SHARE).min(STACK)).unwrap_or(usize::MAX);
    let worker = move || Worker { source, sink: stdout, gathered: Vec::new(), written: Instant::now() }.run(&setup);
    let running = thread::Builder::new().name(COMMAND.to_owned()).stack_size(stack).spawn(worker)?;
    running.join().unwrap_or_else(|_| Err(io::Error::other("the jq worker panicked")))
}

struct Worker {
    source: BufReader<File>,
    sink: File,
    /// Answers that are not written yet.
    gathered: Vec<u8>,
    written: Instant,
}

impl Worker {
    fn run(mut self, setup: &Setup) -> io::Result<()> {
        let mut runner = match Runner::new(setup) {
            Ok(runner) => runner,
            Err(reason) => {
                frame::put_answer(&mut self.gathered, &Answer::Unusable(reason));
                return self.flush();
            }
        };
        frame::put_answer(&mut self.gathered, &Answer::Ready);
        // The first record can end this process, and must not take these words with it.
        self.flush()?;
        let mut frame = Vec::new();
        loop {
            // Before it waits for the parent, the parent has all answers.
            if !frame::is_whole(self.source.buffer()) {
                self.flush()?;
            }
            if !frame::read(&mut self.source, &mut frame)? {
                return Ok(());
            }
            let question = frame::question(&frame).ok_or_else(|| io::Error::other("a frame is no record"))?;
            if question.is_careful {
                self.flush()?;
            }
            let start = self.gathered.len();
            let answered = catch_unwind(AssertUnwindSafe(|| runner.answer(&question, &mut self.gathered)));
            if answered.is_err() {
                self.gathered.truncate(start);
                let reason = "the jq interpreter failed on this record".to_owned();
                frame::put_answer(&mut self.gathered, &Answer::Failed(reason));
            }
            if question.is_careful || self.gathered.len() >= GATHERED || self.written.elapsed() >= LINGER {
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.written = Instant::now();
        if !self.gathered.is_empty() {
            self.sink.write_all(&self.gathered)?;
            self.gathered.clear();
            self.gathered.shrink_to(GATHERED * 2);
        }
        Ok(())
    }
}
