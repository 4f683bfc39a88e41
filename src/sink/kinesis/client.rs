//! A client of the API.

use aws_sdk_kinesis::{Client, config::Builder};

use super::{Stream, fault::Fault};
use crate::sink::aws::{self, Session};

/// A client, and the region it speaks to.
pub(super) type Reach = aws::Reach<Client>;

/// Looks for region and credentials. Calls nothing yet.
pub(super) async fn reach(stream: &Stream) -> Result<Reach, Fault> {
    let region = match stream {
        Stream::Name(_) => None,
        Stream::Arn { region, .. } => Some(&**region),
    };
    aws::reach(region, |found| Client::from_conf(Builder::from(found).interceptor(Session).build())).await
}
