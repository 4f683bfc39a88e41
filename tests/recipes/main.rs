//! Each recipe of `docs/recipes` does what its page shows.
//!
//! A page has one `toml` block with the table to copy, and `json` blocks with the messages that come out. The table is read
//! from the page and run on the recorded cluster, or, where the recording has no such event, on `tests/recipes/NAME.ndjson`:
//! lines of the event stream in the shape that Nomad's source gives them. What a program asks Nomad for (`$diff`, `$node`,
//! `$job`) comes from `tests/recipes/NAME.extra.json`.
//!
//! A page that does not show all messages says how many there are: `Of 44 messages, some:`.

#[path = "../common/mod.rs"]
mod common;
mod pages;
mod records;

use std::{
    fs::File,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nomad_firehose::{
    delivery::{self, Message},
    envelope,
    meta::{self, Origin},
    program::{self, Enrich, Extra, Patience, Surroundings},
    record::{Record, Time},
    rules,
    settings::ByteSize,
    telemetry::{Metrics, Status},
};
use serde_json::Value;

use self::{
    common::Setup,
    pages::{Recipe, recipes},
    records::Book,
};

/// What the program of a recipe asks Nomad for.
#[derive(Debug)]
struct Fixed(Extra);

impl Enrich for Fixed {
    fn extra<'a>(&'a self, _record: &'a Record) -> futures_util::future::BoxFuture<'a, Extra> {
        Box::pin(std::future::ready(self.0.clone()))
    }
}

fn origin() -> Origin {
    Origin { cluster: Some("prod".into()), region: Some("global".into()) }
}

fn extra(recipe: &Recipe) -> Extra {
    let path = format!("tests/recipes/{}.extra.json", recipe.name);
    let Ok(text) = std::fs::read(path) else { return Extra::default() };
    let all: Value = serde_json::from_slice(&text).expect("JSON");
    let of = |name: &str| all.get(name).map(|value| value.to_string().into());
    Extra { diff: of("diff"), node: of("node"), job: of("job") }
}

fn program(recipe: &Recipe) -> program::Config {
    let text = |key: &str| recipe.text(key).map(Arc::<str>::from);
    let (jq, by) = (text("jq"), text("by"));
    let checked = |code: &Arc<str>| program::check(code).unwrap_or_else(|fault| panic!("{}: {fault}", recipe.name));
    let uses = [&jq, &by].into_iter().flatten().fold(program::Uses::default(), |all, code| all.or(checked(code)));
    program::Config {
        redact: recipe.list("redact").iter().map(|path| path.parse().expect("a path")).collect(),
        memory: ByteSize::new(512 << 20),
        worker: env!("CARGO_BIN_EXE_nomad-firehose").into(),
        patience: Patience::default(),
        jq,
        by,
        uses,
    }
}

fn form(recipe: &Recipe) -> envelope::Form {
    match recipe.text("sink-envelope") {
        None => envelope::Form::None,
        Some("firehose") => envelope::Form::Firehose,
        Some("cloudevents") => envelope::Form::CloudEvents,
        Some(other) => panic!("{}: {other}", recipe.name),
    }
}

fn rule(recipe: &Recipe) -> Option<rules::Config> {
    let every = humantime::parse_duration(recipe.text("every")?).expect("a duration");
    Some(rules::Config { every, at_least: recipe.number("at-least").expect("it belongs to every") })
}

/// Moves the times of the records so that the last one is of now: a rule counts nothing that is long past.
fn bring_up_to_date(records: &mut [Record]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let times: Vec<_> = records.iter().map(|record| meta::time(record).map_or(0, Time::nanoseconds)).collect();
    let last = times.iter().max().copied().unwrap_or_default();
    for (record, time) in records.iter_mut().zip(times) {
        let time = now.saturating_sub(Duration::from_nanos(last - time));
        record.time = u64::try_from(time.as_nanos()).ok().and_then(Time::new);
    }
}

/// The messages of a recipe, each after its stages.
async fn messages(recipe: &Recipe) -> Vec<Value> {
    let kinds = recipe.kinds();
    let (metrics, status) = (Metrics::new(&kinds), Status::new(&kinds));
    let (next, mut intake) = delivery::stage(1);
    let mut next = envelope::spawn(form(recipe), origin(), next);
    let rule = rule(recipe);
    if let Some(config) = rule {
        next = rules::spawn(config, metrics.clone(), next);
    }
    let surroundings =
        Surroundings { dead_letters: Default::default(), metrics, status: status.clone(), origin: origin() };
    let way_in = program::spawn(program(recipe), surroundings, Some(Arc::new(Fixed(extra(recipe)))), next);
    let book = Book::default();
    let mut records = book.records(&recipe.lines(), &kinds);
    if rule.is_some() {
        bring_up_to_date(&mut records);
    }
    let expected = records.len();
    let submitted = tokio::spawn(async move {
        way_in.submit(records).await.expect("it runs");
        way_in.drain().await.ok();
    });
    let mut messages = Vec::new();
    while let Some(message) = intake.next().await {
        let Message::Records(records) = message else { break };
        for record in records {
            messages.push(serde_json::from_slice(&record.body).expect("JSON"));
            record.ack.delivered();
        }
    }
    submitted.await.expect("no panic");
    assert_eq!(book.acknowledged(), expected, "{}: a record of the recording has stopped its program", recipe.name);
    messages
}

/// Whether `some` are among `all`, in this order.
fn are_among(some: &[Value], all: &[Value]) -> bool {
    let mut all = all.iter();
    some.iter().all(|message| all.any(|other| other == message))
}

fn show(messages: &[Value]) -> String {
    messages.iter().map(|message| format!("{}\n", serde_json::to_string_pretty(message).expect("JSON"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recipe_gives_the_messages_of_its_page() {
    let mut wrong = Vec::new();
    for recipe in recipes() {
        let messages = messages(&recipe).await;
        let shown = recipe.messages.len();
        let is_right = match recipe.count {
            None => messages == recipe.messages,
            Some(count) => messages.len() == count && are_among(&recipe.messages, &messages),
        };
        if shown == 0 || !is_right {
            let all = show(&messages[..messages.len().min(9)]);
            wrong.push(format!("{}: {} messages come out:\n{all}", recipe.name, messages.len()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What people get has a text, and the severities that the sinks know.
#[test]
fn messages_for_people_have_the_shape_that_their_sinks_read() {
    for recipe in recipes().iter().filter(|recipe| is_for_people(recipe)) {
        for message in &recipe.messages {
            let name = &recipe.name;
            assert!(message["text"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
            let severity = message["severity"].as_str().unwrap_or_default();
            assert!(["info", "ok", "warning", "error", "critical"].contains(&severity), "{name}: {severity}");
            assert!(
                message["fields"].as_object().is_some_and(|fields| fields.values().all(Value::is_string)),
                "{name}"
            );
            assert!(message["title"].is_string() && message["key"].is_string(), "{name}");
        }
    }
}

fn is_for_people(recipe: &Recipe) -> bool {
    let sink = recipe.text("sink-type").expect("a sink");
    ["slack", "discord", "teams", "pagerduty", "smtp"].contains(&sink)
}

/// All tables together are a valid configuration: with one mistake beside them, that one is the only problem.
#[test]
fn the_program_takes_every_table() {
    let directory = tempfile::tempdir().expect("a directory");
    let (code, _, log) = with_every_table(&["run", "--log-level=loud"], directory.path()).output();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("loud") && !log.contains("problems"), "{log}");
}

/// The program with these arguments, and with a configuration file in `directory` that has the tables of all pages.
fn with_every_table(arguments: &[&str], directory: &Path) -> Setup {
    let path = directory.join("recipes.toml");
    let file: String = recipes().iter().map(|recipe| recipe.source.as_str()).collect();
    std::fs::write(&path, file).expect("writable");
    Setup::bare(arguments)
        .env("NOMAD_FIREHOSE_CONFIG", &path)
        .env("NOMAD_FIREHOSE_COORDINATOR", "none")
        .env("SLACK_URL", "https://hooks.slack.com/services/T0/B0/secret")
        .env("PAGERDUTY_ROUTING_KEY", "0123456789abcdef0123456789abcdef")
        .env("RABBITMQ_URL", "amqp://localhost")
        .env("MONITOR_URL", "https://monitor.example.com/ping")
}

/// Recipes whose messages `try` cannot show from a file alone, and why.
const MORE_THAN_A_PROGRAM: [(&str, &str); 4] = [
    ("batch-job", "a job's summary is read from Nomad"),
    ("image-change", "the diff is read from Nomad"),
    ("overview", "an envelope comes after the program"),
    ("restart-loop", "counting comes after the program"),
];

#[test]
fn try_shows_the_messages_of_the_pages() {
    let directory = tempfile::tempdir().expect("a directory");
    let is_tried = |recipe: &Recipe| MORE_THAN_A_PROGRAM.iter().all(|(name, _)| *name != recipe.name);
    for recipe in recipes().into_iter().filter(is_tried) {
        let input = directory.path().join("input.ndjson");
        std::fs::write(&input, recipe.lines().join("\n")).expect("writable");
        let arguments = ["try", "--pipeline", &recipe.name, "--output", "json"];
        let mut command = with_every_table(&arguments, directory.path()).command();
        let output = command.stdin(File::open(&input).expect("written")).output().expect("it starts");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let shown = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let shown = shown.flat_map(|record| record["out"].as_array().cloned().unwrap_or_default());
        let shown: Vec<Value> = shown.map(|mut out| out["body"].take()).collect();
        assert!(are_among(&recipe.messages, &shown), "{}: {text}", recipe.name);
    }
}

/// What leaves the company has no values of the environment and no secrets, whatever the program takes.
#[test]
fn what_leaves_the_company_is_redacted() {
    for recipe in recipes() {
        if is_for_people(&recipe) || recipe.text("sink-type") == Some("http") {
            let redacted = recipe.list("redact");
            assert!(
                ["..Env", "..*Secret*", "..*Password*"].iter().all(|path| redacted.contains(path)),
                "{}: {redacted:?}",
                recipe.name
            );
        }
    }
}

#[test]
fn the_index_has_a_link_to_every_page() {
    let index = std::fs::read_to_string("docs/recipes/README.md").expect("the index is there");
    for recipe in recipes() {
        assert!(index.contains(&format!("]({}.md)", recipe.name)), "{}", recipe.name);
        assert_eq!(recipe.table_name, recipe.name, "the table has the page's name");
        assert!(Path::new("docs/recipes").join(format!("{}.md", recipe.name)).is_file());
    }
}
