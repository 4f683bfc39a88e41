//! Which evidence tells clusters apart.

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_000;

fn identity(region: &str, label: &str, keys: &[&str], until: u64) -> Identity {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Identity { region: some(region), label: some(label), keys, until }
}

#[test]
fn only_what_both_have_and_what_differs_refuses() {
    let other = |difference| Verdict::Other(difference);
    let region = || Difference::Region { stored: "eu".to_owned(), ours: "us".to_owned() };
    let label = || Difference::Label { stored: "a".to_owned(), ours: "b".to_owned() };
    let same = |renamed| Verdict::Same { renamed };
    let cases = [
        ("regions differ", ("eu", "", &[][..], 0), ("us", "", &[][..], 0), other(region())),
        ("a snapshot in another region", ("eu", "", &["k"], 2_000), ("us", "", &["k"], 2_000), other(region())),
        ("one region is not known", ("eu", "", &[], 0), ("", "", &[], 0), Verdict::Unknown),
        ("one region, and no more", ("eu", "", &[], 0), ("eu", "", &[], 0), Verdict::Unknown),
        ("labels differ", ("", "a", &[], 0), ("", "b", &[], 0), other(label())),
        ("labels differ, keys are out of date", ("", "a", &["k"], 9), ("", "b", &["l"], 2_000), other(label())),
        ("a label was changed", ("eu", "a", &["k"], 9), ("eu", "b", &["k"], 2_000), same(true)),
        ("a label was taken away", ("eu", "a", &[], 0), ("eu", "", &[], 0), Verdict::Unknown),
        ("keys differ", ("global", "", &["k", "l"], 2_000), ("global", "", &["m"], 2_000), other(Difference::Keys)),
        ("keys differ, one label", ("", "a", &["k"], 2_000), ("", "a", &["m"], 2_000), other(Difference::Keys)),
        ("stored keys are out of date", ("global", "", &["k"], NOW), ("global", "", &["m"], 2_000), Verdict::Unknown),
        ("our keys are out of date", ("global", "", &["k"], 2_000), ("global", "", &["m"], NOW), Verdict::Unknown),
        ("keys are not known", ("global", "", &["k"], 2_000), ("global", "", &[], 2_000), Verdict::Unknown),
        ("keys were rotated", ("global", "", &["l", "k"], 2_000), ("global", "", &["m", "l"], 2_000), same(false)),
        ("an old key is enough", ("global", "", &["l", "k"], 9), ("global", "", &["k"], 9), same(false)),
        ("nothing is known", ("", "", &[], 0), ("", "", &[], 0), Verdict::Unknown),
    ];
    for (what, stored, ours, expected) in cases {
        let of = |(region, label, keys, until): (&str, &str, &[&str], u64)| identity(region, label, keys, until);
        assert_eq!(of(ours).verdict(&of(stored), NOW), expected, "{what}");
    }
}

#[test]
fn what_was_known_stays_known() {
    let stored = identity("eu", "a", &["k", "j"], 2_000);
    // Nomad did not answer: everything except the label stays.
    assert_eq!(Identity::default().after(&stored), identity("eu", "", &["k", "j"], 2_000));
    assert_eq!(identity("eu", "b", &["l", "k"], 3_000).after(&stored), identity("eu", "b", &["l", "k", "j"], 3_000));
    // Another history.
    assert_eq!(identity("eu", "", &["m"], 3_000).after(&stored), identity("eu", "", &["m"], 3_000));
}

#[test]
fn keys_are_remembered_up_to_a_bound() {
    let mut identity = Identity::default();
    for n in 0..100 {
        identity.take_keys(vec![format!("{}", n + 1), format!("{n}")], n);
    }
    assert_eq!((identity.keys.len(), identity.keys[0].as_str(), identity.until), (KEYS_KEPT, "100", 99));
    identity.take_keys(vec!["another".to_owned()], 7);
    assert_eq!(identity.keys, ["another"]);
}

#[test]
fn what_cannot_be_read_is_no_evidence() {
    #[derive(Deserialize)]
    struct Around {
        #[serde(default, deserialize_with = "lenient")]
        cluster: Option<Identity>,
    }
    for text in [r#"{}"#, r#"{"cluster":7}"#, r#"{"cluster":null}"#, r#"{"cluster":{"keys":{"a":1}}}"#] {
        let around: Around = serde_json::from_str(text).expect("readable");
        assert_eq!(around.cluster, None, "{text}");
    }
    let newer: Around = serde_json::from_str(r#"{"cluster":{"region":"eu","id":"x"}}"#).expect("readable");
    assert_eq!(newer.cluster, Some(identity("eu", "", &[], 0)));
}

fn any_identity() -> impl Strategy<Value = Identity> {
    let text = || prop::option::of("[ab]");
    (text(), text(), prop::collection::vec("[a-d]", 0..3), prop_oneof![Just(0), Just(2 * NOW)])
        .prop_map(|(region, label, keys, until)| Identity { region, label, keys, until })
}

proptest! {
    #[test]
    fn it_is_the_same_from_either_side(one in any_identity(), two in any_identity()) {
        let is_other = |verdict| matches!(verdict, Verdict::Other(_));
        let is_same = |verdict| matches!(verdict, Verdict::Same { .. });
        prop_assert_eq!(is_other(one.verdict(&two, NOW)), is_other(two.verdict(&one, NOW)));
        prop_assert_eq!(is_same(one.verdict(&two, NOW)), is_same(two.verdict(&one, NOW)));
    }

    #[test]
    fn nobody_is_another_cluster_than_itself(one in any_identity()) {
        prop_assert!(!matches!(one.verdict(&one, NOW), Verdict::Other(_)));
    }

    /// Without some of the evidence, it never looks like another cluster.
    #[test]
    fn what_is_missing_never_refuses(one in any_identity(), two in any_identity()) {
        let poorer = [
            Identity { region: None, ..one.clone() },
            Identity { label: None, ..one.clone() },
            Identity { until: 0, ..one.clone() },
        ];
        for poor in poorer {
            if !matches!(one.verdict(&two, NOW), Verdict::Other(_)) {
                prop_assert!(!matches!(poor.verdict(&two, NOW), Verdict::Other(_)));
            }
        }
        prop_assert_eq!(Identity::default().verdict(&two, NOW), Verdict::Unknown);
    }

    /// The replica that stored an identity never takes it for another cluster's.
    #[test]
    fn who_goes_on_can_go_on_again(one in any_identity(), stored in any_identity()) {
        if !matches!(one.verdict(&stored, NOW), Verdict::Other(_)) {
            prop_assert!(!matches!(one.verdict(&one.after(&stored), NOW), Verdict::Other(_)));
        }
    }
}
