//! Compiles a program, and says what is wrong with it in plain words.
//!
//! A program sees one record and the variables of [`GLOBALS`]. It has no environment, no files, no network, no further
//! inputs, and it cannot write to the log or end the process: what could is left out of the language here, so that its use
//! is an error before anything runs.

mod fault;
mod offered;
mod reads;
#[cfg(test)]
mod tests;

use std::{io, thread};

use jaq_core::{
    Compiler, Filter,
    compile::Undefined,
    data::JustLut,
    load::{self, Arena, File, Loader},
    native::Fun,
};
use jaq_json::Val;

pub use self::fault::Fault;
pub(super) use self::reads::keys;
use super::Mentions;

/// The values that a program computes with, and what it is compiled for.
pub(super) type Data = JustLut<Val>;

/// The variables that a program can use, in the order of their values.
pub(super) const GLOBALS: [&str; 4] = ["$meta", "$diff", "$node", "$job"];

/// The most bytes of a program. The parser recurses, and this bounds how deep.
const LONGEST: usize = 16 << 10;

/// The stack of the thread that compiles in the parent. Memory is only taken for what is used of it.
const STACK: usize = 256 << 20;

/// How many brackets can be open at a time.
const DEEPEST: usize = 256;

/// Which of the variables a program uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Those that have to be read from Nomad.
    pub mentions: Mentions,
    /// `$meta`.
    pub meta: bool,
}

impl Uses {
    /// What one of two programs uses.
    #[must_use]
    pub fn or(self, other: Uses) -> Uses {
        let (a, b) = (self.mentions, other.mentions);
        let mentions = Mentions { diff: a.diff || b.diff, node: a.node || b.node, job: a.job || b.job };
        Uses { mentions, meta: self.meta || other.meta }
    }
}

/// Checks the program, and returns which variables it uses.
///
/// # Errors
/// It is no program, or it uses what programs do not have.
pub fn check(code: &str) -> Result<Uses, Fault> {
    let uses = || {
        compile(code)?;
        uses(code)
    };
    let unchecked = |error: io::Error| Fault::whole(format!("the program cannot be checked: {error}"));
    thread::scope(|scope| {
        let checking = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, uses).map_err(unchecked)?;
        checking.join().unwrap_or_else(|_| Err(Fault::whole("the program cannot be read".to_owned())))
    })
}

/// Compiles the program. Needs a large stack: the parser recurses.
pub(super) fn compile(code: &str) -> Result<Filter<Data>, Fault> {
    bounded(code)?;
    compile_with(code, &GLOBALS).map_err(|refused| refused.fault)
}

/// Without the variables, the compiler misses exactly those that the program uses.
fn uses(code: &str) -> Result<Uses, Fault> {
    let missing = match compile_with(code, &[]) {
        Ok(_) => Vec::new(),
        Err(Refused { missing, .. }) => missing,
    };
    let [meta, diff, node, job] = GLOBALS.map(|global| missing.iter().any(|name| name == global));
    Ok(Uses { mentions: Mentions { diff, node, job }, meta })
}

fn bounded(code: &str) -> Result<(), Fault> {
    if code.len() > LONGEST {
        return Err(Fault::whole(format!("the program has {} bytes; write at most {LONGEST}", code.len())));
    }
    let mut open = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > DEEPEST {
            return Err(Fault::at(code, at, format!("more than {DEEPEST} brackets are open here")));
        }
    }
    Ok(())
}

/// Why there is no program.
struct Refused {
    fault: Fault,
    /// The variables that are not defined.
    missing: Vec<String>,
}

fn compile_with(code: &str, globals: &[&'static str]) -> Result<Filter<Data>, Refused> {
    let refused = |fault| Refused { fault, missing: Vec::new() };
    let arena = Arena::default();
    let loaded = Loader::new(offered::definitions()).load(&arena, File { code, path: () });
    let modules = loaded.map_err(|errors| refused(fault::of_load(code, errors.into_iter().map(|(_, error)| error))))?;
    load::import(&modules, |_| Err(String::new()))
        .map_err(|errors| refused(fault::of_load(code, errors.into_iter().map(|(_, error)| error))))?;
    let compiler = Compiler::default().with_funs(functions()).with_global_vars(globals.iter().copied());
    compiler.compile(modules).map_err(|errors| {
        let undefined: Vec<_> = errors.into_iter().flat_map(|(_, errors)| errors).collect();
        let variables = undefined.iter().filter(|(_, kind)| matches!(kind, Undefined::Var));
        Refused {
            missing: variables.map(|(name, _)| (*name).to_owned()).collect(),
            fault: fault::of_names(code, undefined),
        }
    })
}

/// The native functions that programs have.
fn functions() -> impl Iterator<Item = Fun<Data>> {
    all_functions().filter(|(name, arguments, _)| offered::is_offered(name, arguments.len()))
}

fn all_functions() -> impl Iterator<Item = Fun<Data>> {
    jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs())
}
