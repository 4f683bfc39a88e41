//! The given values, and where they were given: flags override variables, and variables override the file. Only the
//! form is checked here.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use super::{Form, PipelineName, Problem, Setting, nearest::nearest_key};

/// The table of the file that has the tables of the pipelines.
const PIPELINE: &str = "pipeline";

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

/// Where a value was given. A later variant comes before an earlier one: what a pipeline's own table says is the most specific.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration of another program, and the name that the value has there.
    Foreign(String),
    File(PathBuf),
    Variable,
    Flag,
    /// The table of a pipeline in the file.
    Pipeline(PathBuf, PipelineName),
}

impl Origin {
    /// The origin with the higher rank decides.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Origin::Foreign(_) => 0,
            Origin::File(_) => 1,
            Origin::Variable => 2,
            Origin::Flag => 3,
            Origin::Pipeline(..) => 4,
        }
    }

    /// The setting's name in a message, with its other name.
    pub(crate) fn place(&self, setting: &Setting) -> String {
        let Setting { flag, variable, .. } = setting;
        match self {
            Origin::Flag => format!("--{flag} ({variable})"),
            Origin::Variable => format!("{variable} (--{flag})"),
            Origin::Foreign(name) => format!("{name} ({variable})"),
            Origin::File(_) | Origin::Pipeline(..) => format!("{} ({variable})", self.key(flag)),
        }
    }

    /// A key of the file in a message.
    fn key(&self, key: &str) -> String {
        match self {
            Origin::Flag | Origin::Variable | Origin::Foreign(_) => key.to_owned(),
            Origin::File(path) => format!("{key} in {}", path.display()),
            Origin::Pipeline(path, name) => format!("{key} of [{PIPELINE}.{name}] in {}", path.display()),
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
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    given: HashMap<&'static str, Given>,
    file_has_secrets: bool,
    /// A file could not be read, so that nothing is known of what it says.
    is_incomplete: bool,
    /// What another program's configuration says, and has no effect here.
    without_effect: Vec<String>,
    /// What the tables of the pipelines say.
    pipelines: BTreeMap<PipelineName, BTreeMap<&'static str, Given>>,
}

impl Layers {
    pub(crate) fn get(&self, setting: &Setting) -> Option<&Given> {
        self.given.get(setting.flag)
    }

    /// Whether a file could not be read: what was not given may stand in it.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// Notes that a file could not be read.
    pub(crate) fn lacks_a_file(&mut self) {
        self.is_incomplete = true;
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

    /// Adds a value of another program's configuration. Call it after everything else.
    pub(crate) fn foreign(
        &mut self,
        setting: &'static Setting,
        values: Vec<String>,
        place: &str,
        problems: &mut Vec<Problem>,
    ) {
        let values: Vec<_> = values.iter().map(OsStr::new).collect();
        self.offer(setting, values, false, Origin::Foreign(place.to_owned()), problems);
    }

    /// Notes what another program's configuration says, and has no effect here.
    pub(crate) fn has_no_effect(&mut self, what: Vec<String>) {
        self.without_effect.extend(what);
    }

    /// What another program's configuration says, and has no effect here.
    pub(crate) fn without_effect(&self) -> &[String] {
        &self.without_effect
    }

    /// Adds the text of the configuration file. Call it last.
    pub(crate) fn file(&mut self, file: &File<'_>, problems: &mut Vec<Problem>) {
        let mut table = match file.text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                self.is_incomplete = true;
                return problems.push(Problem::syntax(file.path, file.text, &error));
            }
        };
        let pipelines = table.remove(PIPELINE);
        let origin = Origin::File(file.path.to_owned());
        for (setting, given) in self.values(file, table, &origin, problems) {
            self.given.entry(setting.flag).or_insert(given);
        }
        match pipelines {
            None => {}
            Some(toml::Value::Table(tables)) => {
                for (name, table) in tables {
                    self.pipeline(file, &name, table, problems);
                }
            }
            Some(_) => {
                let place = format!("{PIPELINE} in {}", file.path.display());
                problems.push(Problem::new(place, None, "write a table for each pipeline, such as [pipeline.web]"));
            }
        }
    }

    /// Adds the table of one pipeline.
    fn pipeline(&mut self, file: &File<'_>, name: &str, table: toml::Value, problems: &mut Vec<Problem>) {
        let place = format!("[{PIPELINE}.{name}] in {}", file.path.display());
        let (name, table) = match (name.parse::<PipelineName>(), table) {
            (Ok(name), toml::Value::Table(table)) => (name, table),
            (Err(error), _) => return problems.push(Problem::new(place, None, error.to_string())),
            (Ok(_), _) => {
                let what = "write the settings of the pipeline as a table, such as [pipeline.web]";
                return problems.push(Problem::new(place, None, what));
            }
        };
        let origin = Origin::Pipeline(file.path.to_owned(), name.clone());
        let mut own = BTreeMap::new();
        for (setting, given) in self.values(file, table, &origin, problems) {
            if file.of_pipelines.iter().any(|allowed| allowed.flag == setting.flag) {
                own.insert(setting.flag, given);
            } else {
                let what = "this setting is of the whole program; write it above the tables of the pipelines";
                problems.push(Problem::new(origin.place(setting), None, what));
            }
        }
        self.pipelines.insert(name, own);
    }

    /// The values of a table.
    fn values(
        &mut self,
        file: &File<'_>,
        table: toml::Table,
        origin: &Origin,
        problems: &mut Vec<Problem>,
    ) -> Vec<(&'static Setting, Given)> {
        let mut flat = Vec::new();
        flatten("", table, &mut flat);
        let mut values = Vec::new();
        for (key, value) in flat {
            // TOML's own style has underscores.
            let flag = key.replace('_', "-");
            let Some(setting) = file.settings.iter().find(|setting| setting.flag == flag) else {
                problems.push(Problem::unknown_key(&origin.key(&key), nearest_key(&flag, file.settings)));
                continue;
            };
            match texts(setting, value) {
                Ok((texts, split)) => match file.filled_in(setting, texts) {
                    Ok((texts, in_file)) => {
                        self.file_has_secrets |= in_file;
                        let texts: Vec<_> = texts.iter().map(OsStr::new).collect();
                        values.push((*setting, given(setting, texts, split, origin.clone(), problems)));
                    }
                    Err(what) => problems.push(Problem::new(origin.place(setting), None, what)),
                },
                Err(what) => problems.push(Problem::new(origin.place(setting), None, what)),
            }
        }
        values
    }

    /// The pipelines that the configuration file has, in the order of their names.
    pub(crate) fn pipelines(&self) -> impl Iterator<Item = &PipelineName> {
        self.pipelines.keys()
    }

    /// What was given for one pipeline: its own table decides, and then what was given for all.
    pub(crate) fn of_pipeline(&self, name: &PipelineName) -> Layers {
        let mut given = self.given.clone();
        for (flag, own) in self.pipelines.get(name).into_iter().flatten() {
            given.insert(flag, own.clone());
        }
        let without_effect = self.without_effect.clone();
        Layers {
            given,
            file_has_secrets: self.file_has_secrets,
            is_incomplete: self.is_incomplete,
            without_effect,
            pipelines: BTreeMap::new(),
        }
    }

    /// What was given of these settings alone.
    pub(crate) fn only(&self, settings: &[&'static Setting]) -> Layers {
        let given = settings.iter().filter_map(|setting| Some((setting.flag, self.get(setting)?.clone())));
        Layers { given: given.collect(), ..Layers::default() }
    }

    /// Keeps these settings as they are in `held`, and returns those that differed.
    pub(crate) fn hold(&mut self, settings: &[&'static Setting], held: &Layers) -> Vec<&'static Setting> {
        let mut differing = Vec::new();
        for setting in settings {
            let values = |layers: &Layers| layers.get(setting).map(|given| given.values.clone());
            if values(self) == values(held) {
                continue;
            }
            differing.push(*setting);
            match held.get(setting) {
                Some(given) => self.given.insert(setting.flag, given.clone()),
                None => self.given.remove(setting.flag),
            };
        }
        differing
    }

    /// What was given of these settings, to be compared after the file was read again.
    pub(crate) fn texts_of(&self, settings: &[&'static Setting]) -> BTreeMap<&'static str, Vec<String>> {
        let given = settings.iter().filter_map(|setting| Some((setting.flag, self.get(setting)?.values.clone())));
        given.collect()
    }

    fn offer<'a>(
        &mut self,
        setting: &'static Setting,
        values: impl IntoIterator<Item = &'a OsStr>,
        split: bool,
        origin: Origin,
        problems: &mut Vec<Problem>,
    ) {
        if !self.given.contains_key(setting.flag) {
            self.given.insert(setting.flag, given(setting, values, split, origin, problems));
        }
    }
}

/// The configuration file.
pub(crate) struct File<'a> {
    /// Where it is.
    pub(crate) path: &'a Path,
    /// What it says.
    pub(crate) text: &'a str,
    /// The settings that it can hold.
    pub(crate) settings: &'a [&'static Setting],
    /// Those of them that the table of a pipeline can hold.
    pub(crate) of_pipelines: &'a [&'static Setting],
    /// The variables that its secrets can name.
    pub(crate) environment: &'a Environment<'a>,
}

impl File<'_> {
    /// The texts with `${NAME}` in a secret or an address replaced by that variable, so that the file need not hold it; and whether
    /// the file holds a secret all the same.
    fn filled_in(&self, setting: &Setting, texts: Vec<String>) -> Result<(Vec<String>, bool), String> {
        // An address can have a password in it.
        let has_password = |text: &String| text.split_once("://").is_some_and(|(_, it)| it.contains('@'));
        if !setting.secret && !setting.is_address() {
            let in_file = texts.iter().any(has_password);
            return Ok((texts, in_file));
        }
        let in_file = texts.iter().any(|text| !text.contains("${") && (setting.secret || has_password(text)));
        let filled = texts.iter().map(|text| self.fill_in(text)).collect::<Result<_, _>>()?;
        Ok((filled, in_file))
    }

    fn fill_in(&self, text: &str) -> Result<String, String> {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or("a ${ has no }; write ${VARIABLE}")?;
            let value = self.environment.get(name).ok_or_else(|| {
                let name: String = name.chars().take(80).collect();
                format!("the variable {name} that it names is not set; set it, or write the value here")
            })?;
            filled += before;
            filled += value;
            rest = after;
        }
        Ok(filled + rest)
    }
}

/// The values of one setting.
fn given<'a>(
    setting: &Setting,
    values: impl IntoIterator<Item = &'a OsStr>,
    split: bool,
    origin: Origin,
    problems: &mut Vec<Problem>,
) -> Given {
    let (mut texts, mut padded) = (Vec::new(), false);
    for value in values {
        match value.to_str() {
            None => {
                problems.push(Problem::new(origin.place(setting), None, "the value is not UTF-8; write it in UTF-8"));
            }
            Some(text) if split => texts.extend(items(text, setting.form)),
            Some(text) => {
                // The file that the value came from ends with a line break; a blank could be intended.
                let line = text.trim_matches(['\r', '\n']);
                padded |= line.trim() != line;
                texts.push(line.trim().to_owned());
            }
        }
    }
    Given { values: texts, origin, padded }
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
