//! A server that fails, refuses, or is away.

use serde_json::Value;

use crate::{
    rig::{Cause, Rig},
    stage::Stage,
};

const ALL: &[&str] = &["default", "busy"];
const FAILED: &str = "delivery failed";
const RECOVERED: &str = "delivery recovered";

/// Whatever befalls the server, everything arrives, and each key's records in order but for stretches sent again.
pub(crate) async fn order_per_key<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig).await;
    let process = stage.start(&stage.setup()).await;
    for cause in R::TROUBLES.repeat(2) {
        stage.publish_mixed(50, ALL).await;
        let before = stage.retries().await;
        stage.rig.suffer(cause).await;
        // More than a pipe holds.
        stage.publish_mixed(if R::TROUBLES.contains(&Cause::Down) { 100 } else { 400 }, ALL).await;
        if cause == Cause::Silent {
            stage.rig.end_silence().await;
        }
        stage.until_felt(cause, before).await;
        stage.rig.recover().await;
    }
    stage.until_all_came(&process).await;
    stage.stop(process).await;
    stage.assert_order();
}

/// Of a batch, the records that the server takes arrive once, those before the ones that fail at once, and the failed
/// ones are sent again.
pub(crate) async fn partial_failure(rig: impl Rig) {
    let mut stage = Stage::new(rig).await;
    stage.publish(40, &["default"]).await;
    stage.publish(10, &["busy"]).await;
    stage.publish(40, &["default"]).await;
    stage.rig.suffer(Cause::Partial).await;
    let process = stage.start_unready(&stage.setup()).await;
    stage.until_felt(Cause::Partial, 0).await;
    stage.until_came(&process, 40).await;
    assert_eq!(stage.came_of("busy"), 0, "the server does not refuse them");
    process.until_logged(FAILED).await;
    stage.rig.recover().await;
    stage.until_all_came(&process).await;
    stage.stop(process).await;
    stage.assert_order();
    assert_eq!(stage.came_of("default"), 80, "what the server had taken came again");
}

/// The server takes records, and nobody says so: they are sent again, and nothing is lost or out of order.
pub(crate) async fn unknown_outcome<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig).await;
    let process = stage.start(&stage.setup()).await;
    stage.publish(50, ALL).await;
    stage.until_all_came(&process).await;
    stage.until_acknowledged().await;
    stage.rig.suffer(Cause::Silent).await;
    stage.publish(50, ALL).await;
    // Taken, with nobody to know.
    stage.until_came(&process, 51).await;
    stage.rig.end_silence().await;
    process.until_logged(FAILED).await;
    stage.rig.recover().await;
    stage.publish(50, ALL).await;
    stage.until_all_came(&process).await;
    process.until_logged(RECOVERED).await;
    stage.stop(process).await;
    assert_eq!(stage.assert_order() > 0, !R::IS_ONCE, "its outcome was not unknown, or a known id came again");
}

/// What is refused as data holds everything behind it; the program is not ready, and goes on when the server takes it.
pub(crate) async fn reject_with_stop<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig).await;
    let process = stage.start(&stage.setup()).await;
    stage.rig.suffer(Cause::Refusing).await;
    stage.publish(20, &["default", "other"]).await;
    process.until_logged("pipeline held by a rejected record").await;
    process.until_logged(R::REFUSAL).await;
    stage.until_ready(false, "the sink rejected a record").await;
    stage.publish(20, ALL).await;
    assert_eq!(stage.came_of("other"), 0);
    stage.rig.recover().await;
    stage.until_all_came(&process).await;
    process.until_logged(RECOVERED).await;
    stage.until_ready(true, "").await;
    stage.stop(process).await;
    stage.assert_order();
}

/// What is refused as data is in the file, each with the reason, and everything else arrives.
pub(crate) async fn reject_to_file<R: Rig>(rig: R) {
    let mut stage = Stage::new(rig).await;
    let file = stage.path("dead");
    stage.rig.suffer(Cause::Refusing).await;
    stage.publish(300, &["default", "other", "busy"]).await;
    let setup = stage.setup().env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()));
    let process = stage.start(&setup).await;
    // Keys bear the marks in turn, twenty of them.
    let refused = stage.published() / 20 * 7;
    stage.until_came(&process, stage.published() - refused).await;
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("the refused ones are in the file", || text().lines().count() >= refused).await;
    stage.stop(process).await;
    assert_eq!((stage.came(), stage.came_of("other")), (stage.published() - refused, 0), "repeats, or refused ones");
    let letters = text();
    assert_eq!(letters.lines().count(), refused);
    for letter in letters.lines() {
        let letter: Value = serde_json::from_str(letter).expect("JSON");
        let text = |name: &str| letter[name].as_str().expect("text").to_owned();
        assert!(text("reason").contains(R::REFUSAL), "{letter}");
        assert_eq!(text("namespace"), "other");
        assert!(stage.rig.variables().iter().any(|(name, value)| *name == "SINK_TYPE" && *value == text("sink")));
    }
}

/// After an outage everything arrives without a restart, and the log tells of each kind of failure once, and once of the end.
pub(crate) async fn reconnect(rig: impl Rig) {
    let mut stage = Stage::new(rig).await;
    let process = stage.start(&stage.setup()).await;
    stage.publish(50, ALL).await;
    stage.until_all_came(&process).await;
    stage.rig.suffer(Cause::Down).await;
    stage.publish(500, ALL).await;
    process.until_logged(FAILED).await;
    let before = stage.retries().await;
    stage.until_felt(Cause::Down, before).await;
    assert_eq!(process.logged(RECOVERED), 0);
    stage.rig.recover().await;
    stage.until_all_came(&process).await;
    process.until_logged(RECOVERED).await;
    // Once for each kind of failure: the connection that broke, and those that did not come about.
    assert!((1..=3).contains(&process.logged(FAILED)), "{}", process.log());
    assert_eq!(process.logged(RECOVERED), 1, "{}", process.log());
    stage.stop(process).await;
    stage.assert_order();
}
