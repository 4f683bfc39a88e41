//! How a connection continues where the last one ended: the gap proof, and namespaces that were created meanwhile.

pub(in crate::source) mod coverage;
pub(in crate::source) mod namespaces;
pub(in crate::source) mod new_namespaces;
pub mod proof;
pub(in crate::source) mod topics;
