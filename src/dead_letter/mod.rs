//! Records that no sink takes, and inputs that no record can be made of.
//!
//! # The file
//!
//! One JSON object a line, mode 0600, on disk before the record counts as delivered:
//!
//! | field | |
//! |---|---|
//! | `time` | when it was written, UTC, RFC 3339 |
//! | `kind` | `allocations`, `jobs` …; `input` for what never became a record |
//! | `id`, `key`, `namespace`, `job` | the record's own |
//! | `sink` | which sink rejected it |
//! | `reason` | why |
//! | `attempts` | how often it was sent |
//! | `context` | of an input: where it came from |
//! | `envelope` | `"cloud_event"`, or `{"attributes":{…}}` with those that were sent as headers; missing without an envelope |
//! | `body` | the message as text |
//! | `body_hex` | in place of `body` where the bytes are not UTF-8 |
//!
//! Each write opens the file, so that it can be rotated by renaming, and locks it, so that several processes can share
//! it. One of them can be a [`replay`](crate::replay), which replaces the file. A write that fails halfway is undone;
//! the next write ends a line that a crash cut off.
//!
//! # The log
//!
//! The log never has bodies of records: those carry secrets. With `log` and `stop`, an input that could not be read is
//! logged once, cut to [`LOGGED`] bytes, because most inputs are an error message of the far side. With a file, the
//! file has it whole, and the log nothing of it.

pub(crate) mod file;
pub mod list;
pub mod read;

impl Classified for Error {
    fn class(&self) -> Class {
        Class::from(&self.source).with("dead letters")
    }
}

#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::IgnoredAny;
use tokio::sync::Mutex;

use crate::{
    record::{Envelope, Record},
    redact,
    settings::PipelineName,
    throttle::{Class, Classified},
};

/// How many bytes of an unreadable input are logged.
pub const LOGGED: usize = 1024;

/// How long one write to the file may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What to do with a record that the sink will never take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Hold the position and try again slowly: everything behind it waits.
    #[default]
    Stop,
    /// Log its identity and the reason, and drop its body.
    Log,
    /// Append it to a file.
    File(PathBuf),
}

/// The text is no place for dead letters.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not one of stop, log, file:PATH")]
pub struct UnknownPlace(String);

impl Place {
    /// The place of a pipeline where all were given this one: a file of its own beside it, because a replay sends a file to one
    /// sink.
    #[must_use]
    pub fn of_pipeline(self, name: &PipelineName) -> Self {
        match self {
            Place::File(path) => {
                let mut path = path.into_os_string();
                path.push(format!(".{name}"));
                Place::File(path.into())
            }
            place => place,
        }
    }
}

impl FromStr for Place {
    type Err = UnknownPlace;

    fn from_str(text: &str) -> Result<Self, UnknownPlace> {
        match (text, text.strip_prefix("file:")) {
            ("stop", _) => Ok(Place::Stop),
            ("log", _) => Ok(Place::Log),
            (_, Some(path)) if !path.is_empty() => Ok(Place::File(path.into())),
            _ => Err(UnknownPlace(text.to_owned())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Stop => f.write_str("stop"),
            Place::Log => f.write_str("log"),
            Place::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// The dead-letter file could not be written; none of the letters is in it.
#[derive(Debug, thiserror::Error)]
#[error("cannot write dead letters to {}: {source}", path.display())]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: std::io::Error,
}

/// The dead-letter place. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct DeadLetters {
    place: Place,
    /// The one write under way holds it, even when no caller waits for it any more: a disk that hangs costs one thread.
    writing: Arc<Mutex<()>>,
    /// Gets rejected records back; there is no file then.
    returns: Option<Arc<dyn Returns>>,
}

/// Takes rejected records back that come from a dead-letter file themselves.
pub(crate) trait Returns: Send + Sync + fmt::Debug {
    /// The sink has rejected these again.
    fn rejected(&self, letters: &[Letter]);

    /// Whether it tells the user itself, so that the log need not.
    fn is_shown(&self) -> bool {
        false
    }
}

/// One rejected record, or one unreadable input.
#[derive(Clone)]
pub struct Letter {
    kind: &'static str,
    pub(crate) id: Box<str>,
    key: Box<str>,
    namespace: Box<str>,
    job: Box<str>,
    sink: &'static str,
    reason: String,
    /// How often the record was sent.
    pub(crate) attempts: u32,
    context: String,
    envelope: Envelope,
    body: Bytes,
}

impl Letter {
    /// The letter for `record`, which `sink` rejected for `reason` at the given attempt. The body is shared, not
    /// copied.
    pub fn new(record: &Record, sink: &'static str, reason: String, attempts: u32) -> Self {
        Letter {
            kind: record.kind.name(),
            id: record.id.clone(),
            key: Box::from(&*record.key),
            namespace: Box::from(&*record.namespace),
            job: Box::from(&*record.job),
            sink,
            reason: redact::shown(reason, redact::LINE),
            attempts,
            context: String::new(),
            envelope: record.envelope.clone(),
            body: record.body.clone(),
        }
    }

    /// Why.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

/// An input that no record can be made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    /// As it came.
    pub(crate) raw: &'a [u8],
    /// Why it cannot be used.
    pub(crate) reason: &'a str,
    /// Where it came from.
    pub(crate) context: &'a str,
    /// The log has it already.
    pub(crate) is_logged: bool,
}

impl fmt::Debug for Letter {
    /// Without the body: it can carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("reason", &self.reason)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl DeadLetters {
    /// The dead letters of `place`. Opens nothing yet.
    pub fn new(place: Place) -> Self {
        DeadLetters { place, ..DeadLetters::default() }
    }

    /// Logs rejected records, and gives them back to `returns`.
    pub(crate) fn returned_to(returns: Arc<dyn Returns>) -> Self {
        DeadLetters { place: Place::Log, returns: Some(returns), ..DeadLetters::default() }
    }

    /// Whether a rejected record holds up everything behind it.
    pub fn holds(&self) -> bool {
        self.place == Place::Stop
    }

    /// Whether a file keeps them.
    pub(crate) fn keeps(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Opens the file, so that a wrong path is found at the start and not with the first letter.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub async fn check(&self) -> Result<(), Error> {
        self.append(Arc::new([])).await
    }

    /// Takes rejected records: all of them, or none. When it returns `Ok`, they count as delivered.
    ///
    /// With [`Place::Stop`] they are only logged; ask [`DeadLetters::holds`] first.
    ///
    /// # Errors
    /// The file could not be written. Try again: nothing may be dropped because of it.
    pub async fn rejected(&self, letters: Vec<Letter>) -> Result<(), Error> {
        let letters: Arc<[Letter]> = letters.into();
        self.append(Arc::clone(&letters)).await?;
        // Only after the write: on a full disk, each attempt would log all of them.
        let is_shown = self.returns.as_ref().is_some_and(|returns| returns.is_shown());
        for Letter { kind, id, key, sink, reason, attempts, body, .. } in letters.iter().filter(|_| !is_shown) {
            tracing::error!(kind, %id, %key, sink, %reason, attempts, bytes = body.len(), "record rejected by the sink");
        }
        if let Some(returns) = &self.returns {
            returns.rejected(&letters);
        }
        Ok(())
    }

    /// Takes an event that could not be made into a record: `raw` as it came, why it could not be used, and where it
    /// came from. Without a file it is logged, cut to [`LOGGED`] bytes, whatever the place: to hold up the pipeline
    /// would fix nothing.
    ///
    /// # Errors
    /// The file could not be written within 30 s. Try again: nothing may be dropped because of it.
    pub async fn input(&self, raw: &[u8], reason: &str, context: &str) -> Result<(), Error> {
        self.unreadable(Input { raw, reason, context, is_logged: false }).await
    }

    /// The same, where the log can have the input already.
    pub(crate) async fn unreadable(&self, input: Input<'_>) -> Result<(), Error> {
        let Input { raw, reason, context, is_logged } = input;
        let [reason, context] = &[reason, context].map(|text| redact::shown(text, redact::LINE));
        if !self.keeps() {
            let text = (!is_logged).then(|| redact::shown(raw, LOGGED));
            tracing::error!(reason, context, bytes = raw.len(), raw = text, "input cannot be read");
            return Ok(());
        }
        let letter = Letter {
            kind: "input",
            id: Box::default(),
            key: Box::default(),
            namespace: Box::default(),
            job: Box::default(),
            sink: "",
            reason: reason.clone(),
            attempts: 0,
            context: context.clone(),
            envelope: Envelope::None,
            body: without_echo(raw),
        };
        self.append(Arc::new([letter])).await?;
        tracing::error!(reason, context, bytes = raw.len(), "input kept as a dead letter");
        Ok(())
    }

    async fn append(&self, letters: Arc<[Letter]>) -> Result<(), Error> {
        let Place::File(path) = &self.place else { return Ok(()) };
        let failed = |source| Error { path: path.clone(), source };
        let target = path.clone();
        let write = async {
            let turn = Arc::clone(&self.writing).lock_owned().await;
            let task = move || {
                let result = file::append(&target, &letters);
                drop(turn);
                result
            };
            tokio::task::spawn_blocking(task).await
        };
        match tokio::time::timeout(DEADLINE, write).await {
            Ok(Ok(result)) => result.map_err(failed),
            Ok(Err(stopped)) => Err(failed(stopped.into())),
            Err(late) => Err(failed(late.into())),
        }
    }
}

/// The body of an input. JSON stays as it is; anything else can be the page of a proxy that echoes our request.
fn without_echo(raw: &[u8]) -> Bytes {
    match std::str::from_utf8(raw) {
        Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_err() => {
            redact::without_known(text).into_owned().into()
        }
        _ => Bytes::copy_from_slice(raw),
    }
}
