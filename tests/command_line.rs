//! What a person meets first: short helps, suggestions, completions in a real shell, and manual pages.

mod common;

use std::{fs, process::Command};

use common::Setup;

/// What the program prints with these arguments, which are right.
fn printed(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = Setup::bare(arguments).output();
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    stdout
}

/// The words that bash offers for the last of these.
fn offered(words: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("completions");
    fs::write(&script, printed(&["completions", "bash"])).expect("writable");
    let complete = format!(
        r#"source {}
        named=$(complete -p nomad-firehose); named=${{named##*-F }}
        COMP_WORDS=({}) COMP_CWORD={} COMPREPLY=()
        "${{named%% *}}" nomad-firehose "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\n' "${{COMPREPLY[@]}}""#,
        script.display(),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1
    );
    let output = Command::new("bash").args(["--norc", "-euc", &complete]).output().expect("bash is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_flags_and_values() {
    assert_eq!(offered(&["nomad-firehose", "allo"]), ["allocations"]);
    assert_eq!(offered(&["nomad-firehose", "st"]), ["state"]);
    assert_eq!(offered(&["nomad-firehose", "run", "--resou"]), ["--resources"]);
    assert_eq!(offered(&["nomad-firehose", "events", "--nomad-events-sink-c"]), ["--nomad-events-sink-config"]);
    assert_eq!(offered(&["nomad-firehose", "completions", "z"]), ["zsh"]);
    assert_eq!(offered(&["nomad-firehose", "state", "re"]), ["reset"]);
}

#[test]
fn the_scripts_of_the_other_shells_name_every_subcommand() {
    for shell in ["zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for name in ["allocations", "run", "state", "check", "dead-letters", "nomad-events-sink-config"] {
            assert!(script.contains(name), "{shell} lacks {name}");
        }
    }
}

#[test]
fn the_short_help_fits_a_screen() {
    for name in ["allocations", "events", "run"] {
        let help = printed(&[name, "-h"]);
        assert!((24..=40).contains(&help.lines().count()), "{name}: {} lines\n{help}", help.lines().count());
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        assert!(help.contains("--nomad-addr") && !help.contains("--nomad-capath"), "{help}");
        assert!(printed(&[name, "--help"]).contains("--nomad-capath"));
    }
    let overview = printed(&["-h"]);
    assert!(overview.lines().count() <= 40, "{overview}");
    for name in ["allocations", "run", "check", "completions", "man"] {
        assert!(overview.contains(name), "{overview}");
    }
}

#[test]
fn a_misspelt_word_gets_the_nearest_one() {
    for (arguments, nearest) in [
        (&["alocations"][..], "'allocations'"),
        (&["jobs", "--nomad-adr", "x"], "'--nomad-addr'"),
        (&["dead-leters"], "'dead-letters'"),
        (&["completions", "bsh"], "'bash'"),
    ] {
        let (code, _, stderr) = Setup::bare(arguments).output();
        assert_eq!(code, Some(2));
        assert!(stderr.contains("similar") && stderr.contains(nearest), "{stderr}");
    }
}

#[test]
fn each_subcommand_has_a_manual_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let pages = directory.path().join("man/man1");
    printed(&["man", pages.to_str().expect("UTF-8")]);
    let overview = printed(&["--help"]);
    let names = overview.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<_> = names
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(names.len() > 12, "{names:?}");
    for name in names.iter().map(|name| format!("nomad-firehose-{name}")).chain(["nomad-firehose".to_owned()]) {
        let page =
            fs::read_to_string(pages.join(format!("{name}.1"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".TH") && page.contains(".SH NAME"), "{name}: {page}");
    }
    assert!(fs::read_to_string(pages.join("nomad-firehose-state-reset.1")).is_ok());
    assert_eq!(printed(&["man"]), fs::read_to_string(pages.join("nomad-firehose.1")).expect("the page"));
    let (code, _, stderr) = Setup::bare(&["man", "/dev/null/man"]).output();
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cannot write manual pages to /dev/null/man"), "{stderr}");
}
