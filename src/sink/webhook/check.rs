//! What can be tried of a webhook without sending a message.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use tokio::time::timeout;

use super::{Config, Service, target::Target};
use crate::{
    finding::Finding,
    http::{self, BasicAuth, Fault, Proxies, knock},
    sink::http::Link,
};

/// A request that a service answers and that changes nothing.
pub(in crate::sink) enum Probe {
    /// There is none: only a connection can be opened.
    None,
    /// `GET` of the URL itself.
    Same,
    /// `GET` of this path in place of the end of the URL's path.
    Instead {
        /// The end of the URL's path.
        end: &'static str,
        /// What is asked for.
        path: &'static str,
    },
}

/// Tries each URL.
pub(in crate::sink) async fn check(service: &impl Service, config: &Config, within: Duration) -> Vec<Finding> {
    join_all(config.links.iter().map(|link| one(service, config, link, within))).await
}

async fn one(service: &impl Service, config: &Config, link: &(Link, Option<BasicAuth>), within: Duration) -> Finding {
    let what = format!("sink {}", service.name());
    let names = &service.variables().connection;
    let target = match Target::new(link, config, names) {
        Ok(target) => target,
        Err(error) => return Finding::of_setting(what, error),
    };
    let fix = format!("check {}, and that its server runs", names.address);
    let tried = async {
        match service.probe() {
            Probe::None => match knocked(&link.0, config, names).await {
                Ok(text) => Finding::ok(&what, format!("{text}; whether the URL is valid shows with --send-test")),
                Err(fault) => Finding::of_error_or(&what, &fault, &fix),
            },
            probe => asked(&what, service, &target, &probe).await,
        }
    };
    timeout(within, tried).await.unwrap_or_else(|_| {
        Finding::failed(&what, format!("{} did not answer within {within:.1?}", target.label()), &fix)
    })
}

async fn knocked(link: &Link, config: &Config, names: &'static http::Names) -> Result<String, Fault> {
    knock(link.url(), &config.tls, names, &Proxies::from_environment()?).await
}

async fn asked(what: &str, service: &impl Service, target: &Target, probe: &Probe) -> Finding {
    let names = &service.variables().connection;
    let fix = format!("correct {}", names.address);
    let path = match probe {
        Probe::Instead { end, path } => format!("{}{path}", target.path().strip_suffix(end).unwrap_or_default()),
        Probe::None | Probe::Same => target.path().to_owned(),
    };
    match target.get(Method::GET, &path).await {
        Ok(response) => match http::of_proxy(target.server(), &response) {
            Some(fault) => Finding::of_error_or(what, &fault, &fix),
            None if response.status().is_success() => {
                Finding::ok(what, format!("{} knows the URL; nothing was sent", target.label()))
            }
            None if matches!(
                response.status(),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
            ) =>
            {
                let text =
                    format!("{} answered {}: the URL is wrong or no longer valid", target.label(), response.status());
                Finding::failed(what, text, &fix)
            }
            None => {
                let text = format!("{} answered {}", target.label(), response.status());
                Finding::warning(what, text, "it may pass; try it with --send-test")
            }
        },
        Err(error) => {
            let fault = Fault::transport(names, target.server(), "ask", &error.without_url());
            Finding::of_error_or(what, &fault, format!("check {}, and that its server runs", names.address))
        }
    }
}
