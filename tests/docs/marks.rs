//! What a page says about its commands, in comments that readers do not see. Each stands before the block that it is about:
//!
//! | Comment | Meaning |
//! |---|---|
//! | `<!-- run -->` | run the block with bash; it has to succeed |
//! | `<!-- run until TEXT -->` | run it until a line has this text, then stop it |
//! | `<!-- run until 3 lines -->` | run it until it has printed so many lines, then stop it |
//! | `<!-- prints -->` | the block is what the one before it printed; `…` stands for any text, and a line of it for any lines |
//! | `<!-- file NAME -->` | the block is a file that later ones use |
//! | `<!-- skip REASON -->` | the block cannot be run |
//! | `<!-- test COMMANDS -->` | run these, which readers do not see: what a reader has to do by hand, or a check |
//! | `<!-- needs sim consul rabbitmq jq python3:pika -->` | what everything from here to the next such comment needs |
//!
//! The blocks of a page share a directory and exported variables. A block of the language `console` has commands after `$ `, and what they print.

use super::pages::{Kind, Page, Part};

/// Something to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Needs(Vec<String>),
    File { name: String, text: String },
    Run { script: String, until: Option<Until> },
    Prints(String),
    Skip(String),
}

/// When a command is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Text(String),
    Lines(usize),
}

/// The steps of a page, with the number of their line.
pub(crate) fn steps(page: &Page) -> Vec<(usize, Step)> {
    let mut steps = Vec::new();
    let mut mark: Option<&Part> = None;
    for part in &page.parts {
        match &part.kind {
            Kind::Comment => match part.text.split_once(char::is_whitespace).unwrap_or((&part.text, "")) {
                ("needs", rest) => {
                    steps.push((part.line, Step::Needs(rest.split_whitespace().map(str::to_owned).collect())))
                }
                ("test", script) => steps.push((part.line, Step::Run { script: script.to_owned(), until: None })),
                _ => mark = Some(part),
            },
            Kind::Text if part.text.trim().is_empty() => {}
            Kind::Text => mark = None,
            Kind::Block(language) => {
                if let Some(mark) = mark.take() {
                    let (verb, rest) = mark.text.split_once(char::is_whitespace).unwrap_or((&mark.text, ""));
                    let made = of_block(verb, rest, language, &part.text);
                    steps.extend(made.into_iter().map(|step| (part.line, step)));
                }
            }
        }
    }
    steps
}

fn of_block(verb: &str, rest: &str, language: &str, text: &str) -> Vec<Step> {
    let text = text.to_owned();
    match verb {
        "run" if language == "console" => console(&text),
        "run" => vec![Step::Run { script: text, until: until(rest) }],
        "prints" => vec![Step::Prints(text)],
        "file" => vec![Step::File { name: rest.to_owned(), text }],
        "skip" => vec![Step::Skip(rest.to_owned())],
        _ => Vec::new(),
    }
}

fn until(rest: &str) -> Option<Until> {
    let what = rest.strip_prefix("until ")?;
    let lines = what.strip_suffix(" lines").and_then(|number| number.parse().ok());
    Some(lines.map_or_else(|| Until::Text(what.to_owned()), Until::Lines))
}

/// The commands of a dialogue, each with what it prints.
fn console(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step::Run { script: format!("{command}\n"), until: None }),
            (None, Some(Step::Prints(printed))) => *printed = format!("{printed}{line}\n"),
            (None, _) => steps.push(Step::Prints(format!("{line}\n"))),
        }
    }
    steps
}

/// Commands that no comment says anything about.
pub(crate) fn unmarked(page: &Page) -> Vec<String> {
    let mut problems = Vec::new();
    let mut is_marked = false;
    for part in &page.parts {
        match &part.kind {
            Kind::Comment => {
                is_marked = ["run", "skip", "file", "prints"].iter().any(|verb| part.text.starts_with(verb))
            }
            Kind::Text if part.text.trim().is_empty() => {}
            Kind::Text => is_marked = false,
            Kind::Block(language) => {
                if !is_marked && matches!(&**language, "sh" | "bash" | "shell" | "console") {
                    let at = format!("{}:{}", page.path.display(), part.line);
                    problems.push(format!(
                        "{at}: put <!-- run --> or <!-- skip REASON --> before it (tests/docs/marks.rs)"
                    ));
                }
                is_marked = false;
            }
        }
    }
    problems
}

/// Whether this was printed: `…` stands for any text, and a line of it for any lines.
pub(crate) fn is_as_expected(expected: &[&str], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((&"…", rest)) => (0..=printed.len()).any(|skipped| is_as_expected(rest, &printed[skipped..])),
        Some((line, rest)) => {
            printed.split_first().is_some_and(|(first, others)| fits(line, first) && is_as_expected(rest, others))
        }
    }
}

fn fits(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else { return pattern.trim_end() == line.trim_end() };
    let Some(line) = line.strip_prefix(start) else { return false };
    line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| fits(rest, &line[at..]))
}

#[test]
fn marks_make_steps() {
    let text = "<!-- needs sim jq -->\n<!-- run until 3 lines -->\n```sh\na\n```\n<!-- prints -->\n```text\n…\n```\n\
                <!-- run -->\n```console\n$ b\nc\nd\n```\n<!-- test\ne\n-->\n<!-- skip no -->\n\n```sh\nf\n```\n```sh\ng\n```\n";
    let page = Page { path: "x.md".into(), parts: super::pages::parts(text) };
    let run = |script: &str, until| Step::Run { script: script.to_owned(), until };
    let expected = vec![
        Step::Needs(vec!["sim".to_owned(), "jq".to_owned()]),
        run("a\n", Some(Until::Lines(3))),
        Step::Prints("…\n".to_owned()),
        run("b\n", None),
        Step::Prints("c\nd\n".to_owned()),
        run("e", None),
        Step::Skip("no".to_owned()),
    ];
    assert_eq!(steps(&page).into_iter().map(|(_, step)| step).collect::<Vec<_>>(), expected);
    assert_eq!(unmarked(&page).len(), 1);
}

#[test]
fn an_ellipsis_stands_for_anything() {
    assert!(is_as_expected(&["a…c", "…", "z"], &["abc", "x", "y", "z"]));
    assert!(is_as_expected(&["…"], &[]));
    assert!(!is_as_expected(&["a…c"], &["abd"]));
    assert!(!is_as_expected(&["a"], &["a", "b"]));
}
