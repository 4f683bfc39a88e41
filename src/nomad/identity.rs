//! Reads what distinguishes one cluster from another. Nomad answers these requests without a token, and stale ones even
//! without a leader.

use std::time::Duration;

use reqwest::{Response, header::CACHE_CONTROL};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::{
    client::{Call, Client},
    error::Error,
};

/// The most bytes of an answer: more than a thousand keys or regions.
const MAX_BODY: usize = 256 << 10;
/// How long a set of keys is valid if the server says nothing: the shortest time that Nomad 2.0.5 says.
const KEYS_LAST: Duration = Duration::from_secs(15 * 60);
/// The longest time, whatever the server says: keys can be rotated and removed by hand.
const KEYS_LAST_AT_MOST: Duration = Duration::from_secs(7 * 86_400);

/// The public keys of a cluster's keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// Their ids.
    pub keys: Vec<String>,
    /// How long they are valid.
    pub lasts: Duration,
}

impl Client {
    /// The public keys of the cluster's keyring (`/.well-known/jwks.json`, since Nomad 1.7).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn keyring(&self) -> Result<Keyring, Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Key>,
        }
        #[derive(Deserialize)]
        struct Key {
            kid: String,
        }
        let call = call("the keyring's public keys", "/.well-known/jwks.json", None);
        let (Set { keys }, lasts) = self.evidence(&call, lasts).await?;
        Ok(Keyring { keys: keys.into_iter().map(|key| key.kid).collect(), lasts })
    }

    /// The names of the regions that the server knows, including its own.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn regions(&self) -> Result<Vec<String>, Error> {
        Ok(self.evidence(&call("the list of regions", "/v1/regions", None), |_| ()).await?.0)
    }

    /// The address of the raft leader of `region`, or without it, of the region that all requests go to. It is empty if there
    /// is no leader.
    ///
    /// # Errors
    /// See [`Error`]; also if the server cannot reach that region.
    pub async fn leader(&self, region: Option<&str>) -> Result<String, Error> {
        Ok(self.evidence(&call("the address of the leader", "/v1/status/leader", region), |_| ()).await?.0)
    }

    pub(super) async fn evidence<T: DeserializeOwned, H>(
        &self,
        call: &Call,
        head: impl Fn(&Response) -> H,
    ) -> Result<(T, H), Error> {
        let deadline = self.deadline();
        let read = async {
            let (response, server) = self.get(call, deadline).await?;
            let head = head(&response);
            let body = self.body(server, call, response, MAX_BODY).await?;
            let garbage = |error: serde_json::Error| Error::Garbage {
                address: server.label.clone(),
                what: call.what.clone(),
                text: error.to_string(),
            };
            Ok((serde_json::from_slice(&body).map_err(garbage)?, head))
        };
        match timeout(deadline, read).await {
            Ok(read) => read,
            Err(_) => Err(self.timed_out(call, deadline)),
        }
    }
}

fn call(what: &str, path: &str, region: Option<&str>) -> Call {
    let mut query = vec![("stale", "true".to_owned())];
    query.extend(region.map(|region| ("region", region.to_owned())));
    Call { what: what.to_owned(), path: path.to_owned(), query, needs: "no permission".to_owned() }
}

/// `Cache-Control: max-age=N`: how long Nomad says that the keys are valid.
fn lasts(response: &Response) -> Duration {
    let header = response.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|text| text.split(',').find_map(|part| part.trim().strip_prefix("max-age=")));
    seconds.and_then(|text| text.parse().ok()).map_or(KEYS_LAST, Duration::from_secs).min(KEYS_LAST_AT_MOST)
}
