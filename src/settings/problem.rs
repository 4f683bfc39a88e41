//! Mistakes in a configuration, and probable mistakes.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// One mistake.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    place: String,
    value: Option<String>,
    what: String,
}

/// How much of a value is shown.
const SHOWN: usize = 80;

impl Problem {
    /// `place` says which setting and where it was given, `value` is the given value unless it is a secret, and `what`
    /// describes the problem and how to fix it.
    pub(crate) fn new(place: impl Into<String>, value: Option<&str>, what: impl Into<String>) -> Self {
        let value = value.map(|value| match value.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value.to_owned(),
        });
        Problem { place: place.into(), value, what: what.into() }
    }

    /// A file that is not TOML. The line itself, which `toml` would print, can hold a secret.
    pub(crate) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let what = format!("line {line} is not valid TOML: {}; correct it", error.message().replace('\n', " "));
        Problem::new(path.display().to_string(), None, what)
    }

    /// `place` is the key, and where it was found.
    pub(crate) fn unknown_key(place: &str, nearest: Option<&str>) -> Self {
        let what = match nearest {
            Some(nearest) => format!("no such setting; did you mean {nearest}?"),
            None => "no such setting; use the name of a flag, see --help".to_owned(),
        };
        Problem::new(place, None, what)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} is {value:?}: {}", self.place, self.what),
            None => write!(f, "{}: {}", self.place, self.what),
        }
    }
}

/// Adds those of `more` that are not there yet: a setting that is read twice has the same mistake twice.
pub(crate) fn add_new<T: PartialEq>(all: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

/// All mistakes. Never empty, and free of secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "invalid configuration: {one}"),
            all => {
                write!(f, "invalid configuration, {} problems:", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// A valid setting that is probably not intended. Logged once the log is set up.
#[derive(Debug, PartialEq, Eq)]
pub enum Warning {
    /// A variable that looks like one of ours but is not.
    UnknownVariable {
        /// Its name.
        name: String,
        /// The valid name that it is most like.
        nearest: Option<&'static str>,
    },
    /// A topic that Nomad 2.0.5 does not have; Nomad silently accepts any name.
    UnknownTopic {
        /// The topic.
        topic: String,
        /// The topic that it is most like.
        nearest: Option<&'static str>,
    },
    /// The only namespace is the one that Nomad sets in every task's environment.
    InjectedNamespace {
        /// That namespace.
        namespace: String,
    },
    /// A token and a token file were given in the same place; the file is used.
    TokenAndFile {
        /// The variable of the file.
        used: &'static str,
    },
    /// A value in quotes that were probably meant for a shell. The quotes count as part of the value.
    Quoted {
        /// The setting, and where it was given.
        place: String,
    },
    /// Blanks around a value, which the program removes.
    Padded {
        /// The setting, and where it was given.
        place: String,
    },
    /// Other users of the machine can read a file with secrets in it, or write a file or a directory of the program.
    Exposed {
        /// The setting, and where it was given.
        setting: String,
        /// The file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Whether it is a directory.
        is_directory: bool,
    },
    /// The configuration of nomad-events-sink has values that mean nothing here.
    WithoutEffect {
        /// The keys, each with the reason.
        keys: Vec<String>,
    },
    /// A label of a log store can have many values, and each of them makes a stream.
    ManyLabels {
        /// The setting.
        setting: &'static str,
        /// The label.
        label: String,
    },
    /// Two pipelines write records with the same ids to a target that drops what has an id that it knows.
    SharedTarget {
        /// The first pipeline.
        first: String,
        /// The second one.
        second: String,
        /// A kind that both carry.
        kind: &'static str,
    },
    /// A value, or a part of it, that does nothing.
    Unused {
        /// The setting.
        setting: &'static str,
        /// Which part, and why.
        what: &'static str,
    },
    /// A certificate is not verified.
    SkipVerify {
        /// Why.
        because: &'static str,
    },
}

/// What to do about a shared target.
const SEPARATE: &str = "give each pipeline a target of its own, or let their programs pass different records";

impl Warning {
    /// The warning as a problem, if it can be the cause of one.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let Warning::UnknownVariable { name, nearest } = self else { return None };
        let hint = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
        Some(Problem::new(name.clone(), None, format!("no such variable{hint}")))
    }

    /// The warning in words, and what to do about it.
    pub(crate) fn words(&self) -> (String, String) {
        let meant = |nearest: &Option<&str>, otherwise: &str| match nearest {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => otherwise.to_owned(),
        };
        match self {
            Warning::UnknownVariable { name, nearest } => {
                let text = format!("the environment variable {name} is unknown and ignored");
                (text, meant(nearest, "remove it, or correct its name"))
            }
            Warning::UnknownTopic { topic, nearest } => {
                (format!("Nomad 2.0.5 has no topic {topic:?}"), meant(nearest, "correct NOMAD_FIREHOSE_TOPICS"))
            }
            Warning::InjectedNamespace { namespace } => (
                format!("only the namespace {namespace:?} of this job is carried"),
                "set NOMAD_NAMESPACE in the env block of the job: * carries every namespace".to_owned(),
            ),
            Warning::TokenAndFile { used } => {
                ("token and token file are both set".to_owned(), format!("{used} is used; remove the other one"))
            }
            Warning::Quoted { place } => {
                (format!("{place} has quotes in its value"), "write the value without the quotes".to_owned())
            }
            Warning::Padded { place } => {
                (format!("blanks around the value of {place} are ignored"), "remove them".to_owned())
            }
            Warning::Exposed { setting, path, mode, is_directory } => {
                let path = path.display();
                if *is_directory {
                    let text = format!("{setting}: other users can write to the directory {path} (mode {mode:04o})");
                    (text, format!("chmod o-w {path}"))
                } else {
                    let text = format!("{setting}: other users can access the file {path} (mode {mode:04o})");
                    (text, format!("chmod 600 {path}"))
                }
            }
            Warning::WithoutEffect { keys } => {
                let text = format!("settings of nomad-events-sink have no effect: {}", keys.join("; "));
                (text, "nothing: see docs/migrating-from-nomad-events-sink.md".to_owned())
            }
            Warning::ManyLabels { setting, label } => (
                format!("{setting}: the label {label} can have many values, and each of them makes a stream"),
                "keep labels to a few values; what identifies a record is in its structured metadata".to_owned(),
            ),
            Warning::SharedTarget { first, second, kind } => (
                format!(
                    "the pipelines {first} and {second} write {kind} to one target, which drops what has the id of another record"
                ),
                SEPARATE.to_owned(),
            ),
            Warning::Unused { setting, what } => (format!("{setting}: {what}"), "remove or correct it".to_owned()),
            Warning::SkipVerify { because } => {
                (format!("certificates are not verified: {because}"), "verify them in production".to_owned())
            }
        }
    }

    /// Logs the warning.
    pub fn log(&self) {
        match self {
            Warning::UnknownVariable { name, nearest: Some(nearest) } => {
                tracing::warn!(%name, did_you_mean = %nearest, "unknown environment variable ignored");
            }
            Warning::UnknownVariable { name, nearest: None } => {
                tracing::warn!(%name, "unknown environment variable ignored");
            }
            Warning::UnknownTopic { topic, nearest: Some(nearest) } => {
                tracing::warn!(%topic, did_you_mean = %nearest, "unknown topic");
            }
            Warning::UnknownTopic { topic, nearest: None } => {
                tracing::warn!(%topic, "unknown topic");
            }
            Warning::InjectedNamespace { namespace } => tracing::warn!(
                %namespace,
                fix = "set NOMAD_NAMESPACE in the env block of the job: * carries every namespace",
                "carrying only the namespace of this job"
            ),
            Warning::TokenAndFile { used } => tracing::warn!(used, "token and token file are both set"),
            Warning::Quoted { place } => tracing::warn!(
                setting = %place,
                fix = "write the value without the quotes",
                "setting has quotes in its value"
            ),
            Warning::Padded { place } => tracing::warn!(setting = %place, "blanks around the value ignored"),
            Warning::Exposed { setting, path, mode, is_directory } => {
                let (path, mode) = (path.display(), format!("{mode:04o}"));
                if *is_directory {
                    let fix = format!("chmod o-w {path}");
                    tracing::warn!(%setting, %path, mode, fix, "other users can write to the directory");
                } else {
                    let fix = format!("chmod 600 {path}");
                    tracing::warn!(%setting, %path, mode, fix, "other users can access the file");
                }
            }
            Warning::WithoutEffect { keys } => {
                tracing::info!(keys = keys.join("; "), "nomad-events-sink settings without effect");
            }
            Warning::ManyLabels { setting, label } => tracing::warn!(
                setting,
                %label,
                fix = "keep labels to a few values",
                "label can have many values"
            ),
            Warning::SharedTarget { first, second, kind } => tracing::warn!(
                %first,
                %second,
                kind,
                fix = SEPARATE,
                "pipelines share a target that drops repeats"
            ),
            Warning::Unused { setting, what } => {
                tracing::warn!(setting, reason = what, fix = "remove or correct it", "setting or part of it ignored")
            }
            Warning::SkipVerify { because } => tracing::warn!(because, "certificates are not verified"),
        }
    }
}
