//! What stands in the configuration file.

use super::*;

#[test]
fn the_file_refuses_unknown_keys_with_the_nearest_name() {
    let file = file("strat = 'now'\nconfig = 'x'\n[nomad]\nadress = 'http://a'\n[sink]\ntype = ['stdout']\n");
    let problems = problems(&["nodes", "--config", path(&file)], &[]);
    assert_eq!(problems.len(), 4, "{problems:#?}");
    for needle in
        ["did you mean start?", "config in", "did you mean nomad-addr?", "the value is a list; write one value"]
    {
        assert!(problems.iter().any(|problem| problem.contains(needle)), "{needle}: {problems:#?}");
    }
}

#[test]
fn a_file_takes_numbers_switches_and_lists() {
    let file = file(
        "start = 7\ntopic = ['Job:a,b', 'Node']\nmax-in-flight = 65536\n[nomad]\nskip-verify = true\naddr = ['http://a', 'http://b']\n",
    );
    let settings = settings(&["events", "--config", path(&file)], &[]);
    assert_eq!(
        (settings.pipelines[0].start, settings.pipelines[0].max_in_flight),
        (Start::Index(RaftIndex(7)), 65_536)
    );
    assert_eq!(settings.pipelines[0].topics[0].key.as_deref(), Some("a,b"));
    assert!(settings.shared.nomad.tls.skip_verify);
    assert_eq!(shown(&settings.shared.nomad.addresses), ["http://a", "http://b"]);
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let problems = problems(&["nodes", "--config=/does/not/exist.toml"], &[]);
    assert!(
        problems[0].starts_with("--config (NOMAD_FIREHOSE_CONFIG) is \"/does/not/exist.toml\": cannot read the file:")
    );
}
