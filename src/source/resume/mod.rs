//! How a connection resumes where the last one ended: the gap proof, the namespaces that were created since then, and
//! the topics of a subscription.

pub(crate) mod coverage;
pub(crate) mod namespaces;
pub(crate) mod new_namespaces;
pub mod proof;
pub(crate) mod topics;
