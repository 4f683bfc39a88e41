//! How settings are declared and read: the given values, where they were given, and their problems.
//!
//! A component declares each of its settings as a [`Setting`] and reads them through a [`Reader`], which collects every problem
//! before the program gives up. This module knows no component; [`crate::config`] and the sinks use it.

mod duration;
pub(crate) mod http;
mod layers;
mod nearest;
mod pipeline_name;
mod problem;
mod reader;
mod setting;
mod size;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use self::{
    duration::duration,
    http::TlsSettings,
    layers::{File, Layers, Origin},
    nearest::nearest,
    problem::add_new,
    reader::{between, number},
    setting::settings,
};
pub use self::{
    layers::{Environment, Flags},
    pipeline_name::{InvalidName, PipelineName},
    problem::{Problem, Problems, Warning},
    reader::{Broken, Reader},
    setting::{Change, Form, Scope, Setting},
    size::{ByteSize, Error as ByteSizeError},
};
