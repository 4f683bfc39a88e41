//! What SQS and SNS share of a message: body and attributes as both take them, and the group of a FIFO queue or topic. Pure.

use std::borrow::Cow;

use super::{
    attributes::{self, Attribute},
    fault::Service,
    names,
};
use crate::{record::Record, template::Template};

/// A message, without the types of a client.
pub(in crate::sink) struct Message<'a> {
    pub(in crate::sink) body: Cow<'a, str>,
    pub(in crate::sink) attributes: Vec<Attribute<'a>>,
    /// What body and attributes count for.
    pub(in crate::sink) bytes: usize,
}

impl<'a> Message<'a> {
    /// The record as a message of at most so many bytes.
    ///
    /// # Errors
    /// The service would never take it.
    pub(in crate::sink) fn of(
        record: &'a Record,
        cluster: Option<&'a str>,
        service: &Service,
        most: usize,
    ) -> Result<Self, String> {
        let body = str::from_utf8(&record.body).map_err(|_| "the body is not UTF-8".to_owned())?;
        let body = names::body(body);
        let attributes = attributes::of(record, cluster);
        let bytes = body.len() + attributes::bytes(&attributes);
        if bytes > most {
            let name = service.name;
            return Err(format!("body and attributes have {bytes} bytes; {name} takes {most} at most"));
        }
        Ok(Message { body, attributes, bytes })
    }
}

/// The message group of each record. Only a FIFO queue or topic has groups, and a standard one would refuse them.
pub(in crate::sink) fn group(text: &str, is_standard: bool, service: &Service) -> Result<Template, String> {
    let template: Template = text.parse().map_err(|error| format!("{error}"))?;
    if is_standard {
        let Service { target, variable, .. } = service;
        return Err(format!(
            "only a FIFO {target} has message groups, and its name ends with .fifo; remove this setting, or name a FIFO \
             {target} in {variable}"
        ));
    }
    Ok(template)
}
