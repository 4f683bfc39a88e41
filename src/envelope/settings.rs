//! The setting of the envelope.

use super::Form;
use crate::{
    settings::{Broken, Reader, Setting, nearest, settings},
    sink::Chosen,
};

settings! {
    pub(crate) SETTINGS:

    ENVELOPE = Setting::new("Sink", "sink-envelope", "SINK_ENVELOPE", "NAME",
        "Envelope around each record: none (the record as it is), firehose (a JSON object with kind, id, namespace, job, node, index, cluster, region, time and record), cloudevents (CloudEvents 1.0 in structured mode), cloudevents-binary (in binary mode, its attributes as headers: only amqp, kafka, nats, sns, sqs, redis with a stream, and http with the format single)")
        .default("none");
}

const NAMES: [(&str, Form); 4] = [
    ("none", Form::None),
    ("firehose", Form::Firehose),
    ("cloudevents", Form::CloudEvents),
    ("cloudevents-binary", Form::CloudEventsBinary),
];

/// Reads the setting. Call [`check`] once the sink is known.
pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Form, Broken> {
    reader.value(&ENVELOPE, |text| {
        NAMES.into_iter().find(|(name, _)| *name == text).map(|(_, form)| form).ok_or_else(|| {
            let names = NAMES.map(|(name, _)| name);
            let meant = nearest(text, names).map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
            format!("no such envelope{meant}; choose none, firehose, cloudevents or cloudevents-binary")
        })
    })
}

/// Notes a problem if the sink has no place for the envelope.
pub(crate) fn check(reader: &mut Reader<'_>, form: Form, sink: &Chosen) {
    if form == Form::None {
        return;
    }
    if sink.definition().is_for_people {
        let what = "this sink writes messages for people, which have no envelope; choose none, or leave it out";
        reader.wrong(&ENVELOPE, format!("{}: {what}", sink.name()));
    } else if form == Form::CloudEventsBinary
        && let Some(what) = sink.keeps_headers_away()
    {
        reader.wrong(&ENVELOPE, format!("{}: {what}", sink.name()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kind::Kind,
        settings::testing,
        sink::{self, SINKS},
    };

    static SINK_TYPE: Setting = Setting::new("", "sink-type", "SINK_TYPE", "", "").default("stdout");

    fn all() -> Vec<&'static Setting> {
        let sinks = SINKS.iter().flat_map(|sink| sink.settings()).copied();
        [&SINK_TYPE].into_iter().chain(SETTINGS.iter().copied()).chain(sinks).collect()
    }

    fn read_for(kind: Kind, variables: &[(&str, &str)]) -> Result<Form, Vec<String>> {
        let read = testing::read(&all(), variables, |reader| {
            let chosen = sink::registry::read(&SINK_TYPE, reader, &|_| vec![kind]);
            let form = read(reader)?;
            check(reader, form, &chosen?);
            Ok(form)
        });
        read.map(|(form, _)| form)
    }

    #[test]
    fn every_name_is_read_and_another_one_is_refused_with_the_nearest() {
        for (name, form) in NAMES {
            let sink = [("SINK_TYPE", "http"), ("SINK_HTTP_ADDRESS", "http://a/"), ("SINK_ENVELOPE", name)];
            assert_eq!(read_for(Kind::Jobs, &sink), Ok(form));
        }
        assert_eq!(read_for(Kind::Jobs, &[]), Ok(Form::None));
        let problems = read_for(Kind::Jobs, &[("SINK_ENVELOPE", "cloudevent")]).expect_err("no such envelope");
        assert!(problems[0].contains("did you mean cloudevents?; choose none, firehose,"), "{problems:?}");
    }

    #[test]
    fn the_help_names_every_sink_with_headers() {
        let (_, named) = ENVELOPE.help.split_once("as headers: only ").expect("a list");
        for sink in SINKS {
            let has_headers = sink.definition.is_some_and(|definition| definition.has_headers);
            let is_named = named.split([' ', ',', ')']).any(|word| word == sink.name);
            assert!(sink.definition.is_none() || has_headers == is_named, "{}", sink.name);
        }
    }

    #[test]
    fn binary_mode_needs_headers_for_each_record() {
        let binary = ("SINK_ENVELOPE", "cloudevents-binary");
        let http = [("SINK_TYPE", "http"), ("SINK_HTTP_ADDRESS", "http://a/"), binary];
        let refused = |kind, more: &[(&'static str, &'static str)]| {
            let variables: Vec<_> = http.iter().chain(more).copied().collect();
            read_for(kind, &variables).map_err(|problems| problems.join("; "))
        };
        let expected = "SINK_ENVELOPE (--sink-envelope): http: a request with a batch has no headers of each record; \
                        set SINK_HTTP_FORMAT=single, or choose cloudevents";
        for format in ["array", "ndjson"] {
            assert_eq!(refused(Kind::Jobs, &[("SINK_HTTP_FORMAT", format)]), Err(expected.to_owned()));
        }
        // The default of events alone is an array.
        assert_eq!(refused(Kind::Events, &[]), Err(expected.to_owned()));
        assert_eq!(refused(Kind::Events, &[("SINK_HTTP_FORMAT", "single")]), Ok(Form::CloudEventsBinary));
        let problems = read_for(Kind::Jobs, &[binary]).expect_err("stdout has no headers");
        assert!(problems[0].contains(": stdout: this sink sends no headers; choose"), "{problems:?}");
    }

    #[test]
    fn what_people_read_has_no_envelope() {
        let url = "https://hooks.slack.com/services/T0/B0/x";
        let read =
            |name| read_for(Kind::Jobs, &[("SINK_TYPE", "slack"), ("SINK_SLACK_URL", url), ("SINK_ENVELOPE", name)]);
        assert_eq!(read("none"), Ok(Form::None));
        for (name, _) in &NAMES[1..] {
            let problems = read(name).expect_err("refused");
            assert!(problems[0].contains("slack: this sink writes messages for people"), "{problems:?}");
        }
    }

    #[cfg(feature = "amqp")]
    #[test]
    fn amqp_has_headers() {
        let variables = [
            ("SINK_TYPE", "rabbitmq"),
            ("SINK_AMQP_CONNECTION", "amqp://a"),
            ("SINK_AMQP_EXCHANGE", "a"),
            ("SINK_AMQP_ROUTING_KEY", "a"),
            ("SINK_ENVELOPE", "cloudevents-binary"),
        ];
        assert_eq!(read_for(Kind::Events, &variables), Ok(Form::CloudEventsBinary));
    }
}
