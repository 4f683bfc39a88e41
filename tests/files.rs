//! Files that others can get at: the program follows no link of theirs, writes to nothing but regular files, and warns where
//! others can read its secrets.

mod common;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use common::{Ended, Setup, Signal, made};
use nomad_sim::Sim;
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Nobody listens there; what is checked at the start is checked before that is found out.
const NOBODY: &str = "http://127.0.0.1:1";

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("the directory is ours");
    set_mode(path, mode);
}

/// Holds it to a refusal at the start that names the variable, the path, and what is wrong with it.
async fn assert_refused(setup: &Setup, parts: &[&str]) {
    let Ended { status, printed, log } = setup.spawn().end().await;
    assert_eq!((status.code(), &*printed), (Some(2), &[][..]), "{log}");
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    for part in parts {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_go_to_a_regular_file_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (victim, link, pipe) = (dir.path().join("victim"), dir.path().join("link"), dir.path().join("pipe"));
    write(&victim, "precious\n", 0o600);
    symlink(&victim, &link).expect("a link");
    fifo(&pipe);
    for (path, what) in [
        (&*link, "it is a symbolic link"),
        (&pipe, "it is a FIFO"),
        (dir.path(), "it is a directory"),
        (Path::new("/dev/null"), "it is a character device"),
    ] {
        let place = format!("file:{}", path.display());
        let setup = Setup::new(&["jobs"], NOBODY).env("NOMAD_FIREHOSE_DEAD_LETTER", place);
        assert_refused(&setup, &["NOMAD_FIREHOSE_DEAD_LETTER", &path.display().to_string(), what]).await;
    }
    assert_eq!(fs::read_to_string(&victim).expect("there"), "precious\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_data_directory_are_not_followed() {
    let sim = Sim::builder().start().await.expect("starts");
    sim.append_line(made::evaluation(10, 1)).await.expect("a line");
    let dir = tempfile::tempdir().expect("a directory");
    let (victim, data) = (dir.path().join("victim"), dir.path().join("data"));
    write(&victim, "precious\n", 0o600);
    let setup = Setup::new(&["evaluations"], &sim.url(0)).data_dir(&data);
    for name in ["evaluations.lock", "evaluations.json"] {
        fs::create_dir(&data).expect("a directory");
        let link = data.join(name);
        symlink(&victim, &link).expect("a link");
        let path = link.display().to_string();
        assert_refused(&setup, &["NOMAD_FIREHOSE_DATA_DIR", &path, "it is a symbolic link"]).await;
        fs::remove_file(&link).expect("it is not followed");
        fifo(&link);
        assert_refused(&setup, &["NOMAD_FIREHOSE_DATA_DIR", &path, "it is a FIFO"]).await;
        fs::remove_dir_all(&data).expect("it is ours");
    }
    // Half a checkpoint that a crash left has this name: what lies there is removed, and nothing is written to it.
    fs::create_dir(&data).expect("a directory");
    symlink(&victim, data.join("evaluations.json.tmp")).expect("a link");
    let process = setup.spawn();
    process.until_printed(1).await;
    process.stop().await;
    assert!(data.join("evaluations.json").symlink_metadata().expect("stored").is_file());
    assert_eq!(fs::read_to_string(&victim).expect("there"), "precious\n");
}

/// The warnings of a start, and nothing else.
async fn warnings(setup: &Setup) -> Vec<String> {
    let process = setup.spawn();
    process.until_logged("ERROR").await;
    let Ended { log, .. } = process.end_by(Signal::KILL).await;
    log.lines().filter(|line| line.contains("WARN") && line.contains("other users")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_secrets_that_others_can_read_are_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    write(&path("letters"), "", 0o644);
    write(&path("token"), "t", 0o640);
    write(&path("consul"), "t", 0o604);
    write(&path("config.toml"), "nomad-http-auth = \"u:p\"\n", 0o644);
    let setup = Setup::new(&["jobs"], NOBODY)
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", path("letters").display()))
        .env("NOMAD_FIREHOSE_CONFIG", path("config.toml"))
        .env("CONSUL_HTTP_TOKEN_FILE", path("consul"))
        // A group is given access on purpose.
        .env("NOMAD_TOKEN_FILE", path("token"));
    let found = warnings(&setup).await;
    assert_eq!(found.len(), 3, "{found:#?}");
    for (name, setting, mode) in [
        ("letters", "NOMAD_FIREHOSE_DEAD_LETTER", "0644"),
        ("consul", "CONSUL_HTTP_TOKEN_FILE", "0604"),
        ("config.toml", "NOMAD_FIREHOSE_CONFIG", "0644"),
    ] {
        let fix = format!("chmod 600 {}", path(name).display());
        let names = |line: &&String| [setting, mode, fix.as_str()].iter().all(|part| line.contains(part));
        assert_eq!(found.iter().filter(names).count(), 1, "{name}: {found:#?}");
    }
    for name in ["letters", "consul", "config.toml"] {
        set_mode(&path(name), 0o600);
    }
    assert_eq!(warnings(&setup).await, [""; 0]);
    // Without a secret in it, anybody may read it.
    write(&path("config.toml"), "log-level = \"info\"\n", 0o644);
    assert_eq!(warnings(&setup).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_others_can_write_is_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["jobs"], NOBODY).data_dir(dir.path());
    for (mode, shown) in [(0o777, "0777"), (0o1777, "1777")] {
        set_mode(dir.path(), mode);
        let found = warnings(&setup).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        let fix = format!("chmod o-w {}", dir.path().display());
        for part in ["NOMAD_FIREHOSE_DATA_DIR", shown, &fix] {
            assert!(found[0].contains(part), "{part}: {found:?}");
        }
    }
    set_mode(dir.path(), 0o755);
    assert_eq!(warnings(&setup).await, [""; 0]);
}

/// Whoever opens a FIFO waits until somebody writes to it, which nobody does.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_is_none_is_an_error_and_no_wait() {
    let sim = Sim::builder().start().await.expect("starts");
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("token");
    fifo(&pipe);
    for path in [&*pipe, Path::new("/dev/zero")] {
        let process = Setup::new(&["jobs"], &sim.url(0)).env("NOMAD_TOKEN_FILE", path).spawn();
        process.until_logged("not a regular file").await;
        assert!(process.log().contains("NOMAD_TOKEN_FILE"), "{}", process.log());
        process.stop().await;
    }
}
