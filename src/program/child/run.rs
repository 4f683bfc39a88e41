//! What becomes of one record.

use std::collections::BTreeSet;

use jaq_core::{Ctx, Filter, Vars};
use jaq_json::{Map, Rc, Val, read};

use super::{
    super::{
        compile::{self, Data},
        frame::{self, Answer, OUTPUT, OUTPUTS, Question, Setup},
        json,
        redaction::{self, Path},
    },
    reason,
};
use crate::json::Scanner;

/// How much memory is kept for the next record.
const KEPT: usize = 1 << 20;

/// The programs, ready to run.
pub(super) struct Runner {
    jq: Option<Source>,
    by: Option<Source>,
    redact: Vec<Path>,
    /// The only keys of a record that the programs read; `None` where they can read all.
    keys: Option<BTreeSet<String>>,
    /// The outputs of the record at hand.
    outputs: Vec<u8>,
}

/// A program and its text.
struct Source {
    filter: Filter<Data>,
    code: String,
}

impl Source {
    fn new(code: &str) -> Result<Self, String> {
        let filter = compile::compile(code).map_err(|fault| fault.to_string())?;
        Ok(Source { filter, code: code.to_owned() })
    }

    /// The outputs, as far as `each` wants them.
    fn run(
        &self,
        globals: &[Val; 4],
        input: Val,
        mut each: impl FnMut(Val) -> Result<bool, String>,
    ) -> Result<(), String> {
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new(globals.clone()));
        for output in self.filter.id.run((context, input)) {
            let output = output.map_err(|exception| match exception.get_err() {
                Ok(error) => reason::of(error, &self.code),
                Err(_) => "the program ended itself".to_owned(),
            })?;
            if !each(output)? {
                break;
            }
        }
        Ok(())
    }
}

impl Runner {
    pub(super) fn new(setup: &Setup) -> Result<Self, String> {
        let compiled = |code: &Option<String>| code.as_deref().map(Source::new).transpose();
        let redact: Result<Vec<_>, _> = setup.redact.iter().map(|path| path.parse()).collect();
        let (jq, by) = (compiled(&setup.jq)?, compiled(&setup.by)?);
        Ok(Runner {
            jq,
            by,
            // A value to replace can be anywhere.
            keys: if setup.redact.is_empty() { keys(setup) } else { None },
            redact: redact.map_err(|malformed: redaction::Malformed| malformed.to_string())?,
            outputs: Vec::new(),
        })
    }

    /// The record, or as much of it as the programs read.
    fn input(&self, body: &[u8]) -> Result<Val, String> {
        match self.keys.as_ref().and_then(|keys| part(keys, body)) {
            Some(input) => Ok(input),
            None => parsed(body, "the record"),
        }
    }

    /// Appends the answer for a record to `out`.
    pub(super) fn answer(&mut self, question: &Question<'_>, out: &mut Vec<u8>) {
        self.outputs.clear();
        self.outputs.shrink_to(KEPT);
        match self.outcome(question) {
            Ok(Outcome::Same { group }) => frame::put_answer(out, &Answer::Same { group }),
            Ok(Outcome::Outputs { group }) => frame::put_outputs(out, group.as_deref(), &self.outputs),
            Err(reason) => frame::put_answer(out, &Answer::Failed(reason)),
        }
    }

    fn outcome(&mut self, question: &Question<'_>) -> Result<Outcome, String> {
        let mut input = self.input(question.body)?;
        let is_redacted = redaction::apply(&self.redact, &mut input);
        let mut globals = [Val::Null, Val::Null, Val::Null, Val::Null];
        for (number, (value, text)) in globals.iter_mut().zip(question.globals).enumerate() {
            let Some(text) = text else { continue };
            *value = parsed(text, compile::GLOBALS[number])?;
            redaction::apply(&self.redact, value);
            if compile::GLOBALS[number] == "$diff" {
                redaction::diff::apply(&self.redact, value);
            }
        }
        let mut count = 0;
        let mut is_same = self.jq.is_none() && !is_redacted;
        match &self.jq {
            None if is_redacted => write(&input, &mut self.outputs)?,
            None => {}
            Some(jq) => {
                // While the input is held, a program that changes it works on a copy. So what shares its place is unchanged.
                let outputs = &mut self.outputs;
                jq.run(&globals, input.clone(), |output| {
                    count += 1;
                    if count > OUTPUTS {
                        return Err(format!("the program has more than {OUTPUTS} outputs"));
                    }
                    let is_unchanged = !is_redacted && is_unchanged(&input, &output);
                    if count == 1 && is_unchanged {
                        is_same = true;
                        return Ok(true);
                    }
                    if std::mem::take(&mut is_same) {
                        copy(question.body, outputs)?;
                    }
                    if is_unchanged {
                        copy(question.body, outputs)?
                    } else {
                        write(&output, outputs)?
                    }
                    Ok(true)
                })?;
            }
        }
        let is_dropped = !is_same && self.outputs.is_empty();
        let group = match &self.by {
            Some(by) if !is_dropped => group(by, &globals, input)?,
            _ => None,
        };
        Ok(if is_same { Outcome::Same { group } } else { Outcome::Outputs { group } })
    }
}

enum Outcome {
    Same { group: Option<String> },
    Outputs { group: Option<String> },
}

/// The keys that any of the programs reads.
fn keys(setup: &Setup) -> Option<BTreeSet<String>> {
    let of_jq = setup.jq.as_deref().map_or(Some(BTreeSet::new()), |code| compile::keys(code, true))?;
    let of_by = setup.by.as_deref().map_or(Some(BTreeSet::new()), |code| compile::keys(code, false))?;
    Some(of_jq.into_iter().chain(of_by).collect())
}

/// The record with these keys alone; `None` where it has to be parsed as a whole.
fn part(keys: &BTreeSet<String>, body: &[u8]) -> Option<Val> {
    let mut scanner = Scanner::new(std::str::from_utf8(body).ok()?);
    let mut part = Map::default();
    scanner.object().ok()?;
    while let Some(name) = scanner.name().ok()? {
        let value = scanner.skip().ok()?;
        if name.contains('\\') {
            return None;
        }
        if keys.contains(name) {
            part.insert(Val::from(name.to_owned()), read::parse_single(value.as_bytes()).ok()?);
        }
    }
    scanner.end_of_text().ok()?;
    Some(Val::obj(part))
}

fn parsed(text: &[u8], what: &str) -> Result<Val, String> {
    read::parse_single(text).map_err(|error| format!("{what} is no JSON: {error}"))
}

fn is_unchanged(input: &Val, output: &Val) -> bool {
    match (input, output) {
        (Val::Obj(a), Val::Obj(b)) => Rc::ptr_eq(a, b),
        _ => false,
    }
}

fn copy(body: &[u8], outputs: &mut Vec<u8>) -> Result<(), String> {
    if outputs.len() + body.len() > OUTPUT {
        return Err(json::Unwritable::TooLarge.to_string());
    }
    let copied: Result<(), ()> = frame::put_output(outputs, |out| {
        out.extend_from_slice(body);
        Ok(())
    });
    copied.map_err(|()| String::new())
}

fn write(value: &Val, outputs: &mut Vec<u8>) -> Result<(), String> {
    frame::put_output(outputs, |out| json::write(value, out, OUTPUT)).map_err(|unwritable| unwritable.to_string())
}

/// The first output as text; `None` where there is none.
fn group(by: &Source, globals: &[Val; 4], input: Val) -> Result<Option<String>, String> {
    let mut group = None;
    by.run(globals, input, |output| {
        let mut text = Vec::new();
        match output {
            Val::TStr(output) => text.extend_from_slice(&output),
            output => json::write(&output, &mut text, OUTPUT).map_err(|unwritable| unwritable.to_string())?,
        }
        group = Some(String::from_utf8_lossy(&text).into_owned());
        Ok(false)
    })
    .map_err(|reason| format!("{reason} (in the program that gives the group)"))?;
    Ok(group)
}

#[cfg(test)]
mod tests;
