use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

fn setup(jq: &str, by: Option<&str>) -> Setup {
    Setup { parent: 0, jq: Some(jq.to_owned()), by: by.map(str::to_owned), redact: Vec::new(), memory: 0 }
}

fn answered(runner: &mut Runner, body: &str) -> Answer {
    let mut out = Vec::new();
    runner.answer(&Question { body: body.as_bytes(), ..Question::default() }, &mut out);
    frame::take_answer(&mut BytesMut::from(&out[..])).expect("an answer").expect("whole")
}

#[test]
fn what_is_not_read_is_not_parsed() {
    let mut runner = Runner::new(&setup("select(.a == 1), {b}", Some(".c"))).expect("a program");
    // A text that is no JSON where nobody looks.
    let body = r#"{"x":{"oops"},"a":1,"b":1.0,"c":"g"}"#;
    let bodies = vec![body.to_owned().into(), r#"{"b":1.0}"#.into()];
    assert_eq!(answered(&mut runner, body), Answer::Outputs { group: Some("g".to_owned()), bodies });
    let mut runner = Runner::new(&setup("keys", None)).expect("a program");
    assert!(matches!(answered(&mut runner, body), Answer::Failed(_)));
}

/// Programs of which some show what they read, and some do not.
fn programs() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("."),
        Just(".a"),
        Just(".b.c"),
        Just(".d[0]?"),
        Just("1"),
        Just("\"x\""),
        Just("empty"),
        Just("null"),
        Just("length?"),
        Just(".[\"a\"]"),
        Just("keys?"),
        Just("$meta"),
        Just("error"),
        Just("..")
    ];
    leaf.prop_map(str::to_owned).prop_recursive(4, 16, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let three = (inner.clone(), inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| format!("({a} | {b})")),
            two.clone().prop_map(|(a, b)| format!("({a}, {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} // {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} == {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} and {b})")),
            two.clone().prop_map(|(a, b)| format!("(select({a}) | {b})")),
            two.clone().prop_map(|(a, b)| format!("{{a, x: {a}, \"y\": {b}}}")),
            two.clone().prop_map(|(a, b)| format!("({a} as $v | {b}, $v)")),
            two.clone().prop_map(|(a, b)| format!("(try {a} catch {b})")),
            two.clone().prop_map(|(a, b)| format!("any({a}; {b})")),
            two.prop_map(|(a, b)| format!("(if {a} then {b} end)")),
            three.prop_map(|(a, b, c)| format!("(if {a} then {b} else {c} end)")),
            inner.clone().prop_map(|a| format!("[{a}]")),
            inner.clone().prop_map(|a| format!("\"\\({a})\"")),
            inner.clone().prop_map(|a| format!("first({a})")),
            inner.prop_map(|a| format!("select({a})")),
        ]
    })
}

const BODIES: [&str; 5] = [
    r#"{"a":1,"b":{"c":[1,2]},"d":["x"],"e":null}"#,
    r#"{"z":9,"b":3,"a":false}"#,
    r#"{"a":{"a":2},"a":{"b":{"c":true}},"d":[[1.50]]}"#,
    r#"{}"#,
    r#"[1,{"a":2}]"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_part_of_the_record_gives_what_the_whole_gives(jq in programs(), by in prop::option::of(programs())) {
        let mut some = Runner::new(&setup(&jq, by.as_deref())).expect("a program");
        let mut whole = Runner::new(&setup(&jq, by.as_deref())).expect("a program");
        whole.keys = None;
        for body in BODIES {
            prop_assert_eq!(answered(&mut some, body), answered(&mut whole, body), "{} {:?} {}", jq, by, body);
        }
    }
}
