//! A client of the API, and the URL of the queue.

use aws_sdk_sqs::{Client, config::Builder};
use reqwest::Url;

use super::{Fault, Queue, Reach, SERVICE, Target};
use crate::sink::aws::{self, Session};

/// A client, and the queue.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) client: Client,
    pub(super) url: String,
}

/// Looks for region and credentials, and asks for the URL of the queue unless that is known.
pub(super) async fn reach(queue: &Queue) -> Result<Reach<Reached>, Fault> {
    let Reach { client, region } = client(queue).await?;
    let request = match queue {
        Queue::Url { url, .. } => {
            return Ok(Reach { client: Reached { client, url: url.to_string() }, region });
        }
        Queue::Name(name) => client.get_queue_url().queue_name(name),
        Queue::Arn { account, name, .. } => client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account),
    };
    let target = Target { service: &SERVICE, name: queue.name(), region: &region };
    let answer = request.send().await.map_err(|error| Fault::of(&error, target))?;
    let url = answer.queue_url.ok_or_else(|| Fault::Refused(format!("SQS in {region} gave no URL of the queue")))?;
    Ok(Reach { client: Reached { client, url }, region })
}

/// Looks for region and credentials. Calls nothing yet.
async fn client(queue: &Queue) -> Result<Reach<Client>, Fault> {
    let region = match queue {
        Queue::Name(_) => None,
        Queue::Arn { region, .. } => Some(&**region),
        Queue::Url { region, .. } => region.as_deref(),
    };
    let endpoint = match queue {
        Queue::Url { url, region: None, .. } => endpoint(url),
        _ => None,
    };
    aws::reach(region, |found| {
        let mut settings = Builder::from(found).interceptor(Session);
        // Named otherwise too, as is usual, an endpoint counts as it is named there.
        if let Some(endpoint) = endpoint.filter(|_| found.endpoint_url().is_none() && !is_named()) {
            settings = settings.endpoint_url(endpoint);
        }
        Client::from_conf(settings.build())
    })
    .await
}

/// The endpoint that a URL of a queue names, such as one in a private network.
fn endpoint(url: &Url) -> Option<String> {
    let origin = url.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

fn is_named() -> bool {
    std::env::var_os("AWS_ENDPOINT_URL_SQS").is_some_and(|endpoint| !endpoint.is_empty())
}
