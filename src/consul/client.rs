//! Sends requests: credentials, deadlines, and the meaning of a refusal.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::CONTENT_TYPE};
use tokio::time::timeout;

use super::{
    config::{Config, NAMES},
    error::{BadStatus, Error},
};
use crate::http::{self, Cut, Fault, Proxies, Reach, Server, Token};

/// The longest time to open a connection, including TLS. A call's own deadline can be shorter.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest time for the words of a refusal to arrive.
const WORDS: Duration = Duration::from_secs(1);

/// A client of one agent. Clones share its connections.
///
/// Every call takes a deadline, which covers the whole answer. Consul may carry out a call that is dropped or late all the
/// same; [`Error::may_have_happened`] tells which failures leave that open.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    server: Server,
    token: Token,
    /// The query parameters of every request.
    query: Vec<(&'static str, String)>,
    pub(super) namespace: Option<String>,
    pub(super) partition: Option<String>,
    pub(super) datacenter: Option<String>,
    pub(super) folder: String,
}

/// One request, and its words for error messages.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Percent-encoded.
    pub(super) path: String,
    pub(super) query: &'a [(&'static str, String)],
    /// JSON.
    pub(super) body: Option<Bytes>,
    /// What the request does, as a verb: "renew the session".
    pub(super) what: String,
    /// The rule that the policy of the token needs for it.
    pub(super) needs: String,
    /// The largest answer that is read, in bytes.
    pub(super) limit: usize,
}

/// An answer with a status that the caller can use.
pub(super) struct Reply {
    pub(super) code: StatusCode,
    /// `X-Consul-Index`.
    pub(super) index: Option<u64>,
    pub(super) body: Bytes,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.inner.server.label).finish_non_exhaustive()
    }
}

impl Client {
    /// Builds the client and reads its certificates. Opens no connection yet.
    ///
    /// # Errors
    /// A certificate or key that cannot be used. The error names the variable, the path and the fix.
    pub fn new(config: Config) -> Result<Self, Error> {
        let proxies = Proxies::from_environment()?;
        let (tls, basic_auth) = (&config.tls, config.basic_auth.as_ref());
        let reach = Reach { tls, basic_auth, connect: CONNECT, names: &NAMES, proxies: &proxies };
        let servers = http::servers(std::slice::from_ref(&config.address), &reach)?;
        let server = servers.into_iter().next().expect("one server for each address");
        let Config { token: source, namespace, partition, datacenter, folder, .. } = config;
        let given = [("dc", &datacenter), ("ns", &namespace), ("partition", &partition)];
        let query = given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        let token = Token::new(source, &NAMES);
        Ok(Client { inner: Arc::new(Inner { server, token, query, namespace, partition, datacenter, folder }) })
    }

    /// The address, without secrets.
    pub fn address(&self) -> &str {
        &self.inner.server.label
    }

    /// Sends `call` and reads the whole answer. Returns a success and the statuses in `also`, and turns all others into
    /// errors. If Consul refuses the token and the token file has a new one, the call is sent again with that.
    pub(super) async fn send(&self, call: &Call<'_>, also: &[StatusCode], deadline: Duration) -> Result<Reply, Error> {
        let exchange = || async {
            let request = self.request(call).await?;
            let server = &self.inner.server;
            let response = server.send(request).await;
            let response = response.map_err(|error| Fault::transport(&NAMES, server, &call.what, &error))?;
            if let Some(fault) = http::of_proxy(server, &response) {
                return Err(fault.into());
            }
            let code = response.status();
            if let Some(text) = http::foreign(&response, &NAMES) {
                return Err(self.garbage(call, text));
            }
            if code.is_success() || also.contains(&code) {
                let index = index_of(&response);
                let body = self.body(call, response).await?;
                return Ok(Reply { code, index, body });
            }
            let text = http::text(response, WORDS.min(deadline)).await;
            Err(self.refusal(call, code, text))
        };
        let renewing = async {
            let followed = self.inner.token.follows_file();
            match exchange().await {
                Err(Error::BadToken { .. }) if self.inner.token.renew(followed).await => exchange().await,
                outcome => outcome,
            }
        };
        match timeout(deadline, renewing).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(Error::Timeout { address: self.address().to_owned(), what: call.what.clone(), after: deadline })
            }
        }
    }

    async fn request(&self, call: &Call<'_>) -> Result<RequestBuilder, Error> {
        let token = self.inner.token.header().await?;
        let mut request = self.inner.server.request(call.method.clone(), &call.path);
        request = request.query(&self.inner.query).query(call.query);
        if let Some(token) = token {
            request = request.header("X-Consul-Token", token);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        Ok(request)
    }

    async fn body(&self, call: &Call<'_>, response: Response) -> Result<Bytes, Error> {
        http::body(response, call.limit).await.map_err(|cut| match cut {
            Cut::TooLarge => self.garbage(call, format!("more than {} bytes", call.limit)),
            Cut::Broken(reason) => {
                Error::Broken { address: self.address().to_owned(), what: call.what.clone(), reason }
            }
        })
    }

    pub(super) fn garbage(&self, call: &Call<'_>, text: impl Into<String>) -> Error {
        Error::Garbage { address: self.address().to_owned(), what: call.what.clone(), text: text.into() }
    }

    /// The error for an answer without success.
    fn refusal(&self, call: &Call<'_>, code: StatusCode, text: String) -> Error {
        BadStatus {
            address: self.address(),
            what: &call.what,
            needs: &call.needs,
            token: self.has_token(),
            datacenter: self.inner.datacenter.as_deref(),
            code: code.as_u16(),
            text,
        }
        .meaning()
    }

    pub(super) fn has_token(&self) -> bool {
        self.inner.token.is_some()
    }

    /// The rule that lets a token use `key`. It names the right to write, which includes the right to read: whoever fixes a
    /// policy after the first refused call should not run into a second refusal.
    pub(super) fn key_rule(&self, key: &str) -> String {
        let ours = key.strip_prefix(&self.inner.folder).is_some_and(|rest| rest.starts_with('/'));
        let folder = if ours { &key[..=self.inner.folder.len()] } else { key.rfind('/').map_or(key, |at| &key[..=at]) };
        format!("key_prefix {folder:?} {{ policy = \"write\" }}")
    }
}

fn index_of(response: &Response) -> Option<u64> {
    response.headers().get("X-Consul-Index")?.to_str().ok()?.parse().ok()
}
