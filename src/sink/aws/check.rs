//! Asks for the target, and writes nothing.

use std::time::Duration;

use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::timeout;

use super::{Fault, Service};
use crate::finding::Finding;

/// How a sink is checked.
#[derive(Clone, Copy, Debug)]
pub(in crate::sink) struct Check {
    pub(in crate::sink) service: &'static Service,
    /// `sink sqs`.
    pub(in crate::sink) what: &'static str,
    /// The variable that names another endpoint.
    pub(in crate::sink) endpoint: &'static str,
    /// The right to ask for the target.
    pub(in crate::sink) right: &'static str,
}

impl Check {
    /// The result of `tried`, if it comes within this time.
    pub(in crate::sink) async fn within(self, within: Duration, tried: impl Future<Output = Finding>) -> Vec<Finding> {
        let found = timeout(within, tried).await.unwrap_or_else(|_| {
            let text = format!("{} did not answer within {within:.1?}", self.service.name);
            let fix = format!("{}; where credentials come from can hang, too", self.fix());
            Finding::failed(self.what, text, fix)
        });
        vec![found]
    }

    /// Who may write to a target need not have the right to ask for it.
    pub(in crate::sink) fn of_error<E: ProvideErrorMetadata>(self, fault: &Fault, error: &E) -> Finding {
        let is_denied = |code: &str| code.contains("AccessDenied") || code == "AuthorizationError";
        if error.code().is_some_and(is_denied) {
            let target = self.service.target;
            let text = format!(
                "the credentials are accepted, but may not ask for the {target}, so it is not known whether it exists"
            );
            return Finding::warning(self.what, text, format!("allow {}, or try it with --send-test", self.right));
        }
        self.of_fault(fault)
    }

    pub(in crate::sink) fn of_fault(self, fault: &Fault) -> Finding {
        Finding::of_error_or(self.what, fault.reason(), self.fix()).with_words_behind_cause()
    }

    fn fix(self) -> String {
        format!("check AWS_REGION, {} and the network", self.endpoint)
    }
}
