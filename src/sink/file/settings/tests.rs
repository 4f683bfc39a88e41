use super::*;
use crate::settings::testing;

#[track_caller]
fn file(further: &[(&str, &str)]) -> Config {
    let variables: Vec<_> = [("SINK_FILE_DIRECTORY", "/d")].into_iter().chain(further.iter().copied()).collect();
    testing::read(SETTINGS, &variables, read).expect("valid settings").0
}

#[track_caller]
fn problem(variables: &[(&str, &str)]) -> String {
    testing::read(SETTINGS, variables, read).expect_err("problems").join("\n")
}

#[test]
fn a_directory_is_enough() {
    let config = file(&[]);
    assert_eq!(config.directory, PathBuf::from("/d"));
    assert_eq!(config.name.to_string(), "{Kind}");
    assert_eq!((config.rotate_size, config.rotate_interval), (128 << 20, Duration::from_secs(3600)));
    assert_eq!((config.compression, config.fsync_interval), (Compression::None, Duration::ZERO));
    assert_eq!((config.mode, config.keep), (0o600, Keep::default()));
}

#[test]
fn everything_else_can_be_said() {
    let config = file(&[
        ("SINK_FILE_NAME", "{Kind}/%Y-%m-%d/{Kind}"),
        ("SINK_FILE_ROTATE_SIZE", "1GiB"),
        ("SINK_FILE_ROTATE_INTERVAL", "24h"),
        ("SINK_FILE_COMPRESSION", "zstd"),
        ("SINK_FILE_COMPRESSION_LEVEL", "19"),
        ("SINK_FILE_FSYNC_INTERVAL", "1s"),
        ("SINK_FILE_MODE", "0640"),
        ("SINK_FILE_KEEP_FILES", "10"),
        ("SINK_FILE_KEEP_SIZE", "1TiB"),
    ]);
    assert_eq!((config.rotate_size, config.rotate_interval), (1 << 30, Duration::from_secs(86_400)));
    assert_eq!((config.compression, config.mode), (Compression::Zstd(19), 0o640));
    assert_eq!(config.keep, Keep { files: Some(10), bytes: Some(1 << 40) });
    assert_eq!(config.policy().linger, Duration::from_secs(1));
}

#[test]
fn what_is_wrong_is_named_with_what_to_write() {
    for (name, value, part) in [
        ("SINK_FILE_NAME", "/a", "a part of the path is empty"),
        ("SINK_FILE_NAME", "%x", "%Y, %m, %d or %H"),
        ("SINK_FILE_ROTATE_SIZE", "1KiB", "from 4KiB to 1TiB"),
        ("SINK_FILE_ROTATE_INTERVAL", "1ms", "from 100ms to 744h"),
        ("SINK_FILE_COMPRESSION", "xz", "none, gzip or zstd"),
        ("SINK_FILE_COMPRESSION_LEVEL", "20", "from 1 to 19"),
        ("SINK_FILE_COMPRESSION_LEVEL", "3", "choose gzip or zstd"),
        ("SINK_FILE_FSYNC_INTERVAL", "2m", "from 0s to 1m"),
        ("SINK_FILE_MODE", "0400", "such as 0600"),
        ("SINK_FILE_MODE", "0777", "such as 0600"),
        ("SINK_FILE_MODE", "rw", "such as 0600"),
        ("SINK_FILE_KEEP_FILES", "0", "from 1"),
        ("SINK_FILE_KEEP_SIZE", "1", "from 1MiB"),
    ] {
        let problem = problem(&[("SINK_FILE_DIRECTORY", "/d"), (name, value)]);
        assert!(problem.contains(name) && problem.contains(part), "{name}={value}: {problem}");
    }
    assert!(problem(&[]).contains("the file sink needs a directory"));
    let all = problem(&[("SINK_FILE_NAME", "{"), ("SINK_FILE_MODE", "x"), ("SINK_FILE_KEEP_FILES", "x")]);
    assert_eq!(all.lines().count(), 4, "{all}");
}
