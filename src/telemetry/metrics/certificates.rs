//! The expiry of the certificates in use. It is computed at each scrape: files are renewed.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::tls;

pub(super) const NAME: &str = "nomad_firehose_certificate_expiry_timestamp_seconds";
const HELP: &str = "Unix time at which a certificate in use expires";

#[derive(Debug)]
pub(super) struct Certificates;

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let validities = tls::validities();
        if validities.is_empty() {
            return Ok(());
        }
        let mut metric = encoder.encode_descriptor(NAME, HELP, None, MetricType::Gauge)?;
        for validity in validities {
            let file = validity.path.display().to_string();
            let labels = [("role", validity.role), ("variable", validity.variable), ("file", &file)];
            ConstGauge::new(validity.ends()).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
