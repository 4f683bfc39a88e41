use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::sink::smtp::subject::Subject;
use crate::{
    delivery::testing::Book,
    sink::{
        smtp::Encryption,
        webhook::testing::{any_message, full, record},
    },
};

fn config(subject: &str) -> Config {
    Config {
        host: "localhost".to_owned(),
        port: 25,
        encryption: Encryption::None,
        ca_cert: None,
        user: None,
        from: "Nomad <nomad@example.com>".parse().expect("an address"),
        to: vec!["ops@example.com".parse().expect("an address"), "b@example.com".parse().expect("an address")],
        subject: subject.parse().expect("a subject"),
        timeout: Duration::from_secs(5),
    }
}

fn text_of(record: &Record, subject: &str) -> String {
    let mail = of(record, &config(subject), Some("blue")).expect("a mail");
    String::from_utf8(mail.formatted()).expect("ASCII")
}

#[test]
fn a_whole_message() {
    let expected = "Task failed\n\nweb <1> & more (5 times in 10m)\n\n• one\n• two\n\nSeverity: error\nJob: web\nNode: n-1\n\n\
                    https://nomad.example.com/ui/jobs/web?a=1&b=2\n";
    assert_eq!(plain(&full()), expected);
    let html = html(&full());
    assert!(html.contains("<h3>Task failed</h3>") && html.contains("web &lt;1&gt; &amp; more"), "{html}");
    assert!(html.contains("<a href=\"https://nomad.example.com/ui/jobs/web?a=1&amp;b=2\">"), "{html}");
}

#[test]
fn the_headers_say_who_and_what() {
    let book = Book::new();
    let record = book.record("key", full().to_body());
    let text = text_of(&record, "{severity}: {title} in {cluster}");
    for line in [
        "From: Nomad <nomad@example.com>\r\n",
        "To: ops@example.com, b@example.com\r\n",
        "Subject: error: Task failed in blue\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Content-Type: multipart/alternative;",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn the_id_is_the_same_for_the_same_record() {
    let id = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("Message-ID: ")).expect("an id").to_owned();
        assert!(line.ends_with("@example.com>"), "{line}");
        line
    };
    let book = Book::new();
    let (one, two) = (book.record("key", full().to_body()), book.record("key", full().to_body()));
    assert_eq!(id(&text_of(&one, "a")), id(&text_of(&one, "b")));
    assert_ne!(id(&text_of(&one, "a")), id(&text_of(&two, "a")));
}

#[test]
fn no_value_begins_another_header() {
    let mut message = full();
    message
        .raw
        .insert("smtp".to_owned(), serde_json::json!({"subject": "a\r\nBcc: x@example.com", "text": "t", "html": "h"}));
    let text = text_of(&record(&message), "s");
    assert!(!text.contains("\nBcc:") && text.contains("Subject: a  Bcc: x@example.com"), "{text}");
    assert!(text.contains("\r\n\r\nt\r\n") && text.contains("\r\n\r\nh\r\n"), "{text}");
}

#[test]
fn a_subject_names_what_there_is() {
    for text in ["{titel}", "{", "{}", "{title", "a{b}", "a\nb"] {
        assert!(text.parse::<Subject>().is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_message_is_a_mail_of_ascii_in_short_lines(message in any_message()) {
        let text = text_of(&record(&message), "[nomad] {title}");
        prop_assert!(text.is_ascii());
        prop_assert!(text.lines().all(|line| line.len() <= 998));
    }
}
