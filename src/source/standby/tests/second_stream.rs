//! Streams that the server may have dropped.

use tokio::task::yield_now;

use super::*;

/// The server keeps the connection open, and sends nothing.
#[tokio::test]
async fn a_stream_that_the_server_has_dropped_is_left_at_once() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.sim.server(0).stall();
    scene.sim.append_lines((20..=30).map(|index| evaluation(index, "default"))).await.expect("lines of events");
    // The table is asked during the standby, and has moved past what the stream brought.
    scene.sim.server(0).hang(Hanging::default());
    until("it subscribes again", || scene.asked(STREAM) == 2 && scene.held() > 0).await;
    scene.sim.server(0).hang(TABLES);
    scene.append(31..=59, "default").await;
    let known = Identity::new("Evaluation", "default", &id(30), RaftIndex(30), 0);
    let position = Position { index: RaftIndex(30), seen: vec![known].into(), ..Position::default() };
    scene.checkpoint.streams.get_mut("*").expect("it is there").position = position;
    scene.lead(standby.take().await);
    scene.delivers(31..=59).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 2);
}

#[tokio::test]
async fn a_stream_that_is_quiet_with_its_table_is_kept() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.sim.server(0).hang(Hanging::default());
    until("the table is asked", || scene.looks() == 1).await;
    scene.append(20..=59, "default").await;
    scene.lead(standby.take().await);
    scene.delivers(20..=59).await;
    scene.assert_nothing_missed();
    assert_eq!((scene.asked(STREAM), scene.looks()), (1, 1));
}

/// The buffer's last line has left the server's buffer by then: no other stream could continue after it.
#[tokio::test]
async fn a_stream_whose_table_moves_without_an_event_is_kept() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    let node = |index: u64| {
        let object =
            json!({"ID": id(index), "Name": "n", "Status": "ready", "CreateIndex": index, "ModifyIndex": index});
        let event = json!({"Topic": "Node", "Type": "NodeRegistration", "Index": index, "Key": id(index),
                           "Namespace": "", "FilterKeys": null, "Payload": {"Node": object}});
        json!({"Index": index, "Events": [event]}).to_string()
    };
    for index in 16..=22 {
        scene.sim.append_line(node(index)).await.expect("a line of events");
        // The server, which is on this thread, passes each by before the next is there.
        yield_now().await;
        yield_now().await;
    }
    scene.sim.remove(nomad_sim::Kind::Evaluation, "default", &id(10)).await;
    // The table is asked during the standby, and has moved since.
    scene.sim.server(0).hang(Hanging::default());
    until("a second stream is tried", || scene.asked(STREAM) == 2 && scene.sim.server(0).open_streams() == 2).await;
    scene.sim.server(0).hang(TABLES);
    scene.append(30..=40, "default").await;
    until("it is closed", || scene.sim.server(0).open_streams() == 1).await;
    scene.append(41..=59, "default").await;
    scene.lead(standby.take().await);
    scene.delivers(30..=59).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 2);
}

/// The second stream begins with a buffered line.
#[tokio::test]
async fn a_stream_that_the_server_has_dropped_costs_no_buffer() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    let held = scene.held();
    scene.sim.server(0).stall();
    scene.sim.append_lines((20..=22).map(|index| evaluation(index, "default"))).await.expect("lines of events");
    scene.sim.server(0).hang(Hanging::default());
    until("it subscribes again", || scene.asked(STREAM) == 2).await;
    scene.sim.server(0).hang(TABLES);
    until("what the first lacks is buffered", || scene.held() > held).await;
    scene.append(23..=59, "default").await;
    scene.lead(standby.take().await);
    scene.delivers(20..=59).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 2);
}
