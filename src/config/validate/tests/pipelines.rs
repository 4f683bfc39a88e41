use super::*;

const TWO: &str = "
nomad-addr = 'http://nomad:4646'
resources = 'jobs'
retry-max = '5s'

[pipeline.failed]
resources = ['allocations', 'evaluations']
sink_type = 'http'
retry-max = '7s'

[pipeline.failed.sink.http]
address = 'http://alerts'
headers = '${ALERTS}'

[pipeline.jobs]
";

#[track_caller]
fn pipelines(text: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<Pipeline> {
    let file = file(text);
    let arguments = [&["run", "--config", path(&file)], arguments].concat();
    load(&arguments, variables).expect("a valid configuration").0.pipelines
}

#[track_caller]
fn problems_of(text: &str) -> Vec<String> {
    let file = file(text);
    let all = problems(&["run", "--config", path(&file)], &[]);
    all.into_iter().map(|problem| problem.replace(path(&file), "FILE")).collect()
}

#[test]
fn each_table_is_a_pipeline_and_goes_before_what_was_given_for_all() {
    let variables = [("ALERTS", "authorization: Bearer hush"), ("NOMAD_FIREHOSE_RETRY_MAX", "6s")];
    let both = pipelines(TWO, &["--start=7"], &variables);
    let names: Vec<_> = both.iter().map(|pipeline| pipeline.name.as_ref().expect("a name").as_str()).collect();
    assert_eq!(names, ["failed", "jobs"]);
    let [failed, jobs] = both.as_slice() else { panic!("two") };
    assert_eq!((&*failed.kinds, &*jobs.kinds), (&[Kind::Allocations, Kind::Evaluations][..], &[Kind::Jobs][..]));
    assert_eq!((failed.sink.name(), jobs.sink.name()), ("http", "stdout"));
    // The table, then flags, then variables, then the file above the tables.
    assert_eq!((failed.retry_max.as_secs(), jobs.retry_max.as_secs()), (7, 6));
    assert_eq!((failed.start, jobs.start), (Start::Index(RaftIndex(7)), Start::Index(RaftIndex(7))));
    assert!(!format!("{both:?}").contains("hush"));
}

#[test]
fn each_pipeline_has_a_place_of_its_own() {
    let text = "resources = 'jobs'\ndead-letter = 'file:/x/dead'\n[pipeline.a]\n[pipeline.b]\nsink-type = 'http'\n\
                sink-http-address = 'http://b'\ndead-letter = 'file:/x/own'\n";
    let both = pipelines(text, &["--coordinator=file", "--data-dir=/data"], &[]);
    assert_eq!(both[0].coordinator, coordinator::Config::File { data_dir: "/data/pipelines/a".into() });
    assert_eq!(both[0].dead_letter, Place::File("/x/dead.a".into()));
    assert_eq!(both[1].dead_letter, Place::File("/x/own".into()));
    match &pipelines(text, &["--consul-prefix=x/"], &[])[1].coordinator {
        coordinator::Config::Consul(config) => assert_eq!(config.client.folder, "x/pipelines/b"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_wrong_with_a_table_is_named_with_it() {
    for (text, expected) in [
        (
            "[pipeline.A]\nresources='jobs'",
            "[pipeline.A] in FILE: no name of a pipeline; write 1 to 40 of a–z, 0–9 and -",
        ),
        ("pipeline = 3", "pipeline in FILE: write a table for each pipeline, such as [pipeline.web]"),
        (
            "[pipeline]\na = 3",
            "[pipeline.a] in FILE: write the settings of the pipeline as a table, such as [pipeline.web]",
        ),
        ("[pipeline.a]\nresource='jobs'", "resource of [pipeline.a] in FILE: no such setting; did you mean resources?"),
        (
            "[pipeline.a]\nresources='jobs'\nlog-level='info'",
            "log-level of [pipeline.a] in FILE (LOG_LEVEL): this setting is of the whole program; write it above the tables of \
             the pipelines",
        ),
        (
            "[pipeline.a]\nretry-max='1'\nresources='jobs'",
            "retry-max of [pipeline.a] in FILE (NOMAD_FIREHOSE_RETRY_MAX) is \"1\": ",
        ),
        ("[pipeline.a]", "NOMAD_FIREHOSE_RESOURCES (--resources): [pipeline.a] names no kinds to carry; "),
        (
            "nomad-token='${NO_SUCH}'\n[pipeline.a]\nresources='jobs'",
            "nomad-token in FILE (NOMAD_TOKEN): the variable NO_SUCH that it names is not set; ",
        ),
        (
            "resources='jobs'\n[pipeline.a]\n[pipeline.b]",
            "sink-type of [pipeline.b] (SINK_TYPE) is \"stdout\": only one pipeline can write to standard output",
        ),
    ] {
        let found = problems_of(text);
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{text}: {found:#?}");
    }
    // What is wrong for all is named once.
    let both = "[pipeline.a]\n[pipeline.b]\nsink-type='http'\nsink-http-address='http://b'";
    assert_eq!(problems_of(&format!("resources='jobs'\nretry-max='1'\n{both}")).len(), 1);
    let file = file(TWO);
    let one = problems(&["jobs", "--config", path(&file)], &[("ALERTS", "a: b")]);
    assert!(
        one[0].contains("it has [pipeline] tables, and jobs carries one kind; use `nomad-firehose run`"),
        "{one:?}"
    );
}

#[test]
fn a_table_that_says_the_same_is_the_same() {
    let read = |text: &str| pipelines(text, &[], &[]).remove(0);
    let one = read("resources='jobs'\n[pipeline.a]\nretry-max='1s'");
    let changed = |text: &str| one.changed(&read(text)).iter().map(|setting| setting.flag).collect::<Vec<_>>();
    assert_eq!(changed("resources='jobs'\nlog-level='debug'\n[pipeline.a]\nretry_max='1s'"), [""; 0]);
    assert_eq!(changed("resources='jobs'\n[pipeline.a]\nretry-max='2s'"), ["retry-max"]);
    assert_eq!(changed("resources='nodes'\n[pipeline.a]\nretry-max='1s'\njq='.'"), ["resources", "jq"]);
}

#[test]
fn what_needs_a_restart_stays_as_it_was_when_the_file_is_read_again() {
    let file = file("");
    let flags = Vec::new();
    let environment =
        Environment { variables: vec![("NOMAD_FIREHOSE_CONFIG".into(), path(&file).into())], exists: &|_| false };
    let write = |text: &str| std::fs::write(file.path(), text).expect("it can be written");
    let base = "resources='jobs'\ncoordinator='file'\ndata-dir='/one'\nlisten=':9090'\n";
    write(base);
    let first = crate::config::load(Wanted::Listed, &flags, &environment).expect("valid").0;
    write(&format!(
        "{}cluster='west'\nretry-max='1s'\nlog-level='debug'\n",
        base.replace("/one", "/two").replace("listen", "#")
    ));
    let again = crate::config::reload(Wanted::Listed, &flags, &environment, &first.shared).expect("valid");
    let names = |settings: &[&Setting]| settings.iter().map(|setting| setting.flag).collect::<Vec<_>>();
    assert_eq!(names(&again.ignored), ["data-dir", "cluster", "listen"]);
    let Settings { shared, pipelines } = again.settings;
    assert_eq!((shared.listen, shared.cluster.as_deref()), (Some(([0, 0, 0, 0], 9090).into()), None));
    assert_eq!(pipelines[0].coordinator, coordinator::Config::File { data_dir: "/one".into() });
    assert_eq!(names(&first.shared.changed(&shared)), ["log-level"]);
    assert_eq!(names(&first.pipelines[0].changed(&pipelines[0])), ["retry-max"]);
    // What would not start is a mistake, even where it is ignored.
    write(&base.replace(":9090", "nowhere"));
    let problems = crate::config::reload(Wanted::Listed, &flags, &environment, &first.shared).expect_err("invalid");
    assert!(problems.to_string().contains("listen"), "{problems}");
}

/// Both pipelines have the same ids: the second record would be dropped, and count as delivered.
#[test]
fn two_pipelines_with_the_same_records_and_a_target_that_drops_repeats_are_warned_of() {
    let nats = "sink-type='nats'\nsink-nats-url='nats://a'\nsink-nats-subject='n'\n";
    let fifo = "sink-type='sqs'\nsink-sqs-queue-name='q.fifo'\n";
    let standard = "sink-type='sqs'\nsink-sqs-queue-name='q'\n";
    for (above, first, second, is_warned) in [
        (nats, "resources='jobs,nodes'", "resources='evaluations,nodes'", true),
        (nats, "resources='jobs'", "resources='nodes'", false),
        (nats, "resources='nodes'", "resources='nodes'\nsink-nats-subject='other'", false),
        (nats, "resources='jobs'\nnomad-namespace='a'", "resources='jobs'\nnomad-namespace='b'", false),
        (nats, "resources='jobs'\nnomad-namespace='a'", "resources='jobs'\nnomad-namespace='b,a'", true),
        (fifo, "resources='jobs'", "resources='jobs'", true),
        (standard, "resources='jobs'", "resources='jobs'", false),
        ("sink-type='http'\nsink-http-address='http://a'\n", "resources='jobs'", "resources='jobs'", false),
    ] {
        if above.contains("sqs") && !cfg!(feature = "sqs") {
            continue;
        }
        let file = file(&format!("{above}[pipeline.a]\n{first}\n[pipeline.b]\n{second}"));
        let warnings = load(&["run", "--config", path(&file)], &[]).expect("valid").1;
        let found: Vec<_> = warnings.iter().filter(|warning| matches!(warning, Warning::SharedTarget { .. })).collect();
        assert_eq!(found.len(), usize::from(is_warned), "{above}{first} {second}: {warnings:?}");
        if let [warning] = found[..] {
            let (text, _) = warning.words();
            assert!(text.contains("the pipelines a and b write"), "{text}");
        }
    }
}

#[test]
fn each_pipeline_leaves_out_the_variables_of_all() {
    let text = TWO.replace("resources = 'jobs'", "resources = 'events'\ncoordinator = 'nomad'");
    for pipeline in pipelines(&text, &[], &[("ALERTS", "x: y")]) {
        let own = pipeline.own_variables.expect("Nomad coordinates");
        for path in ["events", "pipelines/failed/evaluations", "pipelines/jobs/events"] {
            assert!(own.have("default", &format!("nomad-firehose/{path}")), "{path}");
        }
    }
    assert!(pipelines(TWO, &[], &[("ALERTS", "x: y")]).iter().all(|pipeline| pipeline.own_variables.is_none()));
}
