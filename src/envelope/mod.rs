//! What goes around a record: nothing, an object that says what it is, or a CloudEvent.
//!
//! The stage comes after programs and rules: whatever a program made of a record is what the envelope holds. It changes
//! no record's id, key or acknowledgement.

mod cloud_events;
pub(crate) mod settings;

#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    delivery::{self, Handle, Intake, Message},
    json::Scanner,
    meta::{self, Meta, Origin},
    record::{Envelope, Record},
};

/// How many submissions wait in front of the stage. The window bounds their bytes.
const QUEUE: usize = 16;

/// The form of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The record's body as it is: in the original's shape, unless a program made another.
    #[default]
    None,
    /// A JSON object with what [`Meta`] knows, and the body as `record`.
    Firehose,
    /// A CloudEvent in structured mode: a JSON object with its attributes, and the body as `data`.
    CloudEvents,
    /// A CloudEvent in binary mode: the body as it is, and the attributes as headers.
    CloudEventsBinary,
}

/// The way into a stage that wraps records and passes them on to `next`. Without an envelope there is no stage, and it is
/// `next` itself.
pub fn spawn(form: Form, origin: Origin, next: Handle) -> Handle {
    if form == Form::None {
        return next;
    }
    let (handle, intake) = delivery::stage(QUEUE);
    tokio::spawn(run(form, origin, intake, next));
    handle
}

async fn run(form: Form, origin: Origin, mut intake: Intake, next: Handle) {
    while let Some(mut message) = intake.next().await {
        if let Message::Records(records) = &mut message {
            records.iter_mut().for_each(|record| wrap(form, &origin, record));
        }
        if next.pass(message).await.is_err() {
            // Delivery has ended. What comes now is dropped undelivered.
            return;
        }
    }
}

/// Puts `record` into its envelope.
pub fn wrap(form: Form, origin: &Origin, record: &mut Record) {
    let meta = Meta::of(record, origin);
    match form {
        Form::None => {}
        Form::Firehose => {
            let head = serde_json::to_vec(&meta).expect("plain data");
            let body = with_member(&head, "record", &record.body);
            replace(record, body, Envelope::None);
        }
        Form::CloudEvents => {
            let head = serde_json::to_vec(&cloud_events::structured(&meta, &record.key)).expect("plain data");
            let body = with_member(&head, "data", &record.body);
            replace(record, body, Envelope::CloudEvent);
        }
        Form::CloudEventsBinary => {
            record.envelope = Envelope::Attributes(Box::new(cloud_events::attributes(&meta, &record.key)));
        }
    }
}

fn replace(record: &mut Record, body: Bytes, envelope: Envelope) {
    record.time = meta::time(record);
    record.body = body;
    record.envelope = envelope;
}

/// The object `head`, which has members, with one more: its value is `body`, or the text of `body` if that is no JSON.
fn with_member(head: &[u8], name: &str, body: &[u8]) -> Bytes {
    let open = head.strip_suffix(b"}").expect("an object");
    let mut whole = BytesMut::with_capacity(open.len() + name.len() + body.len() + 5);
    whole.put_slice(open);
    whole.put_slice(b",\"");
    whole.put_slice(name.as_bytes());
    whole.put_slice(b"\":");
    if is_one_value(body) {
        whole.put_slice(body);
    } else {
        let text = String::from_utf8_lossy(body);
        whole.put_slice(serde_json::to_string(&text).expect("plain text").as_bytes());
    }
    whole.put_u8(b'}');
    whole.freeze()
}

/// Whether the bytes are one JSON value, as far as the scanner looks: a body that is cut, or that would end the envelope
/// early, is none.
fn is_one_value(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut scanner = Scanner::new(text);
    scanner.skip().is_ok() && scanner.end_of_text().is_ok()
}
