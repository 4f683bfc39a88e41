//! The names of one setting, its meaning, and how it is given.

/// One setting. It can be given as a flag, as an environment variable, and as a key of the configuration file.
#[derive(Debug)]
pub struct Setting {
    /// The flag without its dashes, which is also the key in the configuration file.
    pub flag: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// The name of the value in the help: `DURATION`.
    pub value: &'static str,
    /// Its heading in the help.
    pub heading: &'static str,
    /// One or two sentences, with the unit.
    pub help: &'static str,
    /// The value if none is given.
    pub default: Option<&'static str>,
    /// The value must never be printed.
    pub secret: bool,
    /// The value names a file with a secret in it, which other users should not be able to read.
    pub secret_file: bool,
    /// Names the possible values, to be added to the help. `None` if the help has them.
    pub choices: Option<fn() -> String>,
    /// How several values are given.
    pub form: Form,
    /// Which subcommands take the flag.
    pub scope: Scope,
    /// What another value in the configuration file takes while the program runs.
    pub change: Change,
}

/// What it takes to change a setting while the program runs: the configuration file has another value at SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is applied at once.
    AtOnce,
    /// Each pipeline that reads it stops cleanly and starts again in place.
    Pipeline,
    /// As [`Change::Pipeline`]. What the file at this path holds is read again without a signal, whenever it has changed.
    Content,
    /// Only a restart of the program changes it. The text says why.
    Program(&'static str),
}

/// How the values of a setting are given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One value.
    One,
    /// Several values, separated by commas wherever they are given.
    List,
    /// Several values: the flag is repeated, the variable separates them by commas.
    Repeated,
    /// `true` or `false`; the flag alone means `true`.
    Switch,
}

/// Which subcommands take a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// `events` and `run`.
    Topics,
    /// `run`.
    Run,
}

impl Setting {
    /// Whether the value is an address, which can hold a password.
    pub(crate) fn is_address(&self) -> bool {
        matches!(self.value, "URL" | "URL,…" | "ADDRESS")
    }

    pub(crate) const fn new(
        heading: &'static str,
        flag: &'static str,
        variable: &'static str,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        let (default, choices, form, scope) = (None, None, Form::One, Scope::All);
        let (secret, secret_file) = (false, false);
        let change = Change::Pipeline;
        Setting { flag, variable, value, heading, help, default, secret, secret_file, choices, form, scope, change }
    }

    pub(crate) const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    pub(crate) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(crate) const fn secret_file(mut self) -> Self {
        self.secret_file = true;
        self
    }

    pub(crate) const fn choices(mut self, choices: fn() -> String) -> Self {
        self.choices = Some(choices);
        self
    }

    pub(crate) const fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// See [`Change::Content`].
    pub(crate) const fn renewed(mut self) -> Self {
        self.change = Change::Content;
        self
    }

    /// See [`Change`].
    pub(crate) const fn change(mut self, change: Change) -> Self {
        self.change = change;
        self
    }

    pub(crate) const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

/// Declares each setting as a static of its own, and the list of all of them in the order of the help.
macro_rules! settings {
    ($vis:vis $all:ident: $($name:ident = $setting:expr;)*) => {
        $(#[doc = concat!("`", stringify!($name), "`.")] $vis static $name: $crate::settings::Setting = $setting;)*
        /// All of these settings, in the order of the help.
        $vis static $all: &[&$crate::settings::Setting] = &[$(&$name),*];
    };
}
pub(crate) use settings;
