//! All combinations of the facets, compared with what has to be shown.

use super::*;

/// Some states of every facet.
struct Facet<State>(Vec<State>);

fn leases() -> Facet<Leadership> {
    let blocked = Leadership::Blocked { reason: "LEASE".to_owned() };
    Facet(vec![Leadership::Starting, Leadership::Standby, Leadership::Leading, Leadership::Stopped, blocked])
}

fn sources() -> Facet<Option<SourceState>> {
    Facet(vec![
        None,
        Some(SourceState::Connecting),
        Some(SourceState::Streaming),
        Some(SourceState::Polling { reason: None }),
        Some(SourceState::Polling { reason: Some("POLLS".to_owned()) }),
        Some(SourceState::Blocked { reason: "SOURCE".to_owned() }),
    ])
}

fn lists() -> Facet<ListState> {
    let slow = ListState::Slow { text: "SLOW".to_owned() };
    Facet(vec![ListState::Fine, slow, ListState::Failing { reason: "LIST".to_owned() }])
}

fn sinks() -> Facet<SinkState> {
    let retrying = SinkState::Retrying { reason: "SINK".to_owned() };
    Facet(vec![SinkState::Flowing, retrying, SinkState::Held { reason: "SINK".to_owned() }, SinkState::Suspended])
}

const DUTIES: [Duty; 3] = [Duty::Session, Duty::Watch, Duty::Renewal];

/// One combination, of two streams.
#[derive(Clone, Debug)]
struct All {
    lease: Leadership,
    sources: [Option<SourceState>; 2],
    list: ListState,
    sink: SinkState,
    faults: Vec<Duty>,
}

fn combinations() -> Vec<All> {
    let mut all = Vec::new();
    for lease in leases().0 {
        for one in sources().0 {
            for other in sources().0 {
                for list in lists().0 {
                    for sink in sinks().0 {
                        for set in 0..1 << DUTIES.len() {
                            let faults = (0..DUTIES.len()).filter(|n| set & (1 << n) != 0).map(|n| DUTIES[n]).collect();
                            let sources = [one.clone(), other.clone()];
                            all.push(All {
                                lease: lease.clone(),
                                sources,
                                list: list.clone(),
                                sink: sink.clone(),
                                faults,
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

impl All {
    /// Writes the facets of `kind`, beginning with the facet `first`.
    fn write(&self, status: &Status, kind: Kind, first: usize) {
        const FACETS: usize = 4;
        // The lease comes first: it clears what the streams reported under the last one.
        status.lease(kind, self.lease.clone());
        for facet in (0..FACETS).map(|n| (n + first) % FACETS) {
            match facet {
                0 => {
                    for (namespace, source) in ["a", "b"].into_iter().zip(&self.sources) {
                        if let Some(source) = source {
                            status.source(kind, namespace, source.clone());
                        }
                    }
                }
                1 => status.list(kind, "a", self.list.clone()),
                2 => status.sink(self.sink.clone()),
                _ => {
                    for duty in DUTIES {
                        status.coordinator(duty, self.faults.contains(&duty).then(|| format!("{duty:?}")));
                    }
                }
            }
        }
    }

    /// The word that is shown, and the parts of its text.
    fn expected(&self) -> (&'static str, Vec<String>) {
        let faults = |of: &[Duty]| -> Vec<String> {
            self.faults.iter().filter(|duty| of.contains(duty)).map(|duty| format!("{duty:?}")).collect()
        };
        let mut texts = match &self.lease {
            Leadership::Starting => return ("starting", Vec::new()),
            Leadership::Stopped => return ("stopped", Vec::new()),
            Leadership::Blocked { .. } => return ("blocked", vec!["LEASE".to_owned()]),
            Leadership::Standby => match faults(&[Duty::Session, Duty::Watch]) {
                none if none.is_empty() => return ("standby", none),
                some => return ("blocked", some),
            },
            Leadership::Leading => faults(&[Duty::Renewal]),
        };
        let streams: Vec<&SourceState> = self.sources.iter().flatten().collect();
        let is = |wanted: fn(&SourceState) -> bool| streams.iter().any(|state| wanted(state));
        if is(|state| matches!(state, SourceState::Blocked { .. })) {
            texts.push("SOURCE".to_owned());
        }
        if matches!(self.list, ListState::Failing { .. }) {
            texts.push("LIST".to_owned());
        }
        match self.sink {
            SinkState::Flowing => {}
            SinkState::Retrying { .. } | SinkState::Held { .. } => texts.push("SINK".to_owned()),
            SinkState::Suspended if self.faults.contains(&Duty::Renewal) => {}
            SinkState::Suspended => texts.push("the lease was not renewed".to_owned()),
        }
        if !texts.is_empty() {
            return ("blocked", texts);
        }
        if streams.is_empty() || is(|state| matches!(state, SourceState::Connecting)) {
            return ("leader, connecting to Nomad", texts);
        }
        if matches!(self.list, ListState::Slow { .. }) {
            texts.push("SLOW".to_owned());
        }
        if is(|state| matches!(state, SourceState::Polling { .. })) {
            return ("leader, polling", texts);
        }
        ("leader", texts)
    }
}

#[test]
fn every_combination_of_facets_is_shown_as_what_it_is_in_whatever_order_they_are_written() {
    let all = combinations();
    assert_eq!(all.len(), 5 * 6 * 6 * 3 * 4 * 8);
    for (number, combination) in all.iter().enumerate() {
        let status = Status::new(&[Kind::Nodes, Kind::Jobs]);
        status.lease(Kind::Jobs, Leadership::Standby);
        combination.write(&status, Kind::Nodes, number % 4);
        let phases = status.phases();
        let shown = phases[0].1.to_string();
        let (word, texts) = combination.expected();
        let (shown_word, text) = shown.split_once(": ").unwrap_or((&shown, ""));
        assert_eq!(shown_word, word, "{combination:?}");
        assert!(texts.iter().all(|wanted| text.contains(wanted)), "{shown} {combination:?}");
        let is_ready = matches!(word, "standby" | "leader" | "leader, polling");
        assert_eq!(phases[0].1.is_ready(), is_ready, "{shown}");
        // Of the shared facets, some concern a standby. Those of another resource do not.
        let standby = if combination.faults.iter().any(|duty| *duty != Duty::Renewal) { "blocked" } else { "standby" };
        assert!(phases[1].1.to_string().starts_with(standby), "{combination:?}");
        assert_eq!(status.is_ready(), is_ready && standby == "standby", "{combination:?}");
    }
}

#[test]
fn every_combination_follows_every_change_of_one_facet() {
    // An earlier value of a facet leaves no trace, except for the streams' facets under one lease.
    let status = Status::new(&[Kind::Nodes]);
    for (number, combination) in combinations().iter().enumerate() {
        status.lease(Kind::Nodes, Leadership::Standby);
        combination.write(&status, Kind::Nodes, number % 4);
        let shown = status.phases()[0].1.to_string();
        assert!(shown.starts_with(combination.expected().0), "{shown} {combination:?}");
    }
}

#[test]
fn a_lease_that_comes_again_does_not_inherit_what_the_lanes_said_under_the_last_one() {
    let status = Status::new(&[Kind::Nodes]);
    status.lease(Kind::Nodes, Leadership::Leading);
    status.source(Kind::Nodes, "*", SourceState::Streaming);
    status.list(Kind::Nodes, "*", ListState::Failing { reason: "no route".to_owned() });
    status.clone().lease(Kind::Nodes, Leadership::Standby);
    // A stream that ends can still report.
    status.source(Kind::Nodes, "*", SourceState::Blocked { reason: "stopped".to_owned() });
    assert_eq!(status.phases()[0].1, Phase::Standby);
    status.lease(Kind::Nodes, Leadership::Leading);
    assert_eq!(status.phases()[0].1, Phase::Connecting);
}

#[test]
fn the_worst_lane_is_shown_with_its_namespace_on_one_line() {
    let status = Status::new(&[Kind::Jobs]);
    status.lease(Kind::Jobs, Leadership::Leading);
    for namespace in ["apps", "ops", "web"] {
        status.source(Kind::Jobs, namespace, SourceState::Streaming);
    }
    assert_eq!(status.phases()[0].1.to_string(), "leader");
    status.source(Kind::Jobs, "apps", SourceState::Polling { reason: Some("status 404".to_owned()) });
    assert_eq!(status.phases()[0].1.to_string(), "leader, polling: namespace apps: status 404");
    status.source(Kind::Jobs, "ops", SourceState::Blocked { reason: "denied\r\nby policy\n".to_owned() });
    assert_eq!(status.phases()[0].1.to_string(), "blocked: namespace ops: denied by policy");
    status.source(Kind::Jobs, "ops", SourceState::Streaming);
    status.list(Kind::Jobs, "*", ListState::Slow { text: "listing for 90 s".to_owned() });
    assert!(status.is_ready());
    let shown = status.phases()[0].1.to_string();
    assert_eq!(shown, "leader, polling: namespace apps: status 404; listing for 90 s");
}

#[test]
fn what_bars_a_lease_blocks_the_standby_of_that_kind_alone() {
    let status = Status::new(&[Kind::Nodes, Kind::Jobs]);
    [Kind::Nodes, Kind::Jobs].iter().for_each(|kind| status.lease(*kind, Leadership::Standby));
    status.barred(Kind::Nodes, Some("read only".to_owned()));
    status.coordinator(Duty::Session, Some("no session".to_owned()));
    let shown = |at: usize| status.phases()[at].1.to_string();
    assert_eq!([shown(0), shown(1)], ["blocked: no session; read only", "blocked: no session"]);
    status.coordinator(Duty::Session, None);
    assert_eq!([shown(0), shown(1)], ["blocked: read only", "standby"]);
    assert!(!status.is_ready());
    status.barred(Kind::Nodes, None);
    assert!(status.is_ready());
}

/// A text from outside can hold anything.
const OUTSIDE: &str = "no\u{1b}]0;owned\u{7}\u{1b}[2J\r\njobs: leading\u{202e}\u{2028}\u{2066}\u{9b}31m";

#[test]
fn what_a_far_side_says_stays_on_one_short_line_of_plain_text() {
    let status = Status::new(&[Kind::Jobs]);
    status.lease(Kind::Jobs, Leadership::Leading);
    status.source(Kind::Jobs, "*", SourceState::Blocked { reason: format!("{OUTSIDE}{}", "x".repeat(1 << 20)) });
    status.sink(SinkState::Held { reason: OUTSIDE.to_owned() });
    let shown: Vec<String> = status.phases().iter().map(|(_, phase)| phase.to_string()).collect();
    assert!(shown.iter().all(|text| crate::redact::is_plain(text) && text.len() < 8 << 10), "{shown:.500?}");
}
