//! Redacts Nomad's diff of two versions of a job.
//!
//! There, names are values: `{"Name": "Meta[password]", "Old": "a", "New": "b"}` in `Fields`, and objects with fields of
//! their own in `Objects`. Groups and tasks stand in lists under the names that they have in a job.

use jaq_json::{Map, Rc, Val};

use super::{Path, REDACTED, State, enter};

/// Replaces what `paths` name in the job that `value` is a diff of.
pub(in crate::program) fn apply(paths: &[Path], value: &mut Val) {
    let states: Vec<State<'_>> = paths.iter().map(|path| path.0.as_slice()).collect();
    walk(&states, value);
}

fn walk(states: &[State<'_>], value: &mut Val) {
    let Val::Obj(object) = value else { return };
    for (key, value) in Rc::make_mut(object) {
        let Val::TStr(name) = key else { continue };
        match &name[..] {
            b"Fields" | b"Objects" => each(value, |part| {
                let names = part.get(&Val::from("Name".to_owned())).map(names).unwrap_or_default();
                match below(states, &names) {
                    None => hide(part),
                    Some(below) => return Some(below),
                }
                None
            }),
            b"TaskGroups" | b"Tasks" => match below(states, std::slice::from_ref(key)) {
                None => *value = Val::from(REDACTED.to_owned()),
                Some(below) => each(value, |_| Some(below.clone())),
            },
            _ => {}
        }
    }
}

/// Walks each element of a list with the states that `states_of` gives for it.
fn each<'a>(list: &mut Val, mut states_of: impl FnMut(&mut Map) -> Option<Vec<State<'a>>>) {
    let Val::Arr(elements) = list else { return };
    for element in Rc::make_mut(elements) {
        let Val::Obj(object) = element else { continue };
        if let Some(states) = states_of(Rc::make_mut(object)) {
            walk(&states, element);
        }
    }
}

/// What is left of the paths under these names; `None` where a path ends at one of them.
fn below<'a>(states: &[State<'a>], names: &[Val]) -> Option<Vec<State<'a>>> {
    let mut states = states.to_vec();
    for name in names {
        let mut below = Vec::new();
        if enter(&states, name, &mut below) {
            return None;
        }
        states = below;
    }
    Some(states)
}

/// `Meta[password]` has two names.
fn names(name: &Val) -> Vec<Val> {
    let Val::TStr(text) = name else { return Vec::new() };
    let text = String::from_utf8_lossy(text);
    let names = text.split_once('[').map_or(vec![&*text], |(outer, inner)| vec![outer, inner.trim_end_matches(']')]);
    names.into_iter().map(|name| Val::from(name.to_owned())).collect()
}

/// Replaces the values of a field or an object.
fn hide(part: &mut Map) {
    for (key, value) in part {
        let Val::TStr(key) = key else { continue };
        if matches!(&key[..], b"Old" | b"New" | b"Fields" | b"Objects") && !matches!(value, Val::Null) {
            *value = Val::from(REDACTED.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use jaq_json::read;

    use super::*;
    use crate::program::json;

    #[test]
    fn names_of_a_diff_are_those_of_the_job() {
        let text = r#"{"Type":"Edited","ID":"web","Fields":[{"Type":"Edited","Name":"Meta[password]","Old":"hidden","New":"hidden2"},{"Name":"Priority","Old":"50","New":"60"}],"Objects":null,"TaskGroups":[{"Name":"web","Fields":null,"Tasks":[{"Name":"server","Fields":[{"Name":"Env[DB_SECRET]","Old":"","New":"hidden"}],"Objects":[{"Name":"Config","Fields":[{"Name":"image","Old":"a","New":"b"}]},{"Name":"Template","Fields":[{"Name":"EmbeddedTmpl","Old":"hidden","New":"hidden"}],"Objects":null}]}]}]}"#;
        let paths =
            [".Meta.password", ".TaskGroups.Tasks.Env.*SECRET", "..Template"].map(|path| path.parse().expect("a path"));
        let mut value = read::parse_single(text.as_bytes()).expect("JSON");
        apply(&paths, &mut value);
        let mut out = Vec::new();
        json::write(&value, &mut out, usize::MAX).expect("JSON");
        let out = String::from_utf8(out).expect("JSON");
        assert!(!out.contains("hidden"), "{out}");
        let shown = [r#""Old":"50","New":"60""#, r#""Name":"image","Old":"a","New":"b""#, r#""Name":"Template""#];
        assert!(shown.iter().all(|shown| out.contains(shown)), "{out}");
    }
}
