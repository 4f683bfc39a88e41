//! What of jq's functions a program can use.

use jaq_core::load::parse::Def;

/// The native functions that are offered, with the number of their arguments. What a newer jaq adds is not offered before
/// it stands here.
pub(super) const OFFERED: &[(&str, usize)] = &[
    ("acos", 0),
    ("acosh", 0),
    ("ascii_downcase", 0),
    ("ascii_upcase", 0),
    ("asin", 0),
    ("asinh", 0),
    ("atan", 0),
    ("atan2", 2),
    ("atanh", 0),
    ("bsearch", 1),
    ("cbrt", 0),
    ("ceil", 0),
    ("contains", 1),
    ("copysign", 2),
    ("cos", 0),
    ("cosh", 0),
    ("decode_base64", 0),
    ("decode_uri", 0),
    ("encode_base64", 0),
    ("encode_uri", 0),
    ("endswith", 1),
    ("erf", 0),
    ("erfc", 0),
    ("error_empty", 0),
    ("escape_html", 0),
    ("escape_sh", 0),
    ("exp", 0),
    ("exp10", 0),
    ("exp2", 0),
    ("explode", 0),
    ("expm1", 0),
    ("fabs", 0),
    ("fdim", 2),
    ("first", 1),
    ("floor", 0),
    ("fma", 3),
    ("fmax", 2),
    ("fmin", 2),
    ("fmod", 2),
    ("frexp", 0),
    ("fromdateiso8601", 0),
    ("fromjson", 0),
    ("gmtime", 0),
    ("group_by", 1),
    ("has", 1),
    ("hypot", 2),
    ("ilogb", 0),
    ("implode", 0),
    ("indices", 1),
    ("j0", 0),
    ("j1", 0),
    ("jn", 2),
    ("key_values", 0),
    ("keys_unsorted", 0),
    ("last", 1),
    ("ldexp", 2),
    ("length", 0),
    ("lgamma", 0),
    ("limit", 2),
    ("log", 0),
    ("log10", 0),
    ("log1p", 0),
    ("log2", 0),
    ("ltrim", 0),
    ("ltrimstr", 1),
    ("matches", 2),
    ("max_by_or_empty", 1),
    ("min_by_or_empty", 1),
    ("mktime", 0),
    ("modf", 0),
    ("nearbyint", 0),
    ("nextafter", 2),
    ("now", 0),
    ("path", 1),
    ("path_value", 1),
    ("pow", 2),
    ("range", 3),
    ("remainder", 2),
    ("reverse", 0),
    ("rint", 0),
    ("round", 0),
    ("rtrim", 0),
    ("rtrimstr", 1),
    ("scalbln", 2),
    ("sin", 0),
    ("sinh", 0),
    ("skip", 2),
    ("sort", 0),
    ("sort_by", 1),
    ("split_", 2),
    ("split_matches", 2),
    ("sqrt", 0),
    ("startswith", 1),
    ("strftime", 1),
    ("strptime", 1),
    ("tan", 0),
    ("tanh", 0),
    ("tgamma", 0),
    ("tobytes", 0),
    ("todateiso8601", 0),
    ("tojson", 0),
    ("trim", 0),
    ("trunc", 0),
    ("unescape_html", 0),
    ("utf8bytelength", 0),
    ("y0", 0),
    ("y1", 0),
    ("yn", 2),
];

/// What jq has and programs have not, with what to write in its place.
const WITHHELD: &[(&[&str], &str)] = &[
    (&["env", "$ENV", "$__prog_args"], "programs cannot read the environment; write the value into the program"),
    (
        &["input", "inputs", "input_line_number", "input_filename", "$__loc__"],
        "programs get one record at a time, as `.`",
    ),
    (
        &["halt", "halt_error"],
        "programs cannot stop nomad-firehose; use `empty` to drop a record, or `error(\"reason\")` to make it a dead letter",
    ),
    (
        &["debug", "stderr", "debug_empty", "stderr_empty"],
        "programs cannot write to the log; put the value into the output",
    ),
    (&["localtime", "strflocaltime"], "programs have no time zone; use `gmtime` or `strftime`, which are in UTC"),
    (
        &["get_search_list", "modulemeta", "import", "include"],
        "programs have no modules; write the definitions into the program",
    ),
    (&["getpath_or_null", "$__prog_name"], "programs do not have this"),
    (&["rand", "random"], "programs have no random numbers: a record that is sent again has to look the same"),
];

/// The native functions among [`WITHHELD`], and the one that some definitions of those use.
#[cfg(test)]
pub(super) const NATIVE_WITHHELD: &[(&str, usize)] =
    &[("env", 0), ("halt", 1), ("debug_empty", 0), ("stderr_empty", 0), ("localtime", 0), ("strflocaltime", 1)];

/// Definitions that only work with what is withheld.
const UNDEFINED: [&str; 4] = ["stderr", "debug", "halt", "halt_error"];

/// Whether programs have this native function.
pub(super) fn is_offered(name: &str, arguments: usize) -> bool {
    OFFERED.contains(&(name, arguments))
}

/// Why programs do not have something that jq has.
pub(super) fn withheld(name: &str) -> Option<&'static str> {
    WITHHELD.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason)
}

/// The definitions that programs have.
pub(super) fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    let all = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    all.filter(|definition| !UNDEFINED.contains(&definition.name))
}

/// All names of functions, for a suggestion.
pub(super) fn names() -> Vec<String> {
    let native = OFFERED.iter().map(|(name, _)| (*name).to_owned());
    native.chain(definitions().map(|definition| definition.name.to_owned())).collect()
}

/// With how many arguments there is a function of this name.
pub(super) fn arities(name: &str) -> Vec<usize> {
    let native = OFFERED.iter().filter(|(offered, _)| *offered == name).map(|(_, arguments)| *arguments);
    let defined = definitions().filter(|definition| definition.name == name).map(|definition| definition.args.len());
    native.chain(defined).collect()
}
