//! A line as the user sees it: colours, columns, or JSON.

use std::{fmt, time::Duration};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;

use crate::{
    headline::{Headline, Tone},
    kind::Kind,
    record::Record,
    redact::shown,
};

/// The column of subjects to begin with, unless that is more than a third of the screen.
const BEGIN: usize = 34;
/// The widest column of subjects. Longer ones push their text to the right.
const SUBJECT: usize = 44;
/// The columns that a text keeps, however long the rest is.
const TEXT: usize = 16;
/// The columns of a time of day.
const TIME: usize = 8;
/// The most bytes of a name in JSON.
const NAME: usize = 256;
/// A time in a body that is older belongs to an earlier change: Nomad keeps none of some changes.
const RECENT: Duration = Duration::from_secs(10);
/// The same where the body has the time of this very change: what is older still is a clock that is wrong, or a recording.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How lines look.
#[derive(Clone, Copy)]
pub struct Look {
    /// One JSON object in place of each line.
    pub json: bool,
    /// Colours, as of a terminal.
    pub colors: bool,
    /// The columns of the terminal; `None` if there is none.
    pub width: fn() -> Option<usize>,
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").field("json", &self.json).field("colors", &self.colors).finish_non_exhaustive()
    }
}

/// Writes lines.
pub(super) struct Pen {
    look: Look,
    zone: TimeZone,
    /// The widest subject so far.
    subject: usize,
}

#[derive(Serialize)]
struct Json<'a> {
    time: Option<&'a str>,
    kind: &'a str,
    index: u64,
    namespace: Option<String>,
    job: Option<String>,
    node: Option<String>,
    subject: &'a str,
    text: &'a str,
    tone: Tone,
}

impl Pen {
    pub(super) fn new(look: Look) -> Self {
        Pen { look, zone: TimeZone::system(), subject: 0 }
    }

    pub(super) fn is_json(&self) -> bool {
        self.look.json
    }

    /// The line of `record`, without a line break. `is_live` says that it arrives as it happens: a change without a time then shows
    /// when it arrived.
    pub(super) fn line(&mut self, record: &Record, headline: &Headline, is_live: bool) -> String {
        if self.look.json {
            return json(record, headline);
        }
        let namespace = match &*record.namespace {
            "" | "default" => String::new(),
            namespace => format!("in {}", shown(namespace, NAME)),
        };
        let time = self.time(record.kind, headline, is_live);
        self.paint(&time, headline, &namespace)
    }

    /// The time of day, and the day if it is not today.
    fn time(&self, kind: Kind, headline: &Headline, is_live: bool) -> String {
        let now = Timestamp::now();
        let told = headline.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        if told.is_none() && !is_live {
            return format!("{:TIME$}", "-");
        }
        // The body of a task event, an evaluation and a deployment has the time of this very change.
        let is_exact = !matches!(kind, Kind::Nodes | Kind::Events);
        let most = if is_exact { A_DAY } else { RECENT };
        let time = told.filter(|time| !is_live || time.duration_until(now).unsigned_abs() < most).unwrap_or(now);
        let (now, time): (Zoned, Zoned) = (now.to_zoned(self.zone.clone()), time.to_zoned(self.zone.clone()));
        let is_today = now.date() == time.date();
        time.strftime(if is_today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
    }

    fn paint(&mut self, time: &str, headline: &Headline, namespace: &str) -> String {
        let width = (self.look.width)();
        let subject = columns(&headline.subject);
        // Columns are for a screen. A file has no use for blanks.
        if let Some(width) = width {
            self.subject = self.subject.max(BEGIN.min(width / 3)).max(subject).min(SUBJECT);
        }
        let pad = " ".repeat(self.subject.saturating_sub(subject));
        let place = headline.place.as_ref().map(|place| format!("on {place}")).unwrap_or_default();
        let behind: String =
            [place.as_str(), namespace].iter().filter(|it| !it.is_empty()).map(|it| format!("  {it}")).collect();
        let Some(width) = width else {
            return self.colored(time, &headline.subject, &headline.text, &behind, headline.tone);
        };
        let before = columns(time) + 1 + subject + pad.len() + 2;
        let room = width.saturating_sub(before + columns(&behind));
        let is_narrow = room < TEXT && room < columns(&headline.text) || before + columns(&behind) > width;
        let (text, behind) = match is_narrow {
            // On a narrow screen, the text is worth more than the place.
            true => (cut(&headline.text, width.saturating_sub(before)), String::new()),
            false => (cut(&headline.text, room), behind),
        };
        let subject = cut(&headline.subject, width.saturating_sub(columns(time) + 1));
        let text = if before >= width { String::new() } else { text };
        let pad = if text.is_empty() { String::new() } else { pad };
        self.colored(time, &(subject + &pad), &text, &behind, headline.tone)
    }

    fn colored(&self, time: &str, subject: &str, text: &str, behind: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Quiet => "2",
            Tone::Good => "32",
            Tone::Notice => "36",
            Tone::Warning => "33",
            Tone::Bad => "1;31",
        };
        let paint = |code: &str, text: &str| match self.look.colors && !text.is_empty() {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        };
        let gap = if text.is_empty() { "" } else { "  " };
        format!("{} {}{gap}{}{}", paint("2", time), paint("1", subject), paint(code, text), paint("2", behind))
    }
}

fn json(record: &Record, headline: &Headline) -> String {
    let named = |text: &str| Some(shown(text, NAME)).filter(|text| !text.is_empty());
    let line = Json {
        time: headline.time.as_deref(),
        kind: record.kind.name(),
        index: record.index.0,
        namespace: named(&record.namespace),
        job: named(&record.job),
        node: headline.place.clone().or_else(|| named(&record.node)),
        subject: &headline.subject,
        text: &headline.text,
        tone: headline.tone,
    };
    serde_json::to_string(&line).expect("plain data")
}

/// The columns that a text takes on a terminal.
fn columns(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

fn width_of(c: char) -> usize {
    match c {
        // Marks upon the letter before.
        '\u{300}'..='\u{36f}' | '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        // East Asian letters, and pictures.
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' => 2,
        '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' => 2,
        '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// The start of a text, in at most `most` columns. A text that was cut ends with `…`.
fn cut(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let start = text.chars().take_while(|c| {
        let is_room = width_of(*c) <= left;
        left = left.saturating_sub(width_of(*c));
        is_room
    });
    let start: String = start.collect();
    if most == 0 { String::new() } else { format!("{}…", start.trim_end()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headline() -> Headline {
        let body = br#"{"JobID":"web","GroupName":"api","AllocationID":"3f2a81c0-5e36-5a1a-36c3-2886e3936197","TaskName":"nginx",
            "TaskEvent":{"Type":"Terminated","ExitCode":137,"Details":{"oom_killed":"true"}}}"#;
        Headline::of(Kind::Allocations, body).on("node-7")
    }

    fn pen(colors: bool, width: fn() -> Option<usize>) -> Pen {
        Pen { look: Look { json: false, colors, width }, zone: TimeZone::UTC, subject: 0 }
    }

    #[test]
    fn an_old_change_without_a_time_has_none() {
        let pen = pen(false, || None);
        let untimed = Headline { time: None, ..headline() };
        assert_eq!(pen.time(Kind::Jobs, &untimed, false), "-       ");
        assert_ne!(pen.time(Kind::Jobs, &untimed, true), "-       ");
        assert_eq!(
            pen.time(Kind::Jobs, &Headline { time: Some("2020-01-02T03:04:05Z".to_owned()), ..untimed }, false),
            "2020-01-02 03:04:05"
        );
    }

    #[test]
    fn a_line_fits_the_screen() {
        let line = |width: fn() -> Option<usize>| pen(false, width).paint("12:03:41", &headline(), "in team-a");
        let whole = "12:03:41 web/api 3f2a81c0 nginx  Terminated  exit 137  OOM killed  on node-7  in team-a";
        assert_eq!(line(|| None), whole);
        assert_eq!(line(|| Some(200)), whole.replace("nginx", &format!("nginx{}", " ".repeat(12))));
        assert_eq!(
            line(|| Some(80)),
            "12:03:41 web/api 3f2a81c0 nginx      Terminated  exit 137…  on node-7  in team-a"
        );
        assert_eq!(line(|| Some(60)), "12:03:41 web/api 3f2a81c0 nginx  Terminated  exit 137  OOM…");
        assert_eq!(line(|| Some(20)), "12:03:41 web/api 3f…");
    }

    #[test]
    fn subjects_of_a_screen_stand_in_a_column() {
        let mut pen = pen(false, || Some(100));
        pen.paint("12:03:41", &headline(), "");
        let node = Headline::of(Kind::Nodes, br#"{"Name":"node-7","Status":"ready"}"#);
        let wanted = format!("12:03:41 node node-7{}ready", " ".repeat(24));
        assert_eq!(pen.paint("12:03:41", &node, ""), wanted);
    }

    #[test]
    fn colours_are_only_around_the_words() {
        let line = pen(true, || None).paint("12:03:41", &headline(), "");
        assert!(line.contains("\u{1b}[1;31mTerminated  exit 137  OOM killed\u{1b}[0m"), "{line:?}");
        assert!(!pen(false, || None).paint("12:03:41", &headline(), "").contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen(subject in "\\PC{0,60}", text in "\\PC{0,200}", place in prop::option::of("\\PC{1,30}")) {
            let headline = Headline { time: None, subject, text, place, tone: Tone::Quiet };
            for width in [1, 9, 10, 20, 40, 80, 132] {
                let mut pen = pen(false, || None);
                pen.look.width = match width {
                    1 => || Some(1), 9 => || Some(9), 10 => || Some(10), 20 => || Some(20), 40 => || Some(40), 80 => || Some(80), _ => || Some(132),
                };
                let line = pen.paint("12:03:41", &headline, "in team-a");
                prop_assert!(columns(&line) <= width.max(9), "{} columns of {width}: {line:?}", columns(&line));
            }
        }
    }
}
