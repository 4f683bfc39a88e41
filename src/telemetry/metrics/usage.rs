//! What the process uses of its machine: the metrics `process_*` that every Prometheus client has under the same names. They are
//! read at each scrape, and missing where the system does not tell.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::sys::{Usage, process};

#[derive(Debug)]
pub(super) struct Used;

impl Collector for Used {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(Usage { processor, memory, threads, descriptors, descriptor_limit }) = process::usage() else {
            return Ok(());
        };
        let counter = ConstCounter::new(processor.as_secs_f64());
        counter.encode(encoder.encode_descriptor(
            "process_cpu",
            "Processor time used, user and system, in seconds",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?)?;
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory in bytes, shared pages included", Some(memory)),
            ("process_threads", "Threads of the process", Some(threads)),
            ("process_open_fds", "Open file descriptors", Some(descriptors)),
            ("process_max_fds", "The most file descriptors that the system lets this process open", descriptor_limit),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
