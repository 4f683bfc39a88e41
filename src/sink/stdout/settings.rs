//! The sink `stdout` has no settings.

use std::time::Duration;

use futures_util::future::{BoxFuture, ready};

use super::Stdout;
use crate::{
    finding::Finding,
    sink::{Definition, Policy, Prepared, Sink, Unusable},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "one record a line to standard output",
    settings: &[],
    log: &[],
    is_for_people: false,
    has_headers: false,
    read: |_, _| Ok(Box::new(Config)),
};

/// The sink's settings. There are none.
#[derive(Clone, Copy, Debug)]
struct Config;

impl Prepared for Config {
    fn build(&self, _cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let stdout = Stdout::open().map_err(|error| {
            Unusable::new(format!("cannot use SINK_TYPE=stdout: {error}; start the program with a standard output"))
        })?;
        Ok((Box::new(stdout), Policy::default()))
    }

    fn check(&self, _within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        let found = match self.build(None) {
            Ok(_) => Finding::ok("sink stdout", "there is a standard output"),
            Err(error) => Finding::of_setting("sink stdout", error),
        };
        Box::pin(ready(vec![found]))
    }
}
