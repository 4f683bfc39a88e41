//! What Nomad refuses before a write reaches its log (`nomad/structs/variables.go`, `nomad/variables_endpoint.go`).

use super::variable::{Items, Lock, MAX_ITEMS, several};

const WILDCARD: &str = "can not target wildcard (\"*\")namespace";
const TOO_LARGE: &str = "variables are limited to 64KiB in total size";

/// Each call to Nomad's coded errors puts this in front of the text.
fn coded(text: &str) -> String {
    format!("RPC Error:: 400,{text}")
}

fn size(items: &Items) -> usize {
    items.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// A plain write, with `cas` or without. A lock in it may have an id and nothing else.
pub(crate) fn write(namespace: &str, path: &str, items: &Items, lock: Option<&mut Lock>) -> Result<(), String> {
    if lock.as_ref().is_some_and(|lock| lock.ttl != 0 || lock.delay != 0) {
        return Err(coded(&coded("variable should not contain lock definition")));
    }
    if namespace == "*" {
        return Err(coded(WILDCARD));
    }
    if size(items) > MAX_ITEMS {
        return Err(coded(TOO_LARGE));
    }
    check_path(path).map_err(|error| coded(&error))?;
    if let Some(lock) = lock {
        lock.complete();
    }
    Ok(())
}

/// An acquire. It takes a variable without items.
pub(crate) fn acquire(namespace: &str, path: &str, items: &Items, lock: &mut Lock) -> Result<(), String> {
    lock.complete();
    if namespace == "*" {
        return Err(coded(&several(&[WILDCARD])));
    }
    if size(items) > MAX_ITEMS {
        return Err(coded(TOO_LARGE));
    }
    check_path(path).map_err(|error| coded(&error))?;
    lock.check().map_err(|error| coded(&error))
}

/// A release. It takes no items, not even an empty set.
pub(crate) fn release(path: &str, items: Option<&Items>, lock: Option<&Lock>) -> Result<(), String> {
    if lock.is_none_or(|lock| lock.id.is_empty()) {
        return Err(coded("missing lock information"));
    }
    if items.is_some() {
        return Err(coded("lock release operation doesn't take variable items"));
    }
    check_path(path)
}

/// Whether a variable may have this path.
fn check_path(path: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~/".contains(&byte);
    if path.len() > 128 || !path.bytes().all(legal) {
        return Err(format!("invalid path {}", crate::json::quoted(path)));
    }
    let mut parts = path.split('/');
    if parts.next() != Some("nomad") {
        return Ok(());
    }
    match (parts.next(), parts.count()) {
        (None, _) => Err("\"nomad\" is a reserved top-level directory path, but you may write variables to \
                          \"nomad/jobs\", \"nomad/job-templates\", \"nomad/sentinel\", or below"
            .to_owned()),
        (Some("jobs" | "sentinel"), _) | (Some("job-templates"), 1) => Ok(()),
        (Some("job-templates"), _) => Err("\"nomad/job-templates\" is a reserved directory path, but you may write \
                                           variables at the level below it, for example, \
                                           \"nomad/job-templates/template-name\""
            .to_owned()),
        _ => Err("only paths at \"nomad/jobs\" or \"nomad/job-templates\" and below are valid paths under the \
                  top-level \"nomad\" directory"
            .to_owned()),
    }
}
