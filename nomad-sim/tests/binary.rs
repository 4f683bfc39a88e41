//! The program itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use support::{Stream, get, recorded_lines, recording};

#[tokio::test]
async fn it_serves_a_preloaded_recording_and_stops_on_sigterm() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nomad-sim"))
        .args(["--listen", "127.0.0.1:0", "--buffer", "1000", "--preload", "--recording"])
        .arg(recording())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let addr = first.trim().strip_prefix("server 0: http://").unwrap().parse().unwrap();
    let expected = recorded_lines("stream-complete.ndjson");
    let mut stream = Stream::subscribe(addr, "namespace=*&index=1").await;
    assert_eq!(stream.take(expected.len()).await, expected);
    let namespaces = get(addr, "/v1/namespaces").await.json();
    let late = namespaces.as_array().unwrap().iter().find(|ns| ns["Name"] == "late").unwrap();
    assert_eq!(late["CreateIndex"], 13);
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_wrong_call_is_told_and_changes_nothing() {
    for (args, message) in [
        (&["--speed", "fast"][..], "--speed"),
        (&["--lock-speed", "0"][..], "--lock-speed"),
        (&["--allocations", "5", "--preload"][..], "no end"),
        (&["--recording", "/nonexistent"][..], "recording"),
        (&["--namespace", "x", "--recording", "any"][..], "NAME=INDEX"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_nomad-sim"))
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(message), "{text}");
    }
}
