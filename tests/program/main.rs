//! Programs in their real process: what they make of records, and how the stage takes the ends of that process.

mod enriched;
mod faults;
mod held;
mod parent;
mod support;

use nomad_firehose::kind::Kind;

use self::support::Bench;

#[tokio::test]
async fn records_keep_their_order_and_ids_and_are_acknowledged() {
    let code = "if .n % 3 == 0 then empty elif .n % 3 == 1 then . else {n, first: true}, {n} end";
    let mut bench = Bench::of(code);
    let numbers: Vec<u64> = (1..=2000).collect();
    for chunk in numbers.chunks(100) {
        bench.submit(chunk.iter().map(|n| format!("{{\"pad\":\"{}\",\"n\":{n}}}", "x".repeat(300)))).await;
    }
    let mut expected = Vec::new();
    for n in numbers {
        let id = format!("a/{n}");
        match n % 3 {
            0 => {}
            1 => expected.push((id, format!("{{\"pad\":\"{}\",\"n\":{n}}}", "x".repeat(300)))),
            _ => {
                expected.push((format!("{id}/0"), format!("{{\"n\":{n},\"first\":true}}")));
                expected.push((format!("{id}/1"), format!("{{\"n\":{n}}}")));
            }
        }
    }
    assert_eq!(bench.drained().await, expected);
    assert_eq!(bench.acknowledged(), 2000);
    let filtered = bench.metrics.encode().expect("text");
    assert!(filtered.contains(&format!("records_filtered_total{{kind=\"{}\"}} 666", Kind::Jobs)), "{filtered}");
}

#[tokio::test]
async fn large_numbers_and_the_order_of_keys_survive_a_program() {
    let body = r#"{"z":{"ModifyTime":1700000000123456789,"b":18446744073709551615},"a":1.10,"m":[1e3]}"#;
    let mut bench = Bench::of("{copy: .z, a, m} | .copy.new = 1");
    bench.submit([body.to_owned()]).await;
    let expected = r#"{"copy":{"ModifyTime":1700000000123456789,"b":18446744073709551615,"new":1},"a":1.10,"m":[1e3]}"#;
    assert_eq!(bench.drained().await, [("a/1".to_owned(), expected.to_owned())]);
}

#[tokio::test]
async fn values_are_redacted_before_both_programs_and_in_a_record_that_none_sees() {
    let mut bench = Bench::with(|config| {
        config.jq = Some("if .plain then . else {seen: .Env} end".into());
        config.by = Some(".Meta.password".into());
        config.redact = ["..Env", ".Meta.password"].map(|path| path.parse().expect("a path")).to_vec();
    });
    bench
        .submit([r#"{"Env":{"A":"hunter2"},"Meta":{"password":"x"}}"#, r#"{"plain":1,"T":[{"Env":"hunter2"}]}"#])
        .await;
    let arrived = bench.drained().await;
    assert_eq!(arrived[0].1, r#"{"seen":"[redacted]"}"#);
    assert_eq!(arrived[1].1, r#"{"plain":1,"T":[{"Env":"[redacted]"}]}"#);
    assert_eq!(bench.groups, [Some("[redacted]".to_owned()), Some("null".to_owned())]);
}

#[tokio::test]
async fn a_group_is_what_the_source_record_says() {
    let mut bench = Bench::with(|config| {
        config.jq = Some("{text: \"x\"}, 1".into());
        config.by = Some("if .job then .job else {n} end".into());
    });
    bench.submit([r#"{"job":"web"}"#, r#"{"n":[1]}"#]).await;
    bench.drained().await;
    let [web, other] = ["web", "{\"n\":[1]}"].map(|group| Some(group.to_owned()));
    assert_eq!(bench.groups, [web.clone(), web, other.clone(), other]);
}

#[tokio::test]
async fn a_program_sees_what_is_known_of_the_record() {
    let mut bench = Bench::of("[$meta.kind, $meta.id, $meta.cluster, $meta.index, $diff, $node, $job]");
    bench.submit(["{}"]).await;
    assert_eq!(bench.drained().await[0].1, r#"["jobs","a/1","prod",1,null,null,null]"#);
}

#[tokio::test]
async fn the_error_of_a_program_makes_a_dead_letter_without_the_record() {
    let mut bench = Bench::of("if .n == 2 then .secret.x elif .n == 4 then error(\"no \" + .why) else .n end");
    bench
        .submit([
            r#"{"n":1}"#,
            r#"{"n":2,"secret":"hunter2"}"#,
            r#"{"n":3}"#,
            r#"{"n":4,"why":"reason"}"#,
            r#"{"n":5}"#,
        ])
        .await;
    let bodies: Vec<_> = bench.drained().await.into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, ["1", "3", "5"]);
    assert_eq!(bench.acknowledged(), 5);
    let letters = bench.letters();
    assert_eq!(letters.iter().map(|letter| &*letter.0).collect::<Vec<_>>(), ["a/2", "a/4"]);
    assert_eq!(letters[0].1, "cannot index a string with \"x\"");
    assert_eq!(letters[1].1, "the program failed: no reason");
}

#[tokio::test]
async fn large_records_pass_in_both_directions() {
    let mut bench = Bench::of("if .n > 2 then .text + .text else {text, n} end");
    let text = "y".repeat(5 << 20);
    bench.submit((1..=4).map(|n| format!("{{\"text\":\"{text}\",\"n\":{n}}}"))).await;
    let sizes: Vec<_> = bench.drained().await.into_iter().map(|(_, body)| body.len()).collect();
    assert_eq!(sizes, [text.len() + 17, text.len() + 17, text.len() * 2 + 2, text.len() * 2 + 2]);
}
