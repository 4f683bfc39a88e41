//! What an event of the log says: its message and its fields, safe to show.

use std::{cell::RefCell, fmt, sync::Arc};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FormattedFields, format::JsonFields},
    registry::{LookupSpan, Scope},
};

use crate::redact::{LINE, shown};

thread_local! {
    static PIPELINE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Adds the field `pipeline` to whatever this thread logs from now on. Each pipeline has threads of its own.
pub fn name_thread(pipeline: &Arc<str>) {
    PIPELINE.set(Some(Arc::clone(pipeline)));
}

/// The message and the fields of an event: those of its thread, of its spans, and its own.
pub(super) fn gathered<S>(event: &Event<'_>, scope: Option<Scope<'_, S>>) -> Fields
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let mut fields = Fields::default();
    if let Some(pipeline) = PIPELINE.with_borrow(Clone::clone) {
        fields.set("pipeline", Value::String(pipeline.as_ref().to_owned()));
    }
    for span in scope.into_iter().flat_map(|scope| scope.from_root()) {
        let extensions = span.extensions();
        let formatted = extensions.get::<FormattedFields<JsonFields>>();
        let parsed = formatted.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
        parsed.unwrap_or_default().into_iter().for_each(|(name, value)| fields.set(&name, value));
    }
    event.record(&mut fields);
    fields
}

#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    /// In the order in which they were recorded, those of the outermost span first.
    pub(super) rest: Vec<(String, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = shown(text, LINE),
            (name, value) => self.set(name, value),
        }
    }

    /// Sets a field to a value that is safe to show. This is the last line of defence, should a caller have forgotten it.
    fn set(&mut self, name: &str, mut value: Value) {
        if let Value::String(text) = &mut value {
            *text = shown(&*text, LINE);
        }
        match self.rest.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.rest.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        // `Display` leaves out the causes, which are often what an operator needs.
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        self.put(field, text.into());
    }
}
