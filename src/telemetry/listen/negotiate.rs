//! Which form of an answer a client wants: the header `Accept` (RFC 9110, section 12.5.1).

/// A form of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Text,
}

/// What a client says of a media type.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
struct Wish {
    /// From 0, refused, to 1.
    quality: f32,
    /// How exactly it was named: 3 with the version, 2 without, 1 as `text/*`, 0 as `*/*`.
    exactness: u8,
}

/// The form of the metrics that `accept` prefers. A client that can take neither gets the text, which every scraper reads.
pub(super) fn metrics(accept: &str) -> Format {
    let open = wish(accept, "application/openmetrics-text", "1.0.0").unwrap_or_default();
    let text = wish(accept, "text/plain", "0.0.4").unwrap_or_default();
    // `*/*` is what curl and browsers send, for people.
    let is_named = open.exactness >= 2 && open.quality > 0.0;
    if is_named && open.quality >= text.quality { Format::OpenMetrics } else { Format::Text }
}

/// Whether the client is a browser: it asks for HTML by its name.
pub(super) fn wants_html(accept: &str) -> bool {
    let html = wish(accept, "text/html", "").unwrap_or_default();
    let text = wish(accept, "text/plain", "").filter(|text| text.exactness >= 2).unwrap_or_default();
    html.exactness >= 2 && html.quality > 0.0 && html.quality >= text.quality
}

/// What is said most exactly of a media type in this version.
fn wish(accept: &str, wanted: &str, version: &str) -> Option<Wish> {
    let ranges = accept.split(',').filter_map(|range| of_range(range, wanted, version));
    ranges.max_by(|one, other| {
        (one.exactness, one.quality).partial_cmp(&(other.exactness, other.quality)).unwrap_or(std::cmp::Ordering::Equal)
    })
}

/// What one range says of it; `None` if it is about something else.
fn of_range(range: &str, wanted: &str, version: &str) -> Option<Wish> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let family = wanted.split('/').next()?;
    let mut wish = match media.as_str() {
        "*/*" => Wish { quality: 1.0, exactness: 0 },
        range if range.strip_suffix("/*") == Some(family) => Wish { quality: 1.0, exactness: 1 },
        range if range == wanted => Wish { quality: 1.0, exactness: 2 },
        _ => return None,
    };
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            // What is no number is no preference.
            "q" => wish.quality = value.parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(1.0),
            "version" if wish.exactness == 2 && !version.is_empty() && value == version => wish.exactness = 3,
            "version" if !version.is_empty() => return None,
            // Of the character set there is one, and names need no escaping.
            _ => {}
        }
    }
    Some(wish)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_preferred_format_is_served() {
        const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (PROMETHEUS, Format::OpenMetrics),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.1", Format::Text),
            ("application/openmetrics-text;q=0.3, text/plain;q=0.7", Format::Text),
            ("application/openmetrics-text;q=0.7, text/plain;q=0.3", Format::OpenMetrics),
            ("application/openmetrics-text, text/plain", Format::OpenMetrics),
            ("application/openmetrics-text;q=0, */*", Format::Text),
            ("application/openmetrics-text;q=0.5,*/*;q=0.9", Format::Text),
            ("application/openmetrics-text;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.9", Format::OpenMetrics),
            ("application/vnd.google.protobuf", Format::Text),
        ] {
            assert_eq!(metrics(accept), expected, "{accept}");
        }
    }

    #[test]
    fn a_page_is_for_browsers() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", true),
            ("*/*", false),
            ("", false),
            ("text/*", false),
            ("text/html;q=0", false),
            ("text/plain, text/html;q=0.5", false),
        ] {
            assert_eq!(wants_html(accept), expected, "{accept}");
        }
    }

    proptest! {
        #[test]
        fn any_header_has_an_answer(accept in "[ -~]{0,200}", q in 0u32..1000, r in 0u32..1000) {
            metrics(&accept);
            wants_html(&accept);
            let two = format!("application/openmetrics-text;q=0.{q:03},text/plain;q=0.{r:03}");
            let expected = if q > 0 && q >= r { Format::OpenMetrics } else { Format::Text };
            prop_assert_eq!(metrics(&two), expected);
        }
    }
}
