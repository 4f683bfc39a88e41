//! What an operator looks at, asked of a real Prometheus: it scrapes real binaries, and every expression of the alerts and of the dashboard is run.
//!
//! The binaries are those of `scripts/install-prometheus`, which downloads them where there are none.

#![allow(unreachable_pub, reason = "shared by the tests of one program")]

#[path = "../common/mod.rs"]
mod common;
mod expressions;
mod manual;
mod prometheus;
mod promtool;
mod run;
mod scene;
