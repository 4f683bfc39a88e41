//! Failures of Nomad, with the line to add to a policy.

use crate::{
    finding::Finding,
    nomad::{Error, Token},
};

/// The fix where something else than Nomad answers.
const WRONG_ADDRESS: &str = "correct NOMAD_ADDR: no Nomad API answers there";

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
        Error::Garbage { .. } => Finding::failed(what, text, WRONG_ADDRESS),
        Error::Status { code, text: words, .. } if is_of_another(*code, words) => {
            let cause = text.split_once("; there is no Nomad API").map_or(&*text, |(cause, _)| cause);
            Finding::failed(what, cause, WRONG_ADDRESS)
        }
        Error::Status { .. } | Error::Broken { .. } | Error::Unsupported { .. } => {
            Finding::failed(what, text, "look into the log of the agent, and of a proxy before it")
        }
        Error::File { .. } | Error::Setting { .. } => Finding::of_setting(what, text),
        _ => Finding::of_error(what, text),
    }
}

/// Whether an answer without success shows that the API is not there: a redirect, a path that nothing serves, or an HTML page. The
/// page of a proxy that does not reach the agent shows nothing of the kind.
pub(in crate::check) fn is_of_another(code: u16, words: &str) -> bool {
    let is_page = words.trim_start().starts_with('<') || words.starts_with("an HTML page");
    matches!(code, 300..400 | 404 | 405) || code < 500 && is_page
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
    fn an_answer_of_something_else_is_about_the_address() {
        let fix = |code, text: &str| {
            let (address, what) = ("http://a".to_owned(), "the leader".to_owned());
            of_error("x", &Error::Status { address, what, code, text: text.to_owned() }, None).fix.expect("a fix")
        };
        for (code, text) in [(200, " <!doctype html>"), (302, "a redirect to /login"), (404, "404 page not found")] {
            assert_eq!(fix(code, text), WRONG_ADDRESS);
        }
        for (code, text) in [(502, "<html>"), (500, "rpc error"), (400, "no")] {
            assert_eq!(fix(code, text), "look into the log of the agent, and of a proxy before it");
        }
        let garbage =
            Error::Garbage { address: "http://a".to_owned(), what: "the leader".to_owned(), text: "<html>".to_owned() };
        assert_eq!(of_error("x", &garbage, None).fix.as_deref(), Some(WRONG_ADDRESS));
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
