//! Failures of Nomad, with the line to add to a policy.

use crate::{
    finding::Finding,
    nomad::{Error, Token},
};

/// What Nomad needs for topics that no policy can allow.
const MANAGEMENT: &str = "a management token";

/// A failed request. `token` says whose policy lacks a rule.
pub(super) fn of_error(what: &str, error: &Error, token: Option<&Token>) -> Finding {
    let text = error.to_string();
    match error {
        Error::Denied { what: asked, needs, .. } => {
            Finding::failed(what, format!("cannot read {asked}: permission denied"), denied(needs, token))
        }
        Error::Refused { .. } => {
            let (cause, fix) = text.split_once("; ").unwrap_or((&text, ""));
            Finding::failed(what, cause, fix)
        }
        Error::Status { .. } | Error::Garbage { .. } | Error::Broken { .. } | Error::Unsupported { .. } => {
            Finding::failed(what, text, "look into the log of the agent, and of a proxy before it")
        }
        Error::File { .. } | Error::Setting { .. } => Finding::of_setting(what, text),
        _ => Finding::of_error(what, text),
    }
}

/// What to add, and to which policy.
pub(super) fn denied(needs: &str, token: Option<&Token>) -> String {
    if needs.contains(MANAGEMENT) {
        return "set NOMAD_TOKEN to a management token: no policy allows these topics; or carry others (Node, Job, Allocation, \
                Evaluation, Deployment)"
            .to_owned();
    }
    match token {
        Some(Token::Client { name, policies, .. }) => match policies.as_slice() {
            [only] if only == "anonymous" => {
                format!("set NOMAD_TOKEN to a token whose policy has: {needs}")
            }
            [] => format!("give the token {name:?} a policy with: {needs}"),
            [only] => format!("add to the policy {only:?} of the token: {needs}"),
            [first, ..] => format!("add to one of the policies of the token, such as {first:?}: {needs}"),
        },
        _ => format!("add to the policy of the token: {needs}"),
    }
}

/// The token for people.
pub(super) fn token(token: &Token) -> String {
    match token {
        Token::Anyone => "ACLs are off: everyone may do everything".to_owned(),
        Token::Management { name, .. } => format!("management token {name:?}"),
        Token::Client { policies, .. } if policies.iter().any(|policy| policy == "anonymous") => {
            "no token: the anonymous policy applies".to_owned()
        }
        Token::Client { name, policies, .. } if policies.is_empty() => format!("token {name:?} without a policy"),
        Token::Client { name, policies, .. } => {
            let policies: Vec<_> = policies.iter().map(|policy| format!("{policy:?}")).collect();
            format!("token {name:?} with {}", policies.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(policies: &[&str]) -> Token {
        let policies = policies.iter().map(|policy| (*policy).to_owned()).collect();
        Token::Client { name: "firehose".to_owned(), policies, expires: None }
    }

    #[test]
    fn the_line_and_the_policy_are_named() {
        let needs = Error::needs("Node", "*");
        for (policies, fix) in [
            (&["anonymous"][..], "set NOMAD_TOKEN to a token whose policy has: node { policy = \"read\" }"),
            (&[], "give the token \"firehose\" a policy with: node { policy = \"read\" }"),
            (&["jobs"], "add to the policy \"jobs\" of the token: node { policy = \"read\" }"),
            (&["a", "b"], "add to one of the policies of the token, such as \"a\": node { policy = \"read\" }"),
        ] {
            assert_eq!(denied(&needs, Some(&client(policies))), fix);
        }
        assert!(
            denied(&Error::needs("*", "*"), Some(&client(&["a"]))).starts_with("set NOMAD_TOKEN to a management token")
        );
    }
}
