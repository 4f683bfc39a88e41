use base64::engine::general_purpose::URL_SAFE;
use proptest::prelude::*;

use super::*;

/// A secret that no other test uses.
const SECRET: &str = "zq\"7/Kx&4+W<é>%v2";

fn is_hidden(text: &str, secret: &str) -> bool {
    let shown = redacted(text);
    !shown.contains(secret) && shown.contains(REDACTED)
}

fn escaped(text: &str) -> Vec<String> {
    let json = serde_json::to_string(text).expect("text");
    let json = json.trim_matches('"').to_owned();
    let twice = serde_json::to_string(&json).expect("text");
    let every = |each: fn(u8) -> String| text.bytes().map(each).collect::<String>();
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    vec![
        text.to_owned(),
        twice.trim_matches('"').to_owned(),
        json,
        html.replace('"', "&quot;"),
        html.replace('"', "&#34;"),
        html.replace('"', "&#x22;"),
        every(|byte| format!("%{byte:02X}")),
        every(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02x}") }),
        text.replace('&', "\\u0026").replace('<', "\\u003c").replace('"', "\\\"").replace('/', "\\/"),
    ]
}

#[test]
fn every_form_of_a_secret_goes() {
    keep(SECRET);
    for form in escaped(SECRET) {
        assert!(is_hidden(&form, &form), "{form}: {}", redacted(&form));
        assert_eq!(redacted(&form), REDACTED);
    }
    for before in ["", "a", "ab", "abc"] {
        let text = format!("{before}{SECRET}tail");
        for encoded in [BASE64.encode(&text), URL_SAFE.encode(&text)] {
            assert!(redacted(&encoded).contains(REDACTED), "{encoded}");
        }
        let broken = BASE64.encode(&text);
        let (first, second) = broken.split_at(broken.len() / 2);
        assert!(redacted(&format!("{first}\r\n{second}")).contains(REDACTED));
    }
    basic("me", SECRET);
    let pair = BASE64.encode(format!("me:{SECRET}"));
    assert!(is_hidden(&format!("x {pair} y"), pair.trim_end_matches('=')));
}

#[test]
fn a_short_secret_goes_and_leaves_other_words() {
    keep("qwpz");
    keep("q7");
    for text in ["qwpz", "a qwpz.", "\"qwpz\"", "x\\nqwpz\\n", "%20qwpz&", "key=qwpz", "me:qwpz@host"] {
        assert!(is_hidden(text, "qwpz"), "{text}: {}", redacted(text));
    }
    for text in ["qwpzs", "aqwpz", "a_qwpz", "qwpz-1", "job q7 runs", "http://a:q7"] {
        assert_eq!(redacted(text), text);
    }
    basic("me", "q7");
    assert!(is_hidden("is bWU6cTc= it", "bWU6cTc"));
    assert!(is_hidden("x-key: q7", "q7"));
}

#[test]
fn a_cut_secret_goes_too() {
    keep("Jv81hTTq0-cutcut");
    for (text, kept) in
        [("at the end Jv81hTT", "at the end [redacted]"), ("Jv8", "Jv8"), ("Jv81 goes on", "Jv81 goes on")]
    {
        assert_eq!(redacted_start(text), kept);
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn what_looks_like_credentials_goes() {
    for (text, kept) in [
        ("Authorization: Bearer abc.def\r\nAccept: */*", "Authorization: [redacted]\r\nAccept: */*"),
        ("proxy-authorization: Basic bWU6aHVzaA==", "proxy-authorization: [redacted]"),
        ("x-nomad-token: 123\nhost: a", "x-nomad-token: [redacted]\nhost: a"),
        ("{\"X-Consul-Token\":[\"123\"]}", "{\"X-Consul-Token\":[\"[redacted]\"]}"),
        (
            "&quot;X-Nomad-Token&quot;: &quot;123&quot;, &quot;a&quot;",
            "&quot;X-Nomad-Token&quot;: &quot;[redacted]&quot;, &quot;a&quot;",
        ),
        ("{\\\"Authorization\\\":\\\"Bearer 123\\\"}", "{\\\"Authorization\\\":\\\"[redacted]\\\"}"),
        ("map[Authorization:[Bearer 123] Accept:[*/*]]", "map[Authorization:[[redacted]] Accept:[*/*]]"),
        ("<td>Authorization</td><td>: Basic 12=</td>", "<td>Authorization</td><td>: [redacted]</td>"),
        ("X-Amz-Security-Token: 1/2+3==\n", "X-Amz-Security-Token: [redacted]\n"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=a/b, Signature=12\nx", "Authorization: [redacted]\nx"),
        ("Cookie: a=1; b=2\nx", "Cookie: [redacted]\nx"),
        ("{\"SecretID\":\"1-2\",\"Name\":\"a\"}", "{\"SecretID\":\"[redacted]\",\"Name\":\"a\"}"),
        ("GET /x?token=12&a=v", "GET /x?token=[redacted]&a=v"),
        ("see http://me:pw@host/x", "see http://[redacted]@host/x"),
    ] {
        assert_eq!(redacted(text), kept, "{text}");
        assert_eq!(redacted(kept), kept, "once more");
    }
    assert_eq!(redacted("authorization: Basic [redacted]\r\n"), "authorization: Basic [redacted]\r\n");
    for text in [
        "Nomad does not accept the token: ACL token not found; it is wrong",
        "see SINK_HTTP_AUTH, SINK_HTTP_TOKEN and SINK_HTTP_TOKEN_FILE",
        "set CONSUL_HTTP_SSL=true: no secret",
        "http://127.0.0.1:4646 answered 502",
        "ids are jobs/4711/0/default/web; mail ops@example.com",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn bodies_lose_only_what_is_known() {
    keep("Gz55-known-known");
    let text = "Authorization: Bearer 4g7\nx-nomad-token: Gz55-known-known";
    assert_eq!(without_known(text), "Authorization: Bearer 4g7\nx-nomad-token: [redacted]");
}

#[test]
fn the_newest_tokens_are_known() {
    for number in 0..2 * MAX_RENEWED {
        renew(&format!("renewed-token-{number:04}"));
    }
    assert!(is_hidden("x renewed-token-0063", "renewed-token-0063"));
    assert!(KNOWN.read().expect("no panic").renewed.len() <= MAX_RENEWED);
}

proptest! {
    /// Whatever is around it.
    #[test]
    fn no_secret_survives(before in "\\PC{0,20}|[\\\\%&\"=: \\n]{0,6}", after in "\\PC{0,20}|[\\\\%&\"=: \\n]{0,6}", form in 0_usize..9) {
        keep(SECRET);
        let form = escaped(SECRET).swap_remove(form);
        let text = format!("{before}{form}{after}");
        prop_assert!(!redacted(&text).contains(&form));
        prop_assert!(!without_known(&text).contains(&form));
        prop_assert!(!redacted_start(&text).contains(&form));
    }

    /// What is not a secret stays as it was, and a cut is between characters.
    #[test]
    fn everything_else_survives(text in "[a-yA-Y ,.;!?äöüß0-9-]{0,200}") {
        keep(SECRET);
        prop_assert_eq!(without_known(&text), text.as_str());
        prop_assert_eq!(redacted(&text), text.as_str());
    }

    #[test]
    fn any_text_is_taken(text in "(\\PC|[\\\\%&\"=:+\\n<]|uthorization|token|&quot;){0,60}") {
        keep(SECRET);
        let (once, start) = (redacted(&text), redacted_start(&text));
        prop_assert!(start.len() <= text.len() + 16 * REDACTED.len() || once.contains(REDACTED));
    }
}

/// Words of errors, including names of credentials. None of them is a secret.
fn ordinary_words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "the",
        "token",
        "password",
        "secret",
        "authorization",
        "cookie",
        "signature",
        "key",
        "api",
        "access",
        "of",
        "is",
        "missing",
        "answered:",
        "node:",
        "reason=timeout",
        "http://a.example:4646/v1/jobs",
        "403",
        "x-token",
        "SINK_HTTP_TOKEN",
        "Bearer",
        "10.0.0.1:8500",
    ]);
    let end = prop::sample::select(vec![" ", ", ", "; ", ". ", " (", ") ", "\n"]);
    prop::collection::vec((word, end), 0..40)
        .prop_map(|words| words.into_iter().map(|(word, end)| format!("{word}{end}")).collect())
}

proptest! {
    #[test]
    fn a_text_without_secrets_stays_as_it_is(text in ordinary_words()) {
        prop_assert_eq!(redacted(&text), text.as_str());
    }
}

/// Bytes that do harm when they are shown, and others.
fn outside() -> impl Strategy<Value = Vec<u8>> {
    let harmful = ["\u{1b}[2J", "\u{1b}]0;x\u{7}", "\r\n", "\u{202e}", "\u{2066}", "\u{2028}", "\u{2029}", "\u{9b}31m"];
    let more = ["\u{85}", "\u{feff}", "\u{200f}", "\0", "\t", "\u{7f}", "\u{e0041}", "ü", "…", "x", SECRET, "token="];
    let piece = prop_oneof![
        prop::sample::select([&harmful[..], &more[..]].concat()).prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
        "\\PC{0,30}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever comes, and wherever it is cut.
    #[test]
    fn what_is_shown_is_one_short_line_that_does_no_harm(bytes in outside(), most in 3_usize..200) {
        keep(SECRET);
        let text = shown(&bytes, most);
        prop_assert!(is_plain(&text) && text.len() <= most, "{} bytes: {text:?}", text.len());
        prop_assert!(!text.contains(SECRET));
    }

    /// Harmless text is shown as it is, up to the cut, which is between characters.
    #[test]
    fn harmless_text_is_shown_as_it_is(text in "[a-zäöü€ .]{0,300}", most in 3_usize..400) {
        keep(SECRET);
        let shown = shown(&text, most);
        if text.len() <= most {
            prop_assert_eq!(shown, text);
        } else {
            let start = shown.strip_suffix('…').expect("it was cut");
            prop_assert!(text.starts_with(start) && start.len() + 6 > most, "{}", shown);
        }
    }

    /// Programs read the values that were written, and a terminal gets nothing harmful.
    #[test]
    fn escaped_json_is_the_same_value(bytes in outside()) {
        let text = String::from_utf8_lossy(&bytes);
        let value = serde_json::json!({ "a": text, "b": [text] });
        let escaped = escaped_json(&value.to_string());
        prop_assert!(is_plain(&escaped), "{}", escaped);
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("JSON"), value);
    }
}

#[test]
fn a_secret_that_the_cut_goes_through_is_hidden_whole() {
    keep("Qm7-a-secret-at-the-cut");
    for before in 0..60 {
        let text = format!("{}Qm7-a-secret-at-the-cut and more", "x".repeat(before));
        assert!(!shown(&text, 40).contains("Qm7"), "{}", shown(&text, 40));
    }
    assert_eq!(shown_lines("one\ntwo\u{202e}\r\nQm7-a-secret-at-the-cut"), "one\ntwo\u{fffd}\n[redacted]");
}
