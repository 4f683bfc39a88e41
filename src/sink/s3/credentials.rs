//! Credentials for S3 from AWS's whole chain: the environment, the profiles, a web identity, the container, the machine.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use object_store::{CredentialProvider, aws::AwsCredential};
use tokio::{sync::Mutex, time::timeout};

use crate::redact;

/// How long before they expire credentials are not used any more. Those without an end are looked for again as often, because a file
/// can have new ones.
const MARGIN: Duration = Duration::from_secs(300);

/// How long the search may take.
const SEARCH: Duration = Duration::from_secs(30);

/// There are no credentials, for this reason.
#[derive(Debug)]
pub(super) struct NoCredentials(String);

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoCredentials {}

#[derive(Debug)]
pub(super) struct Chain {
    provider: SharedCredentialsProvider,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    credential: Arc<AwsCredential>,
    until: SystemTime,
}

impl Chain {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Chain { provider, held: Mutex::default() }
    }

    async fn credential(&self) -> Result<Arc<AwsCredential>, NoCredentials> {
        let mut held = self.held.lock().await;
        let now = SystemTime::now();
        if let Some(Held { credential, until }) = &*held
            && *until > now
        {
            return Ok(Arc::clone(credential));
        }
        let late = |_| NoCredentials(format!("no credentials were found within {SEARCH:?}"));
        let found = timeout(SEARCH, self.provider.provide_credentials()).await.map_err(late)?;
        let found = found.map_err(|error| NoCredentials(words(&error)))?;
        // They are never sent, but another holder can echo them.
        redact::renew(found.secret_access_key());
        found.session_token().into_iter().for_each(redact::renew);
        let credential = Arc::new(AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        });
        // Credentials that are close to their end are used all the same, and looked for each time.
        let until = found.expiry().map_or(now + MARGIN, |end| end.checked_sub(MARGIN).unwrap_or(now));
        *held = Some(Held { credential: Arc::clone(&credential), until });
        Ok(credential)
    }
}

/// The error and its causes.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    redact::shown(words, redact::WORDS)
}

// As the attribute of `async_trait` writes it, which the library has on the trait.
impl CredentialProvider for Chain {
    type Credential = AwsCredential;

    fn get_credential<'a, 'b>(
        &'a self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            let found = self.credential().await;
            found.map_err(|none| object_store::Error::Generic { store: "S3", source: Box::new(none) })
        })
    }
}
