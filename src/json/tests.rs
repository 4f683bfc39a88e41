use proptest::prelude::*;
use serde_json::{Value, value::RawValue};

use super::*;

#[test]
fn a_text_is_taken_apart_where_it_is_asked_for() {
    let mut scanner =
        Scanner::new(r#" { "a" : [ 1 , {"x":"]}"} ] , "b":"\u00e4\"", "c":null,"d":true , "e": -1.5e3 } "#);
    scanner.object().expect("an object");
    assert_eq!(scanner.name(), Ok(Some("a")));
    scanner.array().expect("an array");
    assert_eq!(scanner.element(), Ok(true));
    assert_eq!(scanner.number(), Ok(1));
    assert_eq!(scanner.element(), Ok(true));
    assert_eq!(scanner.skip(), Ok(r#"{"x":"]}"}"#));
    assert_eq!(scanner.element(), Ok(false));
    assert_eq!(scanner.name(), Ok(Some("b")));
    assert_eq!(scanner.string().as_deref(), Ok("ä\""));
    assert_eq!(scanner.name(), Ok(Some("c")));
    assert_eq!(scanner.array_or_null(), Ok(false));
    assert_eq!(scanner.name(), Ok(Some("d")));
    assert_eq!(scanner.boolean(), Ok(true));
    assert_eq!(scanner.name(), Ok(Some("e")));
    assert_eq!(scanner.skip(), Ok("-1.5e3"));
    assert_eq!(scanner.name(), Ok(None));
    assert_eq!(scanner.end_of_text(), Ok(()));
}

#[test]
fn a_name_that_is_likely_to_come_is_passed_over() {
    let mut scanner = Scanner::new(r#"{"a":1,"b":2,"bc":3}"#);
    scanner.object().expect("an object");
    assert!(!scanner.passes(r#""a":"#), "the first one has no comma");
    assert_eq!((scanner.name(), scanner.number()), (Ok(Some("a")), Ok(1)));
    assert!(!scanner.passes(r#","bc":"#) && scanner.passes(r#","b":"#));
    assert_eq!(scanner.number(), Ok(2));
    assert!(scanner.passes(r#","bc":"#));
    assert_eq!((scanner.number(), scanner.name()), (Ok(3), Ok(None)));
}

#[test]
fn what_is_no_value_is_not_passed_over() {
    for text in [
        "", " ", "x", "nul", "nulll", "tru", "01", "1.", "-", "1e", "+1", ".5", "\"", "\"a", "\"\\\"", "{", "[1", "]",
        ",",
    ] {
        assert!(Scanner::new(text).skip().is_err(), "{text:?}");
    }
    for text in ["{\"a\" 1}", "{\"a\":1 \"b\":2}", "{a:1}", "{\"a\":1,}", "{,}"] {
        assert!(all_names(text).is_err(), "{text:?}");
    }
}

fn all_names(text: &str) -> Result<usize, Error> {
    let mut scanner = Scanner::new(text);
    scanner.object()?;
    let mut names = 0;
    while scanner.name()?.is_some() {
        scanner.skip()?;
        names += 1;
    }
    scanner.end_of_text().map(|()| names)
}

#[test]
fn an_error_says_what_was_expected_where() {
    let error = Scanner::new(r#"["#).skip().expect_err("no end");
    assert_eq!(error.to_string(), "expected the end of an object or array at byte 1");
}

/// Reads the whole text, value by value, and returns it as a parser would.
fn walked(scanner: &mut Scanner<'_>) -> Result<Value, Error> {
    scanner.blanks();
    Ok(match scanner.peek() {
        Some(b'{') => {
            scanner.object()?;
            let mut members = serde_json::Map::new();
            while let Some(name) = scanner.name()? {
                let name: String = serde_json::from_str(&format!("\"{name}\"")).expect("escapes as they came");
                members.insert(name, walked(scanner)?);
            }
            Value::Object(members)
        }
        Some(b'[') => {
            scanner.array()?;
            let mut elements = Vec::new();
            while scanner.element()? {
                elements.push(walked(scanner)?);
            }
            Value::Array(elements)
        }
        Some(b'"') => Value::String(scanner.string()?.into_owned()),
        _ => serde_json::from_str(scanner.skip()?).expect("a word or a number"),
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        "[\"\\\\\\[\\]{},:a-c\u{e9}\n ]{0,90}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[\"\\\\}a]{0,20}", inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_walk_finds_what_a_parser_finds(value in value(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("plain data");
        let mut scanner = Scanner::new(&text);
        prop_assert_eq!(walked(&mut scanner)?, value);
        prop_assert_eq!(scanner.end_of_text(), Ok(()));
    }

    #[test]
    fn what_is_passed_over_is_what_a_parser_takes_for_one_value(values in prop::collection::vec(value(), 0..6)) {
        let text = serde_json::to_string(&values).expect("plain data");
        let raw: Vec<&RawValue> = serde_json::from_str(&text).expect("just written");
        let mut scanner = Scanner::new(&text);
        scanner.array()?;
        for raw in raw {
            prop_assert!(scanner.element()?);
            prop_assert_eq!(scanner.skip()?, raw.get());
        }
        prop_assert!(!scanner.element()?);
    }

    #[test]
    fn a_text_that_is_cut_anywhere_is_no_value(value in value(), cut in any::<prop::sample::Index>()) {
        let text = serde_json::to_string(&value).expect("plain data");
        let is_word = !text.starts_with(['{', '[', '"']);
        let cut = cut.index(text.len());
        prop_assume!(!is_word && text.is_char_boundary(cut));
        prop_assert!(Scanner::new(&text[..cut]).skip().is_err());
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[\\[\\]{},:\"\\\\ a1\u{e9}]{0,200}") {
        let _skipped = Scanner::new(&text).skip();
        let mut scanner = Scanner::new(&text);
        // What a parser accepts, the scanner accepts, too.
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            prop_assert_eq!(walked(&mut scanner)?, value);
        }
    }
}
