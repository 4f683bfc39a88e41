//! The settings of the Elasticsearch sink.

use super::{Config, Layout};
use crate::{
    settings::{Broken, Reader, Setting},
    sink::{
        Definition,
        http::Compression,
        push::{self, Scheme},
    },
    template::Template,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "indexes or data streams of Elasticsearch or OpenSearch",
    settings: SETTINGS,
    log: &[],
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

push::connection! {
    heading: "Elasticsearch sink", flag: "sink-elasticsearch", prefix: "SINK_ELASTICSEARCH", example: "such as es.example.com",
    address: "URL of Elasticsearch or OpenSearch, such as http://elasticsearch:9200. /_bulk is added unless the URL ends with it. A user and a password in it become basic authentication",
    compression: Some(&COMPRESSION),

    INDEX = Setting::new("Elasticsearch sink", "sink-elasticsearch-index", "SINK_ELASTICSEARCH_INDEX", "TEMPLATE",
        "Index or data stream, with fields of the record: nomad-{Kind}. Capitals become small, and characters that no index may have become -")
        .default("nomad-{Kind}");
    BODY = Setting::new("Elasticsearch sink", "sink-elasticsearch-body", "SINK_ELASTICSEARCH_BODY", "FORM",
        "Where the record is in the document: nested (the object body), text (the text message), document (it is the document, for jq programs that make one)")
        .default("nested");
    COMPRESSION = Setting::new("Elasticsearch sink", "sink-elasticsearch-compression", "SINK_ELASTICSEARCH_COMPRESSION", "NAME",
        "Compression of requests: none or gzip").default("none");
    TOKEN_TYPE = Setting::new("Elasticsearch sink", "sink-elasticsearch-token-type", "SINK_ELASTICSEARCH_TOKEN_TYPE", "NAME",
        "What the token is: apikey (an API key, in Base64) or bearer").default("apikey");
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let missing = "the elasticsearch sink needs the URL of its server, such as http://elasticsearch:9200";
    let found = push::address(reader, &ADDRESS, "/_bulk", missing);
    let index = reader.value(&INDEX, index);
    let layout = reader.value(&BODY, layout);
    let scheme = reader.value(&TOKEN_TYPE, scheme);
    let mut push = push::read(reader, &CONNECTION, found)?;
    if push.compression == Compression::Zstd {
        reader.wrong(&COMPRESSION, "the bulk API does not know it; choose none or gzip");
    }
    push.scheme = scheme?;
    Ok(Config { push, index: index?, layout: layout? })
}

fn index(text: &str) -> Result<Template, String> {
    let template: Template = text.parse().map_err(|error| format!("{error}"))?;
    if text.contains("{ID}") || text.contains("{Key}") {
        return Err("each record or object would have an index of its own; use fields with few values, such as {Kind}"
            .to_owned());
    }
    // A field can be empty, or begin with a character that is taken away.
    let fixed: String = text.split('{').next().unwrap_or_default().to_owned();
    if fixed.trim_start_matches(['-', '_', '+', '.']).is_empty() && text != "{Kind}" && !text.starts_with("{Kind}") {
        return Err("begin with a letter or a digit, such as nomad-{Kind}".to_owned());
    }
    if template.constant().is_some_and(|name| super::document::index_name(name) != name) {
        return Err(
            "no index may have this name; use small letters, digits, - and _, and begin with a letter".to_owned()
        );
    }
    Ok(template)
}

fn layout(text: &str) -> Result<Layout, &'static str> {
    match text {
        "nested" => Ok(Layout::Nested),
        "text" => Ok(Layout::Text),
        "document" => Ok(Layout::Document),
        _ => Err("no such form; choose nested, text or document"),
    }
}

fn scheme(text: &str) -> Result<Scheme, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "apikey" => Ok(Scheme::ApiKey),
        "bearer" => Ok(Scheme::Bearer),
        _ => Err("no such type; choose apikey or bearer"),
    }
}

#[cfg(test)]
mod tests;
