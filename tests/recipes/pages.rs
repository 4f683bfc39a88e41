//! Reads the pages of the recipes.

use nomad_firehose::kind::Kind;
use serde_json::Value;

/// A page.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// The name of the table.
    pub(crate) table_name: String,
    table: toml::Table,
    /// The table as the page has it.
    pub(crate) source: String,
    /// The messages that the page shows.
    pub(crate) messages: Vec<Value>,
    /// How many there are, where it does not show all.
    pub(crate) count: Option<usize>,
}

/// All of them, by name.
pub(crate) fn recipes() -> Vec<Recipe> {
    let entries = std::fs::read_dir("docs/recipes").expect("the pages are there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    let only = std::env::var("RECIPE").ok();
    let pages = paths.iter().filter_map(|path| {
        let name = path.file_stem()?.to_str()?;
        let is_wanted = name != "README" && only.as_ref().is_none_or(|only| only == name);
        is_wanted.then(|| Recipe::read(name, &std::fs::read_to_string(path).expect("a page")))
    });
    pages.collect()
}

impl Recipe {
    fn read(name: &str, page: &str) -> Self {
        let [source] = blocks(page, "toml")[..] else { panic!("{name}: the page has one table to copy") };
        let mut file: toml::Table = source.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let Some(toml::Value::Table(pipelines)) = file.remove("pipeline") else { panic!("{name}: no [pipeline.NAME]") };
        assert!(file.is_empty() && pipelines.len() == 1, "{name}: one table, and nothing beside it");
        let (table_name, table) = pipelines.into_iter().next().expect("there is one");
        let toml::Value::Table(table) = table else { panic!("{name}: no table") };
        let messages = blocks(page, "json").into_iter().flat_map(|block| {
            let values = serde_json::Deserializer::from_str(block).into_iter::<Value>();
            values.map(|value| value.unwrap_or_else(|error| panic!("{name}: {error}")))
        });
        let count = page.split_once("Of ").and_then(|(_, rest)| rest.split_once(" messages"));
        let count = count.and_then(|(count, _)| count.parse().ok());
        let source = format!("{source}\n");
        Recipe { name: name.to_owned(), table_name, table, source, messages: messages.collect(), count }
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.table.get(key).map(|value| value.as_str().unwrap_or_else(|| panic!("{}: {key} is no text", self.name)))
    }

    pub(crate) fn number(&self, key: &str) -> Option<usize> {
        self.table.get(key)?.as_integer().and_then(|number| usize::try_from(number).ok())
    }

    pub(crate) fn list(&self, key: &str) -> Vec<&str> {
        let values = self.table.get(key).and_then(toml::Value::as_array).into_iter().flatten();
        values.map(|value| value.as_str().expect("a text")).collect()
    }

    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let named = self.list("resources");
        Kind::ALL.into_iter().filter(|kind| named.contains(&kind.name()) || named.contains(&"all")).collect()
    }

    /// The lines of the stream that it runs on.
    pub(crate) fn lines(&self) -> Vec<String> {
        let own = std::fs::read_to_string(format!("tests/recipes/{}.ndjson", self.name));
        let recording = || std::fs::read_to_string("tests/fixtures/nomad-2.0.5/stream-complete.ndjson");
        let text = own.or_else(|_| recording()).expect("the recording is there");
        text.lines().filter(|line| *line != "{}").map(str::to_owned).collect()
    }
}

/// The blocks of a page in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let parts = page.split("\n```").collect::<Vec<_>>();
    let code = parts.iter().skip(1).step_by(2);
    code.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}
