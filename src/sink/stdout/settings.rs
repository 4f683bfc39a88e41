//! The sink `stdout` has no settings.

use super::Stdout;
use crate::sink::{Definition, Policy, Prepared, Sink, Unusable};

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
}
