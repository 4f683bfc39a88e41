//! CloudEvents over HTTP: the media types of structured mode, and the headers of binary mode (HTTP protocol binding
//! 1.0.2, sections 3.1 to 3.3).

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::Format;
use crate::record::{Attributes, Envelope, Record};

/// What section 3.1.3.2 has percent-encoded, beside everything outside of ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The headers that the envelopes of `records` add to their request, or replace in it.
///
/// # Errors
/// Attributes that cannot be sent like this, with the reason.
pub(super) fn headers(format: Format, records: &[Record]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    if let (Format::Single, [Record { envelope: Envelope::Attributes(attributes), .. }]) = (format, records) {
        return binary(attributes);
    }
    if records.iter().any(|record| matches!(record.envelope, Envelope::Attributes(_))) {
        let what =
            "the attributes of a CloudEvent in binary mode have no place in a batch; set SINK_HTTP_FORMAT=single";
        return Err(what.to_owned());
    }
    if records.iter().all(|record| record.envelope == Envelope::CloudEvent) {
        let media_type = match format {
            Format::Single => "application/cloudevents+json; charset=utf-8",
            Format::Array => "application/cloudevents-batch+json; charset=utf-8",
            // Lines have a media type of their own, whatever is in them.
            Format::Ndjson => return Ok(headers),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    Ok(headers)
}

fn binary(attributes: &Attributes) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    // The attribute `datacontenttype`.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in attributes {
        // Only a damaged dead letter has such a name.
        let name: HeaderName =
            format!("ce-{name}").parse().map_err(|_| "the name of an attribute cannot be sent as a header")?;
        let value = utf8_percent_encode(value, ESCAPED).to_string();
        headers.insert(name, HeaderValue::from_str(&value).expect("what is left is visible ASCII"));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing::Book;

    fn records(envelopes: &[Envelope]) -> Vec<Record> {
        let book = Book::new();
        let record = |envelope: &Envelope| Record { envelope: envelope.clone(), ..book.record("a", "{}") };
        envelopes.iter().map(record).collect()
    }

    fn attributes(pairs: &[(&str, &str)]) -> Envelope {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Envelope::Attributes(Box::new(pairs.collect()))
    }

    #[test]
    fn each_mode_has_the_media_type_of_the_binding() {
        let of = |format, envelopes: &[Envelope]| {
            let headers = headers(format, &records(envelopes)).expect("they can be sent");
            headers.get(CONTENT_TYPE).map(|value| value.to_str().expect("ASCII").to_owned())
        };
        let event = Envelope::CloudEvent;
        let structured = "application/cloudevents+json; charset=utf-8";
        assert_eq!(of(Format::Single, std::slice::from_ref(&event)).as_deref(), Some(structured));
        let batch = "application/cloudevents-batch+json; charset=utf-8";
        assert_eq!(of(Format::Array, &[event.clone(), event.clone()]).as_deref(), Some(batch));
        assert_eq!(of(Format::Ndjson, std::slice::from_ref(&event)), None);
        assert_eq!(of(Format::Array, &[event, Envelope::None]), None);
        assert_eq!(of(Format::Single, &[Envelope::None]), None);
        assert_eq!(of(Format::Single, &[attributes(&[("id", "1")])]).as_deref(), Some("application/json"));
    }

    /// The example of section 3.1.3.2.
    #[test]
    fn values_are_encoded_as_in_the_example_of_the_binding() {
        let headers = headers(Format::Single, &records(&[attributes(&[("subject", "Euro \u{20ac} \u{1f600}")])]));
        assert_eq!(headers.expect("they can be sent")["ce-subject"], "Euro%20%E2%82%AC%20%F0%9F%98%80");
    }

    #[test]
    fn attributes_that_cannot_be_sent_are_refused() {
        for format in [Format::Array, Format::Ndjson] {
            let error = headers(format, &records(&[attributes(&[("id", "1")])])).expect_err("no place for them");
            assert!(error.ends_with("set SINK_HTTP_FORMAT=single"), "{error}");
        }
        let odd = headers(Format::Single, &records(&[attributes(&[("a b", "1")])]));
        assert_eq!(odd.expect_err("no header"), "the name of an attribute cannot be sent as a header");
    }

    proptest! {
        #[test]
        fn any_value_comes_back_when_it_is_decoded(value in "\\PC{0,20}|[ %\"\\r\\n\\x00\u{7f}\u{80}a]{0,10}") {
            let headers = headers(Format::Single, &records(&[attributes(&[("subject", &value)])]));
            let headers = headers.expect("they can be sent");
            let sent = headers["ce-subject"].to_str().expect("visible ASCII");
            prop_assert!(sent.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'"'), "{}", sent);
            prop_assert_eq!(percent_decode_str(sent).decode_utf8().expect("UTF-8"), value);
        }
    }
}
