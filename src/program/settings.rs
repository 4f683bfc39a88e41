//! The settings of the stage.

use std::sync::Arc;

use super::{Config, Path, Patience, Uses, check};
use crate::{
    settings::{Broken, ByteSize, Form, Reader, Setting, between, settings},
    sys,
};

const HEADING: &str = "Program";

/// The least memory in which the process that runs jq starts and has room for one large record.
const LEAST_MEMORY: ByteSize = ByteSize::new(64 << 20);

/// The most memory.
const MOST_MEMORY: ByteSize = ByteSize::new(1 << 40);

settings! {
    pub SETTINGS:
    JQ = Setting::new(
        HEADING,
        "jq",
        "NOMAD_FIREHOSE_JQ",
        "PROGRAM",
        "jq program that filters and transforms each record: no output drops it, one replaces its body, several become \
         several records. Variables: $meta, $diff, $node, $job",
    );
    REDACT = Setting::new(
        HEADING,
        "redact",
        "NOMAD_FIREHOSE_REDACT",
        "PATHS",
        "Values to replace by \"[redacted]\" in each record, before the program sees it: ..Env (at any depth), \
         .Meta.password (from the root), ..*Secret* (any name with Secret in it)",
    )
    .form(Form::List);
    JQ_MEMORY = Setting::new(
        HEADING,
        "jq-memory",
        "NOMAD_FIREHOSE_JQ_MEMORY",
        "SIZE",
        "Most memory of the process that runs the program (64MiB or more)",
    )
    .default("512MiB");
    BY = Setting::new(
        HEADING,
        "by",
        "NOMAD_FIREHOSE_BY",
        "PROGRAM",
        "jq program that gives what counting and digests gather records by, such as .JobID. It sees the record as it was \
         before the other program",
    );
}

/// Reads the settings; `None` if there is nothing to do for the stage.
///
/// # Errors
/// A setting is wrong; the reader has the problem.
pub fn read(reader: &mut Reader<'_>) -> Result<Option<Config>, Broken> {
    let jq = program(reader, &JQ);
    let by = program(reader, &BY);
    let redact: Vec<Path> = reader.list(&REDACT, str::parse);
    let memory = reader.value(&JQ_MEMORY, between(LEAST_MEMORY, MOST_MEMORY));
    let (jq, by, memory) = (jq?, by?, memory?);
    if jq.is_none() && by.is_none() && redact.is_empty() {
        return Ok(None);
    }
    let uses = [&jq, &by].into_iter().flatten().fold(Uses::default(), |all, (_, uses)| all.or(*uses));
    Ok(Some(Config {
        jq: jq.map(|(code, _)| code),
        by: by.map(|(code, _)| code),
        redact,
        memory,
        uses,
        worker: sys::process::this_program(),
        patience: Patience::default(),
    }))
}

/// A program and what it uses. The program itself is not part of the problem: it can hold secrets.
fn program(reader: &mut Reader<'_>, setting: &Setting) -> Result<Option<(Arc<str>, Uses)>, Broken> {
    let Some(code) = reader.text(setting).map(str::to_owned) else { return Ok(None) };
    if code.trim().is_empty() {
        reader.wrong(
            setting,
            "the program is empty; write one such as select(.ClientStatus == \"failed\"), or leave it out",
        );
        return Err(Broken);
    }
    match check(&code) {
        Ok(uses) => Ok(Some((code.into(), uses))),
        Err(fault) => {
            reader.wrong(setting, fault.to_string());
            Err(Broken)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing;

    fn read_from(variables: &[(&str, &str)]) -> Result<Option<Config>, Vec<String>> {
        testing::read(SETTINGS, variables, read).map(|(config, _)| config)
    }

    #[test]
    fn without_a_program_there_is_no_stage() {
        assert!(read_from(&[]).expect("valid").is_none());
        assert!(read_from(&[("NOMAD_FIREHOSE_JQ_MEMORY", "64MiB")]).expect("valid").is_none());
    }

    #[test]
    fn each_of_the_three_makes_one() {
        for (name, value) in
            [("NOMAD_FIREHOSE_JQ", "."), ("NOMAD_FIREHOSE_BY", ".JobID"), ("NOMAD_FIREHOSE_REDACT", "..Env")]
        {
            let config = read_from(&[(name, value)]).expect("valid").expect("a stage");
            assert_eq!(config.memory, ByteSize::new(512 << 20), "{name}");
        }
    }

    #[test]
    fn what_the_programs_use_is_known() {
        let variables = [("NOMAD_FIREHOSE_JQ", "select($diff.image)"), ("NOMAD_FIREHOSE_BY", "$node.Name")];
        let config = read_from(&variables).expect("valid").expect("a stage");
        let mentions = config.mentions();
        assert!(mentions.diff && mentions.node && !mentions.job && !config.uses.meta);
    }

    #[test]
    fn a_problem_names_the_setting_and_the_place_and_not_the_program() {
        let token = "xoxb-1234";
        let code = format!("{{token: \"{token}\"}}\n| selekt(.a)");
        let problems = read_from(&[("NOMAD_FIREHOSE_JQ", &code)]).expect_err("no such function");
        let expected =
            "NOMAD_FIREHOSE_JQ (--jq): line 2, column 3: no function `selekt` with 1 argument; did you mean select?";
        assert_eq!(problems, [expected]);
    }

    #[test]
    fn all_problems_are_noted() {
        let variables = [
            ("NOMAD_FIREHOSE_JQ", " "),
            ("NOMAD_FIREHOSE_BY", ".["),
            ("NOMAD_FIREHOSE_REDACT", "Env"),
            ("NOMAD_FIREHOSE_JQ_MEMORY", "1MiB"),
        ];
        let problems = read_from(&variables).expect_err("four problems");
        assert_eq!(problems.len(), 4, "{problems:?}");
    }

    #[test]
    fn nothing_of_a_program_is_in_its_debug_text() {
        let config = read_from(&[("NOMAD_FIREHOSE_JQ", "{token: \"hunter2\"}")]).expect("valid").expect("a stage");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
