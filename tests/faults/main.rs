//! Faults: whatever breaks between the cluster and the program, nothing is lost in silence and nothing comes twice.
//!
//! The real binary against the simulated cluster. One test program, so that it is linked once.

#[path = "../common/mod.rs"]
mod common;
mod support;

mod absurd;
mod big_lines;
mod descriptors;
mod gaps;
mod garbage;
mod lag;
mod lists;
mod long_lines;
mod namespaces;
mod new_topics;
mod odd_ids;
mod proofs;
mod refusals;
mod restored;
mod silence;
mod slow_lists;
mod slow_sink;
mod start_now;
