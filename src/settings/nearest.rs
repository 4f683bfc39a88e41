//! The valid name that a misspelt one was probably meant to be.

use super::Setting;

/// The one of `names` that `name` is most like, if it is like any.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let score = |candidate: &str| strsim::jaro_winkler(&name, &candidate.to_ascii_lowercase());
    let scored = names.into_iter().map(|candidate| (score(candidate), candidate));
    let (score, best) = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (score >= 0.8).then_some(best)
}

/// The key of the configuration file that `key` is most like. `settings` are those that a file can hold.
pub(crate) fn nearest_key(key: &str, settings: &[&'static Setting]) -> Option<&'static str> {
    let key = key.to_ascii_lowercase().replace('_', "-");
    let by_variable = settings.iter().find(|setting| setting.variable.to_ascii_lowercase().replace('_', "-") == key);
    by_variable.map(|setting| setting.flag).or_else(|| nearest(&key, settings.iter().map(|setting| setting.flag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    static START: Setting = Setting::new("", "start", "NOMAD_FIREHOSE_START", "", "");
    static ADDR: Setting = Setting::new("", "nomad-addr", "NOMAD_ADDR", "", "");

    #[test]
    fn a_key_may_be_written_as_the_variable_it_stands_for() {
        for (key, meant) in [
            ("NOMAD_FIREHOSE_START", Some("start")),
            ("nomad_addr", Some("nomad-addr")),
            ("strat", Some("start")),
            ("zzz", None),
        ] {
            assert_eq!(nearest_key(key, &[&START, &ADDR]), meant, "{key}");
        }
    }
}
