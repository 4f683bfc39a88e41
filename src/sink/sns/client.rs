//! A client of the API.

use aws_sdk_sns::{Client, config::Builder};

use super::{Fault, Reach, Topic};
use crate::sink::aws::{self, Session};

/// Looks for credentials. Calls nothing yet.
pub(super) async fn reach(topic: &Topic) -> Result<Reach<Client>, Fault> {
    let build = |found: &_| Client::from_conf(Builder::from(found).interceptor(Session).build());
    aws::reach(Some(&topic.region), build).await
}
