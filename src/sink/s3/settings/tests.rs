use super::*;
use crate::settings::testing;

#[track_caller]
fn s3(variables: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, variables, read).expect("valid settings").0
}

#[track_caller]
fn problem(variables: &[(&str, &str)]) -> String {
    testing::read(SETTINGS, variables, read).expect_err("problems").join("\n")
}

#[test]
fn a_url_is_enough_and_names_the_service() {
    let config = s3(&[("SINK_S3_URL", "s3://nomad")]);
    assert_eq!(config.place, Place { service: Service::S3, bucket: "nomad".to_owned(), prefix: String::new() });
    assert_eq!((config.batch_bytes, config.batch_interval), (8 << 20, Duration::from_secs(30)));
    assert_eq!((config.compression, config.key.to_string()), (Compression::Zstd(3), "{Kind}/%Y-%m-%d".to_owned()));
    assert_eq!((config.endpoint, config.region, config.path_style), (None, None, None));
    for (url, service, bucket, prefix) in [
        ("s3://my.bucket-1/a/b/", Service::S3, "my.bucket-1", "a/b"),
        ("gs://nomad/prod", Service::Gcs, "nomad", "prod"),
        ("az://events", Service::Azure, "events", ""),
        ("file:///var/nomad", Service::Local("/var/nomad".into()), "", ""),
    ] {
        let place = s3(&[("SINK_S3_URL", url)]).place;
        assert_eq!(place, Place { service, bucket: bucket.to_owned(), prefix: prefix.to_owned() }, "{url}");
    }
}

#[test]
fn everything_else_can_be_said() {
    let config = s3(&[
        ("SINK_S3_URL", "s3://nomad"),
        ("SINK_S3_KEY", "{Kind}/{Namespace}/%Y/%m/%d/%H"),
        ("SINK_S3_BATCH_SIZE", "16MiB"),
        ("SINK_S3_BATCH_INTERVAL", "5m"),
        ("SINK_S3_COMPRESSION", "gzip"),
        ("SINK_S3_COMPRESSION_LEVEL", "9"),
        ("SINK_S3_ENDPOINT", "http://minio:9000"),
        ("SINK_S3_REGION", "eu-west-1"),
        ("SINK_S3_PATH_STYLE", "false"),
    ]);
    assert_eq!((config.batch_bytes, config.compression), (16 << 20, Compression::Gzip(9)));
    assert_eq!(config.endpoint.map(String::from).as_deref(), Some("http://minio:9000/"));
    assert_eq!((config.region.as_deref(), config.path_style), (Some("eu-west-1"), Some(false)));
}

#[test]
fn what_is_wrong_is_named_with_what_to_write() {
    for (name, value, part) in [
        ("SINK_S3_URL", "nomad", "begin with s3://"),
        ("SINK_S3_URL", "ftp://nomad", "begin with s3://"),
        ("SINK_S3_URL", "s3://key:hush@nomad", "credentials come from"),
        ("SINK_S3_URL", "s3://", "not the name of a bucket"),
        ("SINK_S3_URL", "s3://nomad//a", "a part of the prefix is empty"),
        ("SINK_S3_URL", "file://nomad", "not absolute"),
        ("SINK_S3_KEY", "a//b", "a part of the path is empty"),
        ("SINK_S3_BATCH_SIZE", "1KiB", "from 4KiB to 512MiB"),
        ("SINK_S3_BATCH_INTERVAL", "1h", "from 10ms to 15m"),
        ("SINK_S3_COMPRESSION", "xz", "none, gzip or zstd"),
        ("SINK_S3_ENDPOINT", "minio", "http://HOST:PORT"),
        ("SINK_S3_ENDPOINT", "http://a:hush@minio", "credentials come from"),
        ("SINK_S3_REGION", "eu west", "such as eu-west-1"),
        ("SINK_S3_PATH_STYLE", "perhaps", "true or false"),
    ] {
        let further = [("SINK_S3_URL", "s3://nomad"), (name, value)];
        let variables = if name == "SINK_S3_URL" { &further[1..] } else { &further[..] };
        let problem = problem(variables);
        assert!(
            problem.contains(name) && problem.contains(part) && !problem.contains("hush"),
            "{name}={value}: {problem}"
        );
    }
    assert!(problem(&[]).contains("the s3 sink needs the bucket"));
    let problem = problem(&[("SINK_S3_URL", "gs://nomad"), ("SINK_S3_REGION", "eu"), ("SINK_S3_PATH_STYLE", "true")]);
    assert_eq!(problem.matches("Google Cloud Storage has none").count(), 2, "{problem}");
}
