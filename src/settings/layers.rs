//! The given values, and where they were given: flags override variables, and variables override the file. Only the
//! form is checked here.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use super::{Form, Problem, Setting, nearest::nearest_key};

/// The environment of the process. Tests pass one of their own.
pub struct Environment<'a> {
    /// The environment variables.
    pub variables: Vec<(OsString, OsString)>,
    /// Whether a file exists. Used only for the workload identity's token.
    pub exists: &'a dyn Fn(&Path) -> bool,
}

impl Environment<'static> {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Environment { variables: std::env::vars_os().collect(), exists: &|path| path.exists() }
    }
}

impl Environment<'_> {
    /// The value of a variable; `None` if it is unset, empty, or not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.variables.iter().find(|(key, _)| key == name)?;
        value.to_str().filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Environment<'_> {
    /// Without the values: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables.iter().map(|(name, _)| name)).finish()
    }
}

/// Where a value was given. A later variant comes before an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File(PathBuf),
    Variable,
    Flag,
}

impl Origin {
    /// The origin with the higher rank decides.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Origin::File(_) => 0,
            Origin::Variable => 1,
            Origin::Flag => 2,
        }
    }

    /// The setting's name in a message, with its other name.
    pub(crate) fn place(&self, setting: &Setting) -> String {
        let Setting { flag, variable, .. } = setting;
        match self {
            Origin::Flag => format!("--{flag} ({variable})"),
            Origin::Variable => format!("{variable} (--{flag})"),
            Origin::File(path) => format!("{flag} in {} ({variable})", path.display()),
        }
    }
}

/// The values of one setting, from the highest place that has any.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) values: Vec<String>,
    pub(crate) origin: Origin,
    /// Blanks around the value were removed.
    pub(crate) padded: bool,
}

impl fmt::Debug for Given {
    /// Without the values: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Flags as the command line gave them.
pub type Flags = Vec<(&'static Setting, Vec<OsString>)>;

/// All that was given.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    given: HashMap<&'static str, Given>,
    file_has_secrets: bool,
}

impl Layers {
    pub(crate) fn get(&self, setting: &Setting) -> Option<&Given> {
        self.given.get(setting.flag)
    }

    /// Whether the configuration file holds a secret, even one that a variable or a flag overrides.
    pub(crate) fn file_has_secrets(&self) -> bool {
        self.file_has_secrets
    }

    /// Adds the flags. Call it first: a value that is already there stays.
    pub(crate) fn flags(&mut self, flags: &Flags, problems: &mut Vec<Problem>) {
        for (setting, values) in flags {
            let split = setting.form == Form::List;
            self.offer(setting, values.iter().map(OsString::as_os_str), split, Origin::Flag, problems);
        }
    }

    /// Adds the variables. Call it second.
    pub(crate) fn variables(
        &mut self,
        settings: &[&'static Setting],
        environment: &Environment<'_>,
        problems: &mut Vec<Problem>,
    ) {
        for setting in settings {
            let value = environment.variables.iter().find(|(name, _)| name == setting.variable);
            // HashiCorp's own command lines take an empty variable as unset, and so do job files that blank one.
            if let Some((_, value)) = value.filter(|(_, value)| !value.is_empty()) {
                let split = matches!(setting.form, Form::List | Form::Repeated);
                self.offer(setting, [value.as_os_str()], split, Origin::Variable, problems);
            }
        }
    }

    /// Adds the text of the configuration file, which can hold these settings. Call it last.
    pub(crate) fn file(&mut self, settings: &[&'static Setting], path: &Path, text: &str, problems: &mut Vec<Problem>) {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => return problems.push(syntax(path, text, &error)),
        };
        let mut values = Vec::new();
        flatten("", table, &mut values);
        for (key, value) in values {
            let Some(setting) = settings.iter().find(|setting| setting.flag == key) else {
                problems.push(Problem::unknown_key(path, &key, nearest_key(&key, settings)));
                continue;
            };
            let origin = Origin::File(path.to_owned());
            match texts(setting, value) {
                Ok((values, split)) => {
                    // An address can have a password in it.
                    let has_password = |text: &String| text.split_once("://").is_some_and(|(_, it)| it.contains('@'));
                    self.file_has_secrets |= setting.secret || values.iter().any(has_password);
                    let values: Vec<_> = values.iter().map(OsStr::new).collect();
                    self.offer(setting, values, split, origin, problems);
                }
                Err(what) => problems.push(Problem::new(origin.place(setting), None, what)),
            }
        }
    }

    fn offer<'a>(
        &mut self,
        setting: &'static Setting,
        values: impl IntoIterator<Item = &'a OsStr>,
        split: bool,
        origin: Origin,
        problems: &mut Vec<Problem>,
    ) {
        if self.given.contains_key(setting.flag) {
            return;
        }
        let (mut texts, mut padded) = (Vec::new(), false);
        for value in values {
            match value.to_str() {
                None => problems.push(Problem::new(
                    origin.place(setting),
                    None,
                    "the value is not UTF-8; write it in UTF-8",
                )),
                Some(text) if split => texts.extend(items(text, setting.form)),
                Some(text) => {
                    // The file that the value came from ends with a line break; a blank could be intended.
                    let line = text.trim_matches(['\r', '\n']);
                    padded |= line.trim() != line;
                    texts.push(line.trim().to_owned());
                }
            }
        }
        self.given.insert(setting.flag, Given { values: texts, origin, padded });
    }
}

/// The items of a list. Free text can hold a comma: `\,` is a comma that does not separate.
fn items(text: &str, form: Form) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let item = items.last_mut().expect("there is always one");
        match c {
            '\\' if form == Form::Repeated && rest.next_if_eq(&',').is_some() => item.push(','),
            ',' => items.push(String::new()),
            c => item.push(c),
        }
    }
    items.iter().map(|item| item.trim().to_owned()).collect()
}

/// `[nomad] addr` means `nomad-addr`.
fn flatten(prefix: &str, table: toml::Table, out: &mut Vec<(String, toml::Value)>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}-{key}") };
        match value {
            toml::Value::Table(table) => flatten(&key, table, out),
            value => out.push((key, value)),
        }
    }
}

/// The values as text, and whether commas in them still separate items.
fn texts(setting: &Setting, value: toml::Value) -> Result<(Vec<String>, bool), &'static str> {
    let many = matches!(setting.form, Form::List | Form::Repeated);
    match value {
        toml::Value::Array(values) if many => {
            values.into_iter().map(text).collect::<Result<_, _>>().map(|values| (values, false))
        }
        toml::Value::Array(_) => Err("the value is a list; write one value"),
        value => text(value).map(|value| (vec![value], many)),
    }
}

fn text(value: toml::Value) -> Result<String, &'static str> {
    match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(value) => Ok(value.to_string()),
        _ => Err("write the value as a text in quotes"),
    }
}

/// The problem without the line itself, which `toml` would print: it can hold a secret.
fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let what = format!("line {line} is not valid TOML: {}; correct it", error.message().replace('\n', " "));
    Problem::new(path.display().to_string(), None, what)
}
