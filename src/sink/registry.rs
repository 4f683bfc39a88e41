//! Every sink of the program. A new one is its folder, its `mod` line in `mod.rs`, and one line of [`SINKS`].

use std::time::Duration;

use futures_util::future::BoxFuture;
use tracing::level_filters::LevelFilter;

use super::{
    Policy, Sink,
    definition::{Definition, Kinds, Prepared, Unusable},
};
use crate::{
    finding::Finding,
    settings::{Broken, Reader, Setting, nearest},
};

/// The sinks, in the order of the help.
#[rustfmt::skip] // One line for each sink.
pub static SINKS: &[Listed] = &[
    listed!(stdout),
    listed!(amqp or "rabbitmq", feature "amqp"),
    listed!(elasticsearch or "opensearch"),
    listed!(eventbridge, feature "eventbridge"),
    listed!(file),
    listed!(http),
    listed!(kafka, feature "kafka"),
    listed!(kinesis, feature "kinesis"),
    listed!(loki, feature "loki"),
    listed!(mongodb or "mongo", feature "mongodb"),
    listed!(nats),
    listed!(nsq),
    listed!(otlp, feature "otlp"),
    listed!(postgres or "postgresql", feature "postgres"),
    listed!(redis, feature "redis"),
    listed!(sns, feature "sns"),
    listed!(s3, feature "s3"),
    listed!(sqs, feature "sqs"),
    listed!(syslog),
    listed!(slack),
    listed!(discord),
    listed!(teams),
    listed!(pagerduty),
    listed!(alertmanager),
    listed!(smtp, feature "smtp"),
];

/// One line of [`SINKS`].
#[derive(Debug)]
pub struct Listed {
    /// The value of `SINK_TYPE`.
    pub name: &'static str,
    /// Another value that means the same.
    pub alias: Option<&'static str>,
    /// `None` if this build does not have the sink, because its cargo feature is off.
    pub definition: Option<&'static Definition>,
}

impl Listed {
    /// Its settings; none if this build does not have the sink.
    pub fn settings(&self) -> &'static [&'static Setting] {
        self.definition.map_or(&[], |definition| definition.settings)
    }

    /// Its name and its other name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name].into_iter().chain(self.alias)
    }
}

/// The sink that the settings name.
#[derive(Debug)]
pub struct Chosen {
    name: &'static str,
    definition: &'static Definition,
    prepared: Box<dyn Prepared>,
}

impl Chosen {
    /// The value of `SINK_TYPE` that names it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// See [`Definition`].
    pub fn definition(&self) -> &'static Definition {
        self.definition
    }

    /// Why headers of single records cannot be sent, and what to do about it; `None` if they can.
    pub(crate) fn keeps_headers_away(&self) -> Option<&'static str> {
        if self.definition.has_headers {
            self.prepared.keeps_headers_away()
        } else {
            Some("this sink sends no headers; choose cloudevents, or a sink that does, such as amqp or http")
        }
    }

    /// See [`Prepared::gathers`].
    pub(crate) fn gathers(&self) -> Option<(&'static str, usize)> {
        self.prepared.gathers()
    }

    /// See [`Prepared::drops_repeats`].
    pub(crate) fn drops_repeats(&self) -> bool {
        self.prepared.drops_repeats()
    }

    /// See [`Prepared::check`].
    pub fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        self.prepared.check(within)
    }

    /// See [`Prepared::build`].
    ///
    /// # Errors
    /// As there.
    pub fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        self.prepared.build(cluster)
    }
}

/// Reads the sink that `setting` names, with its own settings. It ignores the settings of other sinks.
pub(crate) fn read(setting: &Setting, reader: &mut Reader<'_>, kinds: Kinds<'_>) -> Result<Chosen, Broken> {
    let (name, definition) = reader.value(setting, find)?;
    let prepared = (definition.read)(reader, kinds)?;
    Ok(Chosen { name, definition, prepared })
}

/// The log targets of all sinks; see [`Definition::log`].
pub fn log_limits() -> impl Iterator<Item = (&'static str, LevelFilter)> {
    SINKS.iter().filter_map(|sink| sink.definition).flat_map(|definition| definition.log).copied()
}

/// The sinks that this build has, for the help: `amqp (an exchange of RabbitMQ; also rabbitmq)`.
pub fn choices() -> String {
    let choice = |sink: &Listed| {
        let Listed { name, alias, definition } = sink;
        let alias = alias.map(|alias| format!("; also {alias}")).unwrap_or_default();
        definition.map(|Definition { about, .. }| format!("{name} ({about}{alias})"))
    };
    SINKS.iter().filter_map(choice).collect::<Vec<_>>().join(", ")
}

fn find(text: &str) -> Result<(&'static str, &'static Definition), String> {
    let built = || SINKS.iter().filter(|sink| sink.definition.is_some()).flat_map(Listed::names);
    let there_are = || built().collect::<Vec<_>>().join(", ");
    if let Some(sink) = SINKS.iter().find(|sink| sink.names().any(|name| name == text)) {
        let Listed { name, definition, .. } = sink;
        return definition.map(|definition| (*name, definition)).ok_or_else(|| {
            format!(
                "this build has no {name} sink; build with the cargo feature {name}, or choose one of {}",
                there_are()
            )
        });
    }
    let meant = nearest(text, built());
    let meant = meant.map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
    Err(format!("no such sink{meant}; choose one of {}", there_are()))
}

/// A line of [`SINKS`]: the sink's module, which is its name, perhaps another name, and its cargo feature if it has one.
macro_rules! listed {
    ($sink:ident $(or $alias:literal)?) => {
        Listed { name: stringify!($sink), alias: listed!(@alias $($alias)?), definition: Some(&super::$sink::DEFINITION) }
    };
    ($sink:ident $(or $alias:literal)?, feature $feature:tt) => {
        Listed {
            name: stringify!($sink),
            alias: listed!(@alias $($alias)?),
            definition: {
                #[cfg(feature = $feature)]
                {
                    Some(&super::$sink::DEFINITION)
                }
                #[cfg(not(feature = $feature))]
                {
                    None
                }
            },
        }
    };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
}
use listed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_or_the_message_says_what_there_is() {
        assert_eq!(find("stdout").expect("it is built").0, "stdout");
        for (text, part) in [
            ("stdot", "did you mean stdout?; choose one of stdout, "),
            ("zeromq", "no such sink; choose one of stdout, "),
        ] {
            assert!(find(text).expect_err(text).contains(part), "{text}");
        }
        for (name, built) in [
            ("amqp", cfg!(feature = "amqp")),
            ("kafka", cfg!(feature = "kafka")),
            ("kinesis", cfg!(feature = "kinesis")),
        ] {
            match find(name) {
                Ok((found, _)) => assert!(built && found == name),
                Err(error) => {
                    assert!(!built && error.starts_with(&format!("this build has no {name} sink")), "{error}")
                }
            }
        }
    }
}
