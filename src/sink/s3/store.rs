//! The client of each service. It never retries, and sends nothing until it is used.

use std::{fs, sync::Arc};

use object_store::{
    ObjectStore, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder,
    local::LocalFileSystem,
};
use reqwest::Url;

use super::{
    Config,
    config::{Place, Service},
    credentials::Chain,
    fault::Fault,
    wire::Connector,
};
use crate::sink::aws::{self, Wire};

/// The region that a request is signed for if the service has none.
const NO_REGION: &str = "us-east-1";

/// Looks for region and credentials, and builds a client.
pub(super) async fn open(config: &Config) -> Result<Arc<dyn ObjectStore>, Fault> {
    let Config { place, endpoint, .. } = config;
    let Place { service, bucket, .. } = place;
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let wire = || Wire::from_environment().map(Connector).map_err(|fault| Fault::refused(fault.reason()));
    let is_plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http");
    let options = object_store::ClientOptions::new().with_allow_http(is_plain);
    let failed = |error: object_store::Error| Fault::of(&error, place);
    Ok(match service {
        Service::S3 => s3(config, wire()?, retry).await?,
        Service::Gcs => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry);
            if let Some(endpoint) = endpoint {
                builder = builder.with_base_url(&base(endpoint));
            }
            let builder = builder.with_http_connector(wire()?).with_client_options(options);
            Arc::new(builder.build().map_err(failed)?)
        }
        Service::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_retry(retry);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(base(endpoint));
            }
            let builder = builder.with_http_connector(wire()?).with_client_options(options);
            Arc::new(builder.build().map_err(failed)?)
        }
        Service::Local(path) => {
            // The library would create it.
            if !fs::metadata(path).is_ok_and(|found| found.is_dir()) {
                return Err(Fault::missing(place, "no such directory"));
            }
            Arc::new(LocalFileSystem::new_with_prefix(path).map_err(failed)?.with_fsync(true))
        }
    })
}

async fn s3(config: &Config, connector: Connector, retry: RetryConfig) -> Result<Arc<dyn ObjectStore>, Fault> {
    let Config { place, endpoint, region, path_style, .. } = config;
    let endpoint = endpoint.clone().or_else(endpoint_of_environment);
    // Who names an endpoint need not have a region.
    let has_region = |name| std::env::var_os(name).is_some_and(|region| !region.is_empty());
    let is_named = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().any(has_region);
    let region = region.as_deref().or(endpoint.as_ref().filter(|_| !is_named).map(|_| NO_REGION));
    let found = aws::reach(region, |found| found.credentials_provider()).await;
    let aws::Reach { client: provider, region } = found.map_err(|fault| Fault::refused(fault.reason()))?;
    let provider = provider.ok_or_else(|| Fault::refused("there is nowhere to look for credentials"))?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&place.bucket)
        .with_region(region)
        .with_credentials(Arc::new(Chain::new(provider)))
        .with_retry(retry)
        .with_http_connector(connector);
    let is_virtual = path_style.map_or(endpoint.is_none(), |path_style| !path_style);
    if let Some(mut endpoint) = endpoint {
        if is_virtual {
            let host = format!("{}.{}", place.bucket, endpoint.host_str().unwrap_or_default());
            endpoint.set_host(Some(&host)).map_err(|error| {
                Fault::refused(&format!("the bucket cannot be part of the host: {error}; set SINK_S3_PATH_STYLE=true"))
            })?;
        }
        builder = builder.with_endpoint(base(&endpoint)).with_allow_http(endpoint.scheme() == "http");
    }
    let builder = builder.with_virtual_hosted_style_request(is_virtual);
    Ok(Arc::new(builder.build().map_err(|error| Fault::of(&error, place))?))
}

/// As AWS's own tools read it.
fn endpoint_of_environment() -> Option<Url> {
    let read = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let text = read("AWS_ENDPOINT_URL_S3").or_else(|| read("AWS_ENDPOINT_URL"))?;
    text.parse().ok()
}

/// Without the slash that the library puts in itself.
fn base(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}
