//! The way to the process that runs programs: it starts it, passes records and answers, and notices that it makes no progress.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

use super::{
    COMMAND, Config, Patience,
    frame::{self, Answer, Damaged, Question, Setup},
};
use crate::sys::process;

/// How often the processor time of a busy process is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long a process may take to start.
const START: Duration = Duration::from_secs(10);

/// How much of what a process says at its end is read.
const LAST_WORDS: u64 = 16 << 10;

/// How long its end may take once it is killed.
const BURIAL: Duration = Duration::from_secs(5);

/// How much memory is kept for the next frames.
const KEPT: usize = 2 << 20;

/// How much is read at a time.
const BUFFER: usize = 64 << 10;

/// A process that runs programs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    /// Frames that are not written yet.
    unwritten: Vec<u8>,
    /// How much of them is written.
    written: usize,
    received: BytesMut,
    is_ready: bool,
    started: Instant,
    patience: Patience,
    /// When the last answer came, or the process got work.
    since: Instant,
    /// Its processor time at the first look after that.
    processor: Option<Duration>,
}

/// A record with this much blame is a dead letter: it has ended the process twice. A process that was killed has perhaps met
/// the one who kills when memory is short, and perhaps somebody else, so that this takes twice as often.
pub(super) const GUILTY: u32 = 4;

/// Something happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Bytes were written or read: there can be answers.
    Moved,
    /// It is of no use any more.
    Over(Over),
}

/// Why a process is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It has closed its end.
    Gone,
    /// A record takes too much processor time.
    Busy,
    /// It does not answer, without using the processor.
    Silent,
    /// It sent something that is no answer.
    Damaged,
}

/// The end of a process, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) reason: String,
    /// How much the record that it ran is to blame: see [`GUILTY`].
    pub(super) blame: u32,
}

impl Worker {
    /// Starts the process, which answers [`Answer::Ready`].
    pub(super) fn start(config: &Config) -> io::Result<Self> {
        let mut command = Command::new(&config.worker);
        // Nothing of our environment: it holds secrets. With one arena, the limit is for what is used, not for reserves.
        // A group of its own: the terminal's interrupt is for the parent, which still needs it for what is to be delivered.
        process::set_apart(&mut command, "nomad-firehose");
        command.arg(COMMAND).env_clear().env("MALLOC_ARENA_MAX", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let setup = Setup {
            parent: std::process::id().cast_signed(),
            jq: config.jq.as_deref().map(str::to_owned),
            by: config.by.as_deref().map(str::to_owned),
            redact: config.redact.iter().map(ToString::to_string).collect(),
            memory: config.memory.bytes(),
        };
        let mut first = Vec::new();
        frame::put_setup(&mut first, &setup);
        Ok(Worker {
            child,
            stdin,
            stdout,
            stderr,
            unwritten: first,
            written: 0,
            received: BytesMut::with_capacity(BUFFER),
            is_ready: false,
            started: Instant::now(),
            patience: config.patience,
            since: Instant::now(),
            processor: None,
        })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Enqueues a record. `is_first` if the process has no other.
    pub(super) fn ask(&mut self, question: &Question<'_>, is_first: bool) {
        if is_first {
            self.touch();
        }
        frame::put_question(&mut self.unwritten, question);
    }

    /// The parent could not listen for a while: what it missed does not count.
    pub(super) fn touch(&mut self) {
        (self.since, self.processor) = (Instant::now(), None);
    }

    /// The next answer that has been received.
    pub(super) fn answer(&mut self) -> Result<Option<Answer>, Damaged> {
        let answer = frame::take_answer(&mut self.received)?;
        if answer.is_some() {
            self.is_ready = true;
        }
        Ok(answer)
    }

    /// Moves bytes in both directions until something happens. Can be cancelled. `is_busy` if the process owes answers.
    pub(super) async fn exchange(&mut self, is_busy: bool) -> Event {
        let Worker { stdin, stdout, unwritten, written, received, .. } = self;
        received.reserve(BUFFER);
        tokio::select! {
            // A process that has ended is noticed by what can be read.
            count = stdin.write(&unwritten[*written..]), if !unwritten.is_empty() => match count {
                Ok(count) => {
                    *written += count;
                    if *written == unwritten.len() {
                        *written = 0;
                        unwritten.clear();
                        unwritten.shrink_to(KEPT);
                    }
                    Event::Moved
                }
                Err(_) => Event::Over(Over::Gone),
            },
            read = stdout.read_buf(received) => match read {
                Ok(1..) => {
                    self.touch();
                    Event::Moved
                }
                Ok(0) | Err(_) => Event::Over(Over::Gone),
            },
            () = sleep(LOOK), if is_busy || !self.is_ready => self.look(),
        }
    }

    /// Whether the process is still worth waiting for.
    fn look(&mut self) -> Event {
        let now = self.processor_time();
        let before = *self.processor.get_or_insert(now);
        let (busy, waiting) = match self.is_ready {
            true => (self.patience.busy, self.patience.waiting),
            false => (START, START),
        };
        if now.saturating_sub(before) >= busy {
            Event::Over(Over::Busy)
        } else if self.since.elapsed() >= waiting {
            Event::Over(Over::Silent)
        } else {
            Event::Moved
        }
    }

    /// The processor time of the process so far.
    fn processor_time(&self) -> Duration {
        let Some(id) = self.child.id() else { return Duration::ZERO };
        // Where the system does not say, the time that passes counts as such.
        process::processor_time(id).unwrap_or_else(|| self.started.elapsed())
    }

    /// Ends the process, and says why it is over.
    pub(super) async fn end(mut self, over: Over, config: &Config) -> End {
        // Of a process that has ended by itself, the status says more.
        if over == Over::Gone {
            timeout(BURIAL, self.child.wait()).await.ok();
        }
        self.child.start_kill().ok();
        let status = timeout(BURIAL, self.child.wait()).await.ok().and_then(Result::ok);
        let mut words = Vec::new();
        let stderr = &mut self.stderr;
        timeout(BURIAL, stderr.take(LAST_WORDS).read_to_end(&mut words)).await.ok();
        let Patience { busy, waiting } = config.patience;
        match over {
            Over::Busy => End::blaming(format!("the program ran longer than {}", seconds(busy))),
            Over::Silent => End { reason: format!("the jq worker did not answer for {}", seconds(waiting)), blame: 0 },
            Over::Damaged => End::blaming(Damaged.to_string()),
            Over::Gone => {
                let killed = status.is_some_and(process::was_killed);
                let reason = reason(status, &String::from_utf8_lossy(&words), config);
                End { reason, blame: if killed { GUILTY / 4 } else { GUILTY / 2 } }
            }
        }
    }
}

impl End {
    fn blaming(reason: String) -> Self {
        End { reason, blame: GUILTY / 2 }
    }
}

/// Why the process has ended, by its status and the words of Rust's runtime.
fn reason(status: Option<ExitStatus>, words: &str, config: &Config) -> String {
    if words.contains("overflowed its stack") {
        return "the program overflowed its stack".to_owned();
    }
    if words.contains("memory allocation of") {
        return format!("the program needed more memory than {}; see NOMAD_FIREHOSE_JQ_MEMORY", config.memory);
    }
    match status.map(|status| (process::signal(status), status.code())) {
        Some((Some(signal), _)) => format!("the jq worker was killed by signal {signal}"),
        Some((None, Some(code))) => format!("the jq worker ended with code {code}: {}", words.trim()),
        _ => "the jq worker ended".to_owned(),
    }
}

fn seconds(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_written_as_people_do() {
        assert_eq!(seconds(Duration::from_secs(1)), "1s");
    }
}
