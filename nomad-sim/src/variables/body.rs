//! The body of a write, as Nomad's decoder reads it.

use serde_json::{Map, Value};

use super::variable::{Items, Lock};
use crate::duration;

/// What of a body counts. The path is that of the URL, and indexes and times of a body are ignored.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// Empty: that of the request.
    pub(crate) namespace: String,
    /// `None` where the body has none at all.
    pub(crate) items: Option<Items>,
    pub(crate) lock: Option<Lock>,
}

impl Body {
    /// # Errors
    /// Why it is refused, in Go's words as far as they were recorded.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("Request body is empty".to_owned());
        }
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| if error.is_eof() { "unexpected EOF".to_owned() } else { format!("{error}") })?;
        let body = match value {
            Value::Null => Map::new(),
            Value::Object(body) => body,
            other => {
                let kind = kind(&other);
                return Err(format!("json: cannot unmarshal {kind} into Go value of type structs.VariableDecrypted"));
            }
        };
        let namespace = match body.get("Namespace") {
            Some(Value::String(namespace)) => namespace.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => return Err(mistyped(other, "VariableMetadata.Namespace", "string")),
        };
        let items = match body.get("Items") {
            None | Some(Value::Null) => None,
            Some(Value::Object(items)) => Some(read_items(items)?),
            Some(other) => return Err(mistyped(other, "VariableDecrypted.Items", "structs.VariableItems")),
        };
        let lock = match body.get("Lock") {
            None | Some(Value::Null) => None,
            Some(Value::Object(lock)) => Some(read_lock(lock)?),
            Some(other) => return Err(mistyped(other, "VariableMetadata.Lock", "structs.VariableLock")),
        };
        Ok(Self { namespace, items, lock })
    }
}

fn read_items(items: &Map<String, Value>) -> Result<Items, String> {
    let read = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Ok((key.clone(), text.clone())),
        Value::Null => Ok((key.clone(), String::new())),
        other => Err(mistyped(other, "VariableDecrypted.Items", "string")),
    };
    items.iter().map(read).collect()
}

fn read_lock(lock: &Map<String, Value>) -> Result<Lock, String> {
    let time = |name: &str| match lock.get(name) {
        Some(Value::String(text)) if !text.is_empty() => {
            duration::parse_signed(text).ok_or_else(|| format!("time: invalid duration {}", crate::json::quoted(text)))
        }
        // A number is nanoseconds.
        Some(Value::Number(nanos)) => Ok(nanos.as_i64().unwrap_or_default()),
        _ => Ok(0),
    };
    let id = match lock.get("ID") {
        Some(Value::String(id)) => id.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => return Err(mistyped(other, "Alias.ID", "string")),
    };
    Ok(Lock { id, ttl: time("TTL")?, delay: time("LockDelay")? })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn mistyped(value: &Value, field: &str, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go struct field {field} of type {wanted}", kind(value))
}
