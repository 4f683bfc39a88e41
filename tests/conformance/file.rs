//! The sink `file`: a directory of its own for each check, on a disk that is slow, hangs or fails. What counts as arrived is what is
//! in finished files.

use crate::{
    common::{disk::SlowDisk, files::Consumer, order::Leaps},
    rig::{Cause, Rig, SLOW},
};

/// A directory, and who reads the finished files.
struct Files {
    directory: tempfile::TempDir,
    disk: SlowDisk,
    consumer: Consumer,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let consumer = Consumer::new(directory.path());
        Files { directory, disk: SlowDisk::new(), consumer }
    }
}

impl Rig for Files {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Down, Cause::Stalled, Cause::Slow];
    const REFUSAL: &'static str = "";
    const SECRETS: &'static [&'static str] = &[];
    /// What zstd takes while it finishes a file.
    const BUFFERS: u64 = 4 << 20;

    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("SINK_TYPE", "file".into()),
            ("SINK_FILE_DIRECTORY", self.directory.path().display().to_string()),
            ("SINK_FILE_ROTATE_INTERVAL", "100ms".into()),
            ("SINK_FILE_COMPRESSION", "zstd".into()),
        ];
        variables.extend(self.disk.variables());
        variables
    }

    async fn received(&mut self) -> Vec<String> {
        self.consumer.more()
    }

    async fn suffer(&mut self, cause: Cause) {
        match cause {
            Cause::Down => self.disk.is("failing"),
            Cause::Stalled => self.disk.is("stalled"),
            Cause::Slow => self.disk.is(&format!("slow {SLOW}")),
            Cause::Silent | Cause::Partial | Cause::Refusing => unreachable!("a disk does nothing of the kind"),
        }
    }

    async fn recover(&mut self) {
        self.disk.is("well");
    }

    async fn program_ended(&mut self) {}
}

suite! {
    Files::new();
    order_per_key: passes,
    partial_failure: "a file takes bytes in their order, and what stands behind a failure is not written",
    unknown_outcome: "what is not known to be on disk is cut off again, so that it comes once: see tests/sink_file.rs",
    reject_with_stop: "a file takes whatever is written",
    reject_to_file: "a file takes whatever is written",
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: "it has none",
    kill_in_mid_batch: passes,
}
