//! The end of the program, in good order and without warning.

use crate::{
    rig::{Cause, Rig},
    stage::Stage,
};

const ALL: &[&str] = &["default", "busy"];

/// A stop while much is under way, and a start: each record arrives exactly once.
pub(crate) async fn drain_on_stop(rig: impl Rig) {
    let mut stage = Stage::new(rig).await;
    let setup = stage.keeping_setup().env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "64KiB");
    stage.publish(2_000, ALL).await;
    stage.rig.suffer(Cause::Slow).await;
    let process = stage.start(&setup).await;
    stage.until_came(&process, 1).await;
    stage.stop(process).await;
    assert!(stage.came() < stage.published(), "nothing was left to do");
    stage.publish(50, ALL).await;
    stage.rig.recover().await;
    let process = stage.start(&setup).await;
    stage.until_all_came(&process).await;
    stage.stop(process).await;
    assert_eq!(stage.assert_order(), 0, "records came again");
}

/// Killed in the midst of a batch and started again, twice: nothing is missing, and repeats are in order.
pub(crate) async fn kill_in_mid_batch(rig: impl Rig) {
    let mut stage = Stage::new(rig).await;
    let setup = stage.keeping_setup();
    stage.publish(2_000, ALL).await;
    for records in [1, 200] {
        stage.rig.suffer(Cause::Slow).await;
        let process = stage.start(&setup).await;
        stage.until_came(&process, records).await;
        stage.kill(process).await;
        stage.publish(50, ALL).await;
    }
    assert!(stage.came() < stage.published(), "nothing was left to do");
    stage.rig.recover().await;
    let process = stage.start(&setup).await;
    stage.until_all_came(&process).await;
    stage.stop(process).await;
    stage.assert_order();
}
