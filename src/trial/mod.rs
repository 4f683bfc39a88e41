//! Runs a pipeline's programs on some records, and shows what goes in and what comes out: `nomad-firehose try`.
//!
//! The records go through the same [stage](crate::program) as in a run, and through a worker process of the same kind. Nothing
//! is sent, stored or locked: there is no sink, no coordinator and no checkpoint, and Nomad is only read.
//!
//! `input` makes records of lines, `newest` reads them from a cluster, `outcome` runs the programs, and `show` is
//! what the user sees.

mod compare;
mod input;
mod newest;
mod outcome;
mod show;

#[cfg(test)]
mod tests;

use std::{io, sync::Arc};

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

pub use self::show::{Form, Look};
use self::{
    input::{Found, Reading},
    newest::Cluster,
    outcome::{Bench, Outcome},
    show::Show,
};
use crate::{
    enrich::Enricher,
    kind::Kind,
    meta::Origin,
    nomad::{self, Client, Topic},
    program::{self, Enrich},
    telemetry::Metrics,
};

/// What to try.
#[derive(Debug)]
pub struct Trial {
    /// The kinds of the pipeline; none means any.
    pub kinds: Vec<Kind>,
    /// The topics of the kind `events`.
    pub topics: Vec<Topic>,
    /// The namespaces to read.
    pub namespaces: Vec<String>,
    /// The programs; `None` passes each record on.
    pub program: Option<program::Config>,
    /// The cluster, for `$meta`.
    pub origin: Origin,
    /// The name of the sink, if it shows messages to people.
    pub messenger: Option<&'static str>,
    /// How to show it.
    pub look: Look,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Records that went in.
    pub records: usize,
    /// Records without an output.
    pub filtered: usize,
    /// Outputs.
    pub outputs: usize,
    /// Records that a program failed on.
    pub errors: usize,
    /// Lines that no record could be made of.
    pub unreadable: usize,
}

/// Why a trial ends early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nomad cannot be read.
    #[error(transparent)]
    Nomad(#[from] nomad::Error),
    /// The input cannot be read.
    #[error("cannot read standard input: {0}")]
    Input(#[source] io::Error),
    /// The output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// The stage has ended.
    #[error("the jq worker has ended; see the log")]
    Stopped,
}

impl Trial {
    /// Tries the records of `lines`, one in each.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn of_lines(
        self,
        client: Client,
        mut lines: impl AsyncBufRead + Unpin,
        out: &mut (impl io::Write + ?Sized),
    ) -> Result<Sums, Error> {
        let mut reading = Reading::new(&self.kinds);
        let mut run = self.start(client);
        loop {
            let mut line = Vec::new();
            if lines.read_until(b'\n', &mut line).await.map_err(Error::Input)? == 0 {
                return run.end(out);
            }
            match reading.line(&Bytes::from(line)) {
                Ok(found) => run.each(found, out).await?,
                Err(reason) => run.unreadable(reading.number(), &reason, out)?,
            }
        }
    }

    /// Tries the newest records of a cluster, oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn of_newest(
        self,
        client: Client,
        last: usize,
        out: &mut (impl io::Write + ?Sized),
    ) -> Result<Sums, Error> {
        let (kinds, topics, namespaces) = (&self.kinds, &self.topics, &self.namespaces);
        let found = Cluster { client: &client, kinds, topics, namespaces }.newest(last).await?;
        let mut run = self.start(client);
        run.each(found, out).await?;
        run.end(out)
    }

    fn start(self, client: Client) -> Run {
        let Trial { program, origin, messenger, look, .. } = self;
        let metrics = Metrics::new(&Kind::ALL);
        let enrich = program.as_ref().filter(|program| program.mentions().any()).map(|program| {
            // The records of a trial do not wait for an outage.
            let enricher = Enricher::new(client, program.mentions(), &metrics).impatient();
            Arc::new(enricher) as Arc<dyn Enrich>
        });
        Run { bench: Bench::new(program, origin, enrich), show: Show::new(look, messenger), sums: Sums::default() }
    }
}

/// A trial under way.
struct Run {
    bench: Bench,
    show: Show,
    sums: Sums,
}

impl Run {
    async fn each(&mut self, found: Vec<Found>, out: &mut (impl io::Write + ?Sized)) -> Result<(), Error> {
        for found in found {
            let tried = self.bench.run(found).await.ok_or(Error::Stopped)?;
            self.sums.records += 1;
            match &tried.outcome {
                Outcome::Filtered => self.sums.filtered += 1,
                Outcome::Outputs(outputs) => self.sums.outputs += outputs.len(),
                Outcome::Failed(_) => self.sums.errors += 1,
            }
            let text = self.show.tried(self.sums.records, &tried);
            out.write_all(text.as_bytes()).map_err(Error::Output)?;
        }
        out.flush().map_err(Error::Output)
    }

    fn unreadable(&mut self, line: usize, reason: &str, out: &mut (impl io::Write + ?Sized)) -> Result<(), Error> {
        self.sums.unreadable += 1;
        out.write_all(self.show.unreadable(line, reason).as_bytes()).map_err(Error::Output)
    }

    fn end(self, out: &mut (impl io::Write + ?Sized)) -> Result<Sums, Error> {
        out.write_all(self.show.sums(&self.sums).as_bytes()).map_err(Error::Output)?;
        out.flush().map_err(Error::Output)?;
        Ok(self.sums)
    }
}
