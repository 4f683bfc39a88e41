//! Reads one setting after the other, and collects their problems.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use super::{Form, Layers, Origin, Problem, Setting, Warning};

/// Reads settings, and collects problems and warnings.
#[derive(Debug)]
pub struct Reader<'a> {
    pub(crate) layers: &'a Layers,
    pub(crate) problems: Vec<Problem>,
    /// Values that are valid, and probably not intended.
    pub(crate) warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(layers: &'a Layers, problems: Vec<Problem>, warnings: Vec<Warning>) -> Self {
        Reader { layers, problems, warnings }
    }

    /// The text that was given.
    pub(crate) fn text(&self, setting: &Setting) -> Option<&str> {
        self.layers.get(setting)?.values.first().map(String::as_str)
    }

    /// The parsed value; `None` if none was given, or if it is wrong. A wrong value is noted as a problem.
    pub(crate) fn optional<T, E: Display>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let layers = self.layers;
        let given = layers.get(setting)?;
        let text = given.values.first()?;
        let place = given.origin.place(setting);
        match judged(text, "the value is empty", parse) {
            Ok(value) => {
                if given.padded {
                    self.warn(Warning::Padded { place: place.clone() });
                }
                if is_quoted(text) {
                    self.warn(Warning::Quoted { place });
                }
                Some(value)
            }
            Err(what) => {
                self.problems.push(Problem::new(place, shown(setting, text).as_deref(), what));
                None
            }
        }
    }

    /// The parsed value, or the default. If the value is wrong, that is noted, and the default takes its place.
    pub(crate) fn value<T, E: Display>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, Broken> {
        if let Some(value) = self.optional(setting, &parse) {
            return Ok(value);
        }
        let default = setting.default.ok_or(Broken)?;
        parse(default).map_err(|error| {
            if self.layers.get(setting).is_none() {
                self.missing(setting, format!("the default {default} is invalid: {error}"));
            }
            Broken
        })
    }

    /// The parsed values, or those of the default, each once.
    pub(crate) fn list<T: PartialEq, E: Display>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        debug_assert!(matches!(setting.form, Form::List | Form::Repeated));
        let (texts, origin) = match self.layers.get(setting) {
            Some(given) => (given.values.clone(), &given.origin),
            None => (setting.default.map(str::to_owned).into_iter().collect(), &Origin::Variable),
        };
        let mut values = Vec::new();
        if texts.is_empty() && self.layers.get(setting).is_some() {
            self.problems.push(Problem::new(origin.place(setting), None, "the list is empty; write at least one item"));
        }
        for text in texts {
            match judged(&text, "an item of the list is empty", &parse) {
                Ok(value) => {
                    // `Job:"web"` has quotes around its key alone.
                    if is_quoted(&text) || text.split_once(':').is_some_and(|(_, rest)| is_quoted(rest.trim())) {
                        self.warn(Warning::Quoted { place: origin.place(setting) });
                    }
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                Err(what) => {
                    let shown = shown(setting, &text);
                    self.problems.push(Problem::new(origin.place(setting), shown.as_deref(), what));
                }
            }
        }
        values
    }

    /// Notes a warning, once.
    pub(crate) fn warn(&mut self, warning: Warning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Notes that a required value was not given. If a file could not be read, that is the problem: the value may stand in it.
    pub(crate) fn missing(&mut self, setting: &Setting, what: impl Into<String>) {
        if self.layers.is_incomplete() {
            return;
        }
        self.problems.push(Problem::new(Origin::Variable.place(setting), None, what));
    }

    /// Notes which of these settings were not given, each with what it is needed for.
    pub(crate) fn require(&mut self, needed: &[(&Setting, &str)]) {
        for (setting, what) in needed {
            if self.text(setting).is_none() {
                self.missing(setting, *what);
            }
        }
    }

    /// Notes a problem with a value that is well formed by itself.
    pub(crate) fn wrong(&mut self, setting: &Setting, what: impl Into<String>) {
        let given = self.layers.get(setting);
        let place = given.map_or(Origin::Variable.place(setting), |given| given.origin.place(setting));
        self.problems.push(Problem::new(place, None, what));
    }
}

/// The parsed text, or what is wrong with it.
fn judged<T, E: Display>(text: &str, empty: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, String> {
    if text.is_empty() {
        return Err(empty.to_owned());
    }
    parse(text).map_err(|error| {
        let quotes = if is_quoted(text) { "; write the value without the quotes around it" } else { "" };
        format!("{error}{quotes}")
    })
}

/// Quotes that a shell would have removed. A file of variables or the `env` block of a job keeps them.
fn is_quoted(text: &str) -> bool {
    ['"', '\''].iter().any(|quote| text.len() > 1 && text.starts_with(*quote) && text.ends_with(*quote))
}

/// There is no value, and a problem says why.
#[derive(Debug)]
pub struct Broken;

/// A parser of a value between two bounds.
pub(crate) fn between<T: FromStr + PartialOrd + Display>(least: T, most: T) -> impl Fn(&str) -> Result<T, String>
where
    T::Err: Display,
{
    move |text| {
        let value = text.parse::<T>().map_err(text_of)?;
        if value < least || value > most {
            return Err(format!("out of bounds; write a size from {least} to {most}"));
        }
        Ok(value)
    }
}

/// A parser of a whole number between two bounds.
pub(crate) fn number<T: FromStr + PartialOrd + Display>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let number = text.parse().ok().filter(|number| (&least..=&most).contains(&number));
        number.ok_or_else(|| format!("write a whole number from {least} to {most}"))
    }
}

fn text_of(error: impl Display) -> String {
    error.to_string()
}

/// The value as it may be printed: no secret, and no password of an address.
fn shown<'a>(setting: &Setting, text: &'a str) -> Option<Cow<'a, str>> {
    if setting.secret || text.is_empty() {
        return None;
    }
    let (head, rest) = text.split_once("//").map_or(("", text), |(scheme, rest)| (&text[..scheme.len() + 2], rest));
    Some(match rest.rsplit_once('@') {
        Some((_, host)) if !head.is_empty() || rest.contains(':') => Cow::Owned(format!("{head}…@{host}")),
        _ => Cow::Borrowed(text),
    })
}
