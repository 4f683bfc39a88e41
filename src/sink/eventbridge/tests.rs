use aws_sdk_eventbridge::types::PutEventsResultEntry;

use super::*;
use crate::{delivery::testing::Book, record::Time};

fn eventbridge(resources: &[&str]) -> EventBridge {
    let template = |text: &str| text.parse().expect("a template");
    let settings = Config {
        bus: Bus::Name("nomad".to_owned()),
        detail_type: template("{Kind}"),
        source: template("nomad.{Namespace}"),
        resources: resources.iter().map(|text| template(text)).collect(),
        verify: true,
    };
    EventBridge { settings }
}

#[test]
fn the_record_is_the_detail_and_its_time_that_of_the_event() {
    let body = r#"{"JobID":"web"}"#;
    let time = Time::new(1_700_000_000_999_999_999);
    let record = Record { time, ..Book::new().record("default/web", body) };
    let (entry, bytes) = eventbridge(&["{ID}", "job/{JobID}"]).entry(&record).expect("it fits");
    assert_eq!((entry.detail(), entry.detail_type()), (Some(body), Some("jobs")));
    assert_eq!((entry.source(), entry.event_bus_name()), (Some("nomad.default"), Some("nomad")));
    assert_eq!(entry.time().map(|time| (time.secs(), time.subsec_nanos())), Some((1_700_000_000, 0)));
    assert_eq!(entry.resources(), [record.id.to_string(), "job/-".to_owned()]);
    assert_eq!(bytes, body.len() + "jobs".len() + "nomad.default".len() + record.id.len() + "job/-".len() + 14);
    let (entry, _) = eventbridge(&[]).entry(&Book::new().record("k", "{}")).expect("it fits");
    assert!(entry.time().is_none() && entry.resources.is_none(), "{entry:?}");
}

#[test]
fn what_no_bus_takes_is_rejected_before_it_is_sent() {
    let record = |bytes: usize| Book::new().record("k", format!("{{{}", "x".repeat(bytes - 1)));
    let others = "jobs".len() + "nomad.default".len();
    let (_, bytes) = eventbridge(&[]).entry(&record(BYTES - others)).expect("it fits");
    assert_eq!(bytes, BYTES);
    let reason = eventbridge(&[]).entry(&record(BYTES - others + 1)).expect_err("too large");
    assert_eq!(reason, "the event has 1048577 bytes; EventBridge takes 1048576 at most");
    for body in ["[1]", "7", "null", "\"a\"", "\u{fffd}{}"] {
        let reason = eventbridge(&[]).entry(&Book::new().record("k", body)).expect_err(body);
        assert!(reason.contains("not a JSON object"), "{reason}");
    }
    assert!(eventbridge(&[]).entry(&Book::new().record("k", vec![b'{', 0xff])).is_err());
    let mut long = eventbridge(&[]);
    long.settings.detail_type = "{T}".parse().expect("a template");
    let record = Book::new().record("k", format!(r#"{{"T":"{}"}}"#, "t".repeat(129)));
    assert!(long.entry(&record).expect_err("too long").contains("SINK_EVENT_BUS_DETAIL_TYPE"));
    long.settings.source = "{S}".parse().expect("a template");
    let record = Book::new().record("k", r#"{"S":"aws.ec2","T":"t"}"#);
    assert!(long.entry(&record).expect_err("reserved").contains("SINK_EVENT_BUS_SOURCE"));
}

#[test]
fn answers_are_in_the_order_of_the_entries() {
    let entry = PutEventsResultEntry::builder;
    let answer = PutEventsOutput::builder()
        .entries(entry().event_id("e").build())
        .entries(entry().error_code("InternalFailure").error_message("a\nb").build())
        .entries(entry().event_id("").build())
        .entries(entry().build());
    let failed = Answer::Failed { code: "InternalFailure".to_owned(), said: "a".to_owned(), is_ours: false };
    assert_eq!(answers(answer.build()), [Answer::Taken, failed, Answer::Missing, Answer::Missing]);
}
