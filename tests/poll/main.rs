//! Without an event stream: records come from lists, and what lists show comes once, whatever happens in between.
//!
//! The real binary against the simulated cluster. One test program, so that it is linked once.

#[path = "../common/mod.rs"]
mod common;
mod support;

mod absent;
mod both;
mod buffered;
mod changes;
mod fetched;
mod killed;
mod lists;
mod old;
mod restored;
mod stale;
mod standby;
mod start;
mod without_stream;
