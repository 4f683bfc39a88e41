//! Disks that are slow, hang or fail, and small ones that fill up, for the program alone.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use super::Setup;

/// What becomes of writes of the program, through a library that is loaded before libc.
#[derive(Debug)]
pub struct SlowDisk {
    directory: tempfile::TempDir,
}

impl SlowDisk {
    /// One that is well.
    pub fn new() -> Self {
        let disk = SlowDisk { directory: tempfile::tempdir().expect("a directory") };
        disk.is("well");
        disk
    }

    /// `slow BYTES` a second, `stalled`, `failing` or `well`, from now on.
    pub fn is(&self, state: &str) {
        // The program never reads half of it.
        let new = self.directory.path().join("new");
        std::fs::write(&new, state).expect("writable");
        std::fs::rename(new, self.control()).expect("writable");
    }

    /// The variables of the program.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [("LD_PRELOAD", library().display().to_string()), ("SLOW_DISK", self.control().display().to_string())]
    }

    fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }
}

/// The library, compiled once in a process.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LIBRARY.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("slow_disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/slow_disk.c");
        let mut compiler = Command::new("cc");
        let compiler = compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&path).arg(source).arg("-ldl");
        let output = compiler.stdin(Stdio::null()).output().expect("cc is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (directory, path)
    });
    path
}

/// A file system in memory that only its own mount namespace has. It is gone when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    path: &'static str,
}

impl SmallDisk {
    /// One of so many KiB; `None` where this user may not mount one.
    pub fn new(kib: u32) -> Option<Self> {
        let path = "/mnt";
        let mount = format!("mount -t tmpfs -o size={kib}k none {path} && echo ready && exec sleep infinity");
        let mut command = Command::new("unshare");
        let command = command.args(["--mount", "--propagation", "private", "sh", "-c", &mount]);
        let mut holder = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut line = String::new();
        let out = holder.stdout.take().expect("it is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line or the end");
        let disk = SmallDisk { holder, path };
        (line == "ready\n").then_some(disk)
    }

    /// Where it is for the program.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Where it is for everybody else.
    pub fn outside(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), self.path))
    }

    /// The program, which sees it.
    pub fn around(&self, setup: Setup) -> Setup {
        setup.within(&["nsenter", "--mount", "--target", &self.holder.id().to_string(), "--"])
    }

    /// Mounts it again with these options: `ro`, `size=1m`.
    pub fn remount(&self, options: &str) {
        let id = self.holder.id().to_string();
        let options = format!("remount,{options}");
        let output = Command::new("nsenter")
            .args(["--mount", "--target", &id, "--", "mount", "-o", &options, self.path])
            .stdin(Stdio::null())
            .output()
            .expect("nsenter is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().expect("it is our child");
    }
}
