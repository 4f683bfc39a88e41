//! The rows of the page.

/// A row: `` | `event` | level | meaning | what to do | ``.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) line: usize,
    /// The section, which is a module.
    pub(crate) module: String,
    pub(crate) event: String,
    /// In the order of the alphabet, where there are several.
    pub(crate) levels: String,
    pub(crate) malformed: Option<&'static str>,
}

impl Row {
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.module, &self.event)
    }
}

/// The rows of the tables whose first column is called `Event`.
pub(crate) fn rows(page: &str) -> Vec<Row> {
    let (mut rows, mut module, mut in_table) = (Vec::new(), "", false);
    for (number, line) in page.lines().enumerate() {
        if let Some(name) = line.strip_prefix("## ") {
            module = name.trim();
        }
        in_table = line.starts_with("| Event |") || (in_table && line.starts_with('|'));
        if !in_table || line.starts_with("| Event |") || line.starts_with("|---") {
            continue;
        }
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let event = cells[0].strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
        let malformed = if cells.len() != 4 || cells.iter().any(|cell| cell.is_empty()) {
            Some("a row has four cells: event, level, meaning, what to do")
        } else if event.is_none() {
            Some("an event stands in backticks")
        } else {
            None
        };
        rows.push(Row {
            line: number + 1,
            module: module.to_owned(),
            event: event.unwrap_or(cells[0]).to_owned(),
            levels: cells.get(1).copied().unwrap_or_default().to_owned(),
            malformed,
        });
    }
    rows
}
