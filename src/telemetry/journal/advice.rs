//! What to do about an event of the log: from the reference of the log, `docs/logs.md`, which a test compares with the code.

use std::{collections::BTreeMap, sync::LazyLock};

const REFERENCE: &str = include_str!("../../../docs/logs.md");

/// By the event.
static ADVICE: LazyLock<BTreeMap<&'static str, String>> = LazyLock::new(|| REFERENCE.lines().filter_map(row).collect());

/// What to do about `event`; `None` where nothing can be done, or the event's own fields say it all.
pub(super) fn of(event: &str) -> Option<&'static str> {
    let advice = ADVICE.get(event)?.as_str();
    let is_empty = advice == "Nothing." || (advice.starts_with("See ") && advice.len() < 20);
    (!is_empty).then_some(advice)
}

/// `` | `event` | level | meaning | what to do | ``
fn row(line: &'static str) -> Option<(&'static str, String)> {
    let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ");
    let (event, _level, _meaning) = (cells.next()?.strip_suffix('`')?, cells.next()?, cells.next()?);
    Some((event, plain(cells.next()?)))
}

/// Markdown as plain text: links keep their words, code its letters.
fn plain(markdown: &str) -> String {
    let (mut out, mut rest) = (String::new(), markdown);
    while let Some((before, link)) = rest.split_once('[') {
        let Some((words, after)) =
            link.split_once("](").and_then(|(words, target)| Some((words, target.split_once(')')?.1)))
        else {
            break;
        };
        out += before;
        out += words;
        rest = after;
    }
    (out + rest).replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_gives_advice() {
        assert!(ADVICE.len() > 50, "{}", ADVICE.len());
        assert!(of("gap detected").is_some_and(|advice| advice.contains("event_buffer_size")));
        assert_eq!(of("backfill finished"), None);
        assert_eq!(of("no such event"), None);
        assert_eq!(plain("Turn `off` it: [polling.md](polling.md#x), or [b](c)."), "Turn off it: polling.md, or b.");
        assert!(ADVICE.values().all(|advice| !advice.contains("](") && !advice.contains('`')));
    }
}
