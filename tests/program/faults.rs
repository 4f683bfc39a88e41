//! Programs that end their process, and processes that end without one.

use std::time::Duration;

use nomad_firehose::settings::ByteSize;
use proptest::{prelude::*, test_runner::TestRunner};
use rustix::process::Signal;

use crate::support::{Bench, signal, until, workers};

/// The record in the middle becomes a dead letter for `reason`; all others pass.
async fn one_is_to_blame(fatal: &str, reason: &str) {
    one_is_to_blame_within(128, fatal, reason).await;
}

/// The same, with so many MiB. The text of the program counts, and that of a debug build is tens of MiB.
async fn one_is_to_blame_within(memory: u64, fatal: &str, reason: &str) {
    let mut bench = Bench::with(|config| {
        config.jq = Some(format!("def bad: {fatal}; if .bad then bad else .n end").into());
        config.memory = ByteSize::new(memory << 20);
    });
    let body = |n: u32| if n == 20 { "{\"bad\":\"aaaaaaaaaaaa\"}".to_owned() } else { format!("{{\"n\":{n}}}") };
    bench.submit((1..=40).map(body)).await;
    let arrived: Vec<_> = bench.drained().await.into_iter().map(|(_, body)| body).collect();
    let expected: Vec<_> = (1..=40).filter(|n| *n != 20).map(|n| n.to_string()).collect();
    assert_eq!(arrived, expected, "{fatal}");
    let letters = bench.letters();
    assert_eq!(letters.len(), 1, "{fatal}: {letters:?}");
    assert!(letters[0].0 == "a/20" && letters[0].1.contains(reason), "{fatal}: {letters:?}");
    assert_eq!(bench.acknowledged(), 40, "{fatal}");
}

#[tokio::test]
async fn an_endless_program_is_ended() {
    one_is_to_blame("def f: f; f", "ran longer than 500ms").await;
}

#[tokio::test]
async fn an_endless_recursion_is_told_by_its_name() {
    one_is_to_blame("def f: 1+f; f", "overflowed its stack").await;
}

#[tokio::test]
async fn a_program_has_a_bound_on_its_memory() {
    for fatal in ["\"x\" * 1073741824", "[limit(3e6; repeat(\"abc\"))] | length"] {
        one_is_to_blame(fatal, "more memory than 128MiB").await;
    }
}

#[tokio::test]
async fn an_array_without_end_meets_one_of_the_two_bounds() {
    one_is_to_blame("[range(1e9)]", "the program ").await;
}

#[tokio::test]
async fn outputs_have_a_bound() {
    one_is_to_blame("range(1e9)", "more than 10000 outputs").await;
    one_is_to_blame_within(256, "\"x\" * 17000000", "larger than 16MiB").await;
    one_is_to_blame_within(256, "range(20) | \"x\" * 1000000", "larger than 16MiB").await;
    one_is_to_blame("reduce range(2000) as $i (0; [.])", "more than 1000 levels").await;
}

#[tokio::test]
async fn a_regular_expression_that_explodes_has_a_bound() {
    one_is_to_blame(".bad | test(\"(a{1000}){1000}\")", "invalid regex").await;
    // Its engine takes linear time, so that this is no trouble.
    let mut bench = Bench::of(".text | test(\"(a+)+$\")");
    bench.submit([format!("{{\"text\":\"{}b\"}}", "a".repeat(2000))]).await;
    assert_eq!(bench.drained().await[0].1, "false");
    assert!(bench.letters().is_empty());
}

#[tokio::test]
async fn a_worker_that_somebody_kills_costs_no_record() {
    const MEMORY: u64 = (256 << 20) + 4096;
    let mut bench = Bench::with(|config| {
        config.jq = Some("(reduce range(300) as $i (0; . + $i)) as $x | {n}".into());
        config.memory = ByteSize::new(MEMORY);
    });
    let killer = tokio::spawn(async {
        for _ in 0..3 {
            until("a worker", || !workers(MEMORY).is_empty()).await;
            workers(MEMORY).into_iter().for_each(|id| signal(id, Signal::KILL));
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    });
    let expected: Vec<_> = (1..=3000).map(|n| (format!("a/{n}"), format!("{{\"n\":{n}}}"))).collect();
    for chunk in expected.chunks(500) {
        bench.submit(chunk.iter().map(|(_, body)| body.clone())).await;
    }
    assert_eq!(bench.drained().await, expected);
    killer.await.expect("no panic");
    assert_eq!(bench.acknowledged(), 3000);
    assert!(bench.letters().is_empty());
}

#[tokio::test]
async fn a_worker_that_is_paused_blames_no_record() {
    const MEMORY: u64 = (256 << 20) + 8192;
    let mut bench = Bench::with(|config| {
        config.memory = ByteSize::new(MEMORY);
        config.patience.waiting = Duration::from_secs(1);
    });
    bench.submit(["{\"n\":1}"]).await;
    assert_eq!(bench.next().await.expect("a record")[0].0, "a/1");
    for id in 2..=3 {
        let worker = workers(MEMORY)[0];
        signal(worker, Signal::STOP);
        let stat = || std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
        until("it stands still", || stat().contains(") T ")).await;
        bench.submit(["{}"]).await;
        assert_eq!(bench.next().await.expect("a record")[0].0, format!("a/{id}"));
        until("the paused worker is gone", || !workers(MEMORY).contains(&worker)).await;
    }
    assert!(bench.letters().is_empty());
}

#[tokio::test]
async fn the_worker_ends_with_the_stage() {
    const MEMORY: u64 = (256 << 20) + 12288;
    let with_memory = || {
        Bench::with(|config| {
            config.jq = Some("def f: f; if .endless then f else . end".into());
            config.memory = ByteSize::new(MEMORY);
            config.patience.busy = Duration::from_secs(50);
        })
    };
    let mut bench = with_memory();
    bench.submit(["{}"]).await;
    bench.drained().await;
    assert_eq!(workers(MEMORY).len(), 1);
    bench.handle = None;
    until("it ends with its last handle", || workers(MEMORY).is_empty()).await;

    let mut bench = with_memory();
    bench.submit(["{\"endless\":true}"]).await;
    until("a worker", || !workers(MEMORY).is_empty()).await;
    bench.close_behind();
    until("it ends with the delivery", || workers(MEMORY).is_empty()).await;
    assert_eq!(bench.acknowledged(), 0);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Pass,
    Drop,
    Split,
    Error,
    Endless,
    Overflow,
}

/// Whatever happens to the process: each record passes, is dropped, or is a dead letter, in order and once.
#[test]
fn any_mixture_of_faults_keeps_order_and_acknowledgement() {
    let act = prop_oneof![
        20 => Just(Act::Pass), 5 => Just(Act::Drop), 5 => Just(Act::Split), 2 => Just(Act::Error),
        1 => Just(Act::Endless), 1 => Just(Act::Overflow),
    ];
    let cases = (prop::collection::vec(act, 1..60), prop::collection::vec(0u64..300, 0..3));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&cases, |(acts, kills)| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(mixture(&acts, kills));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

async fn mixture(acts: &[Act], kills: Vec<u64>) {
    const MEMORY: u64 = (128 << 20) + 16384;
    let code = "def endless: endless; def overflow: 1 + overflow;
        if .act == \"Pass\" then . elif .act == \"Drop\" then empty elif .act == \"Split\" then 1, 2
        elif .act == \"Error\" then error(\"x\") elif .act == \"Endless\" then endless else overflow end";
    let mut bench = Bench::with(|config| {
        config.jq = Some(code.into());
        config.memory = ByteSize::new(MEMORY);
        config.patience.busy = Duration::from_millis(100);
    });
    let killer = tokio::spawn(async move {
        for pause in kills {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            workers(MEMORY).into_iter().for_each(|id| signal(id, Signal::KILL));
        }
    });
    let (mut expected, mut letters) = (Vec::new(), Vec::new());
    for (number, act) in acts.iter().enumerate() {
        let id = format!("a/{}", number + 1);
        match act {
            Act::Pass => expected.push((id, "{\"act\":\"Pass\"}".to_owned())),
            Act::Drop => {}
            Act::Split => expected.extend([0, 1].map(|part| (format!("{id}/{part}"), (part + 1).to_string()))),
            Act::Error | Act::Endless | Act::Overflow => letters.push(id),
        }
    }
    bench.submit(acts.iter().map(|act| format!("{{\"act\":\"{act:?}\"}}"))).await;
    assert_eq!(bench.drained().await, expected);
    let written: Vec<_> = bench.letters().into_iter().map(|(id, _)| id).collect();
    assert_eq!(written, letters);
    assert_eq!(bench.acknowledged(), acts.len() as u64);
    killer.await.expect("no panic");
}
