//! The settings that all clients share, and the variables of each client.

use std::path::PathBuf;

use super::Secret;
use crate::tls::Variables;

/// The variables of one client, for messages.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) address: &'static str,
    pub(crate) token: &'static str,
    pub(crate) token_file: &'static str,
    pub(crate) tls: Variables,
}

/// Where the ACL token comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// There is no token: the anonymous policy applies.
    #[default]
    None,
    /// The token itself: `NOMAD_TOKEN`, `CONSUL_HTTP_TOKEN`.
    Fixed(Secret),
    /// A file with the token, read before each request because workload identities rotate.
    File(PathBuf),
    /// A token, and a file that may hold its successor: `NOMAD_TOKEN` beside Nomad's own file of a workload identity. The client
    /// follows the file if it holds the same token at the start, and as soon as the token is refused.
    Both {
        /// The token that was given.
        token: Secret,
        /// The file, read before each request that uses it.
        file: PathBuf,
    },
}
