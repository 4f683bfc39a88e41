//! From OpenMetrics 1.0.0 to the text format of Prometheus, version 0.0.4.
//!
//! The two differ where a family is described: OpenMetrics names the family (`records`), and the text format names its samples
//! (`records_total`). It has no units, no end mark and no exemplars, and knows fewer types.

/// The same metrics in the text format.
pub(super) fn text(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + 1024);
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            // The type, which follows, says what the samples are called.
            let family = described.split(' ').next().unwrap_or_default();
            let kind =
                lines.peek().and_then(|next| next.strip_prefix("# TYPE ")).and_then(|rest| rest.strip_prefix(family));
            let name = format!("{family}{}", suffix(kind.unwrap_or_default().trim()));
            let help = described[family.len()..].replace("\\\"", "\"");
            push(&mut out, &["# HELP ", &name, &help]);
        } else if let Some((family, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            push(&mut out, &["# TYPE ", family, suffix(kind), " ", known(kind)]);
        } else if !line.starts_with('#') && !line.is_empty() {
            push(&mut out, &[without_exemplar(line)]);
        }
    }
    out
}

fn push(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
    out.push('\n');
}

/// What the samples of a family have behind its name.
fn suffix(kind: &str) -> &'static str {
    match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    }
}

/// The type in the text format.
fn known(kind: &str) -> &str {
    match kind {
        "counter" | "gauge" | "histogram" | "summary" => kind,
        "info" | "stateset" => "gauge",
        _ => "untyped",
    }
}

/// A sample without what follows ` # ` behind its value. A label's value can hold the same characters, in quotes.
fn without_exemplar(sample: &str) -> &str {
    let (mut in_quotes, mut is_escaped) = (false, false);
    for (at, c) in sample.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if in_quotes => is_escaped = true,
            '"' => in_quotes = !in_quotes,
            '#' if !in_quotes => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        kind::Kind,
        telemetry::{Metrics, metrics},
    };

    #[test]
    fn families_are_named_by_their_samples() {
        let open = "# HELP a Has a \\\"quote\\\" and a \\\\ .\n# TYPE a counter\n# UNIT a seconds\na_total{l=\"x # \\\"} y\"} 1 # {id=\"7\"} 0.5 12.3\n\
            # HELP b B.\n# TYPE b gauge\nb 2\n# TYPE c unknown\nc 3\n# TYPE d info\nd_info{v=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_total Has a \"quote\" and a \\\\ .\n# TYPE a_total counter\na_total{l=\"x # \\\"} y\"} 1\n\
            # HELP b B.\n# TYPE b gauge\nb 2\n# TYPE c untyped\nc 3\n# TYPE d_info gauge\nd_info{v=\"1\"} 1\n";
        assert_eq!(text(open), expected);
    }

    #[test]
    fn every_sample_of_ours_belongs_to_a_described_family() {
        let counted = Metrics::new(&Kind::ALL);
        counted.dead_letters(Kind::Jobs, metrics::REJECTED, 3);
        let open = counted.encode().expect("text");
        let converted = text(&open);
        let mut family = (String::new(), String::new());
        for line in converted.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                family = (name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().expect("a name");
                let rest = name.strip_prefix(&family.0).unwrap_or_else(|| panic!("{line} is in {family:?}"));
                let allowed: &[&str] = if family.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(allowed.contains(&rest), "{line} is in {family:?}");
                assert_eq!(name.ends_with("_total"), family.1 == "counter", "{line}");
            }
        }
        let samples =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(samples(&open), samples(&converted));
        assert!(!converted.contains("# EOF") && converted.contains("# TYPE nomad_firehose_retries_total counter\n"));
    }

    proptest! {
        #[test]
        fn a_label_keeps_its_value(value in "[ -~]{0,30}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let sample = format!("a_total{{l=\"{escaped}\"}} 1");
            prop_assert_eq!(text(&format!("{sample} # {{x=\"y\"}} 2\n# EOF\n")), format!("{sample}\n"));
        }
    }
}
