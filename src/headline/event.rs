//! Raw events: the object of its topic, and the event's own type.

use serde_json::Value;

use super::{
    Headline, objects, task,
    time::object_of,
    words::{Parts, name, sentence, short, text},
};

pub(super) fn headline(body: &Value) -> Option<Headline> {
    let topic = text(body, "Topic")?;
    let kind = name(body, "Type");
    if topic == "Firehose" {
        return Some(gap(body));
    }
    let object = object_of(body, topic);
    let known = object.and_then(|object| match topic {
        "Allocation" => allocation(object),
        "Node" => objects::node(object),
        "Evaluation" => objects::evaluation(object),
        "Job" => objects::job(object),
        "Deployment" => objects::deployment(object),
        _ => None,
    });
    let line = known.unwrap_or_else(|| other(body, object));
    let text = Parts::of([kind, line.text]).joined("  ", super::TEXT);
    Some(Headline { text, ..line })
}

/// An allocation as the stream has it.
fn allocation(object: &Value) -> Option<Headline> {
    text(object, "ClientStatus")?;
    let subject = Parts::of([task::whose(object), short(object, "ID")]);
    let mut parts = Parts::of([name(object, "ClientStatus")]);
    let wanted = name(object, "DesiredStatus");
    if wanted != "run" && !wanted.is_empty() {
        parts.push(format!("wanted: {wanted}"));
    }
    parts.push(sentence(object, "ClientDescription"));
    Some(Headline::new(&subject, &parts).on(&name(object, "NodeName")))
}

/// An object of any other topic, such as a service, a variable, or a token. Only its names are shown.
fn other(body: &Value, object: Option<&Value>) -> Headline {
    let of_object = |member: &str| object.map(|object| name(object, member)).unwrap_or_default();
    let names = [of_object("ServiceName"), of_object("Name"), of_object("Path"), short(body, "Key")];
    let found = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let mut parts = Parts::default();
    let (address, port) = (of_object("Address"), object.and_then(|object| object["Port"].as_u64()).unwrap_or_default());
    match (address.as_str(), port) {
        ("", 0) => {}
        (address, 0) => parts.push(format!("at {address}")),
        (address, port) => parts.push(format!("at {address}:{port}")),
    }
    Headline::new(&Parts::of([name(body, "Topic").to_lowercase(), found]), &parts)
}

/// A gap in the stream, as the program itself reports it.
fn gap(body: &Value) -> Headline {
    let gap = &body["Payload"]["Gap"];
    let index = |member: &str| gap[member].as_u64().unwrap_or_default();
    let text = format!("gap: events of the raft indexes {}–{} may be missing", index("FromIndex"), index("UntilIndex"));
    Headline::new(&Parts::of(["stream".to_owned(), name(body, "Key")]), &Parts::of([text]))
}
