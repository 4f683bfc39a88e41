//! What stays within bounds, and what stays inside.

use std::time::Instant;

use crate::{
    common::{PATIENCE, Setup},
    rig::{Cause, Rig},
    stage::Stage,
};

const ALL: &[&str] = &["default", "busy"];

/// A slow server slows the source down: no more than the window is under way, nothing is sent twice, and no failure is
/// told of.
pub(crate) async fn back_pressure(rig: impl Rig) {
    const WINDOW: u64 = 64 << 10;
    let mut stage = Stage::new(rig).await;
    let process = stage.start(&stage.setup().env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", WINDOW.to_string())).await;
    stage.publish(20, ALL).await;
    stage.until_all_came(&process).await;
    // However little the machine lets the program read: until the window has filled, the server takes nothing.
    stage.rig.suffer(Cause::Stalled).await;
    stage.publish(1_000, ALL).await;
    let (deadline, mut most) = (Instant::now() + PATIENCE, 0);
    while most <= WINDOW / 2 {
        most = most.max(stage.in_flight().await);
        assert!(Instant::now() < deadline, "{most} bytes in flight at most: the server does not hold the program up");
    }
    stage.rig.suffer(Cause::Slow).await;
    while stage.came() < stage.published() / 2 {
        stage.read().await;
        most = most.max(stage.in_flight().await);
        assert!(most <= WINDOW, "{most} bytes in flight");
        assert!(Instant::now() < deadline, "{} have come; the log:\n{}", stage.came(), process.log());
    }
    stage.rig.recover().await;
    stage.until_all_came(&process).await;
    assert_eq!(process.logged("delivery failed"), 0, "{}", process.log());
    stage.stop(process).await;
    assert_eq!(stage.assert_order(), 0, "records came again");
}

/// While the server takes nothing, bytes in flight and memory stay within bounds; once it took all, none is in flight.
pub(crate) async fn bytes_in_flight<R: Rig>(rig: R) {
    const WINDOW: u64 = 256 << 10;
    let mut stage = Stage::new(rig).await;
    let process = stage.start(&stage.setup().env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", WINDOW.to_string())).await;
    stage.publish_padded(20, ALL, 20 << 10).await;
    stage.until_all_came(&process).await;
    let before = process.peak_memory();
    stage.rig.suffer(Cause::Stalled).await;
    let mut most = 0;
    // Many windows.
    for _ in 0..20 {
        stage.publish_padded(20, ALL, 20 << 10).await;
        most = most.max(stage.in_flight().await);
    }
    let deadline = Instant::now() + PATIENCE;
    while most <= WINDOW / 2 {
        assert!(Instant::now() < deadline, "{most} bytes in flight at most");
        most = most.max(stage.in_flight().await);
    }
    stage.rig.recover().await;
    while stage.came() < stage.published() {
        stage.read().await;
        most = most.max(stage.in_flight().await);
        assert!(Instant::now() < deadline, "{} have come; the log:\n{}", stage.came(), process.log());
    }
    stage.until_all_came(&process).await;
    assert!(most <= WINDOW, "{most} bytes in flight");
    let grown = process.peak_memory() - before;
    assert!(grown < 8 * WINDOW + R::BUFFERS, "{} KiB more than before", grown >> 10);
    stage.until_acknowledged().await;
    stage.stop(process).await;
    stage.assert_order();
}

/// Nothing that is secret is in the log at its most talkative, through an outage too, or in the help.
pub(crate) async fn secrets<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig).await;
    let variables = stage.rig.variables();
    for secret in R::SECRETS {
        assert!(variables.iter().any(|(_, value)| value.contains(secret)), "{secret} is nowhere");
    }
    let process = stage.start(&stage.setup().env("LOG_LEVEL", "trace")).await;
    stage.publish(20, ALL).await;
    stage.until_all_came(&process).await;
    stage.rig.suffer(Cause::Down).await;
    stage.publish(20, ALL).await;
    process.until_logged("delivery failed").await;
    stage.rig.recover().await;
    stage.until_all_came(&process).await;
    let ended = process.end_by(crate::common::Signal::TERM).await;
    assert!(!ended.log.is_empty());
    let help =
        variables.iter().fold(Setup::bare(&["evaluations", "--help"]), |setup, (name, value)| setup.env(name, value));
    let (code, help, said) = help.output();
    assert_eq!(code, Some(0), "{said}");
    assert!(help.contains("--sink-type"), "{help}");
    for secret in R::SECRETS {
        for (place, text) in [("the log", &ended.log), ("the help", &help), ("stderr of the help", &said)] {
            assert!(!text.contains(secret), "{secret} is in {place}:\n{text}");
        }
    }
}
