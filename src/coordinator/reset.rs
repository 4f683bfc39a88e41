//! The commands with which an operator removes a checkpoint, for errors and fixes.

use std::path::Path;

use super::own::PIPELINES;
use crate::kind::Kind;

/// Removes the checkpoint of `kind` from Consul, where its head has this key.
pub(crate) fn reset_in_consul(kind: Kind, key: &str) -> String {
    format!("{}{}", anywhere(kind), pipeline(key))
}

/// Removes the checkpoint of `kind` from Nomad's Variables, where its head has this path.
pub(crate) fn reset_in_variables(kind: Kind, path: &str) -> String {
    format!("{} --coordinator nomad{}", anywhere(kind), pipeline(path))
}

/// Removes the checkpoint of `kind` from a directory. That of a pipeline is its own.
pub(crate) fn reset_in_directory(kind: Kind, directory: &Path) -> String {
    let directory = directory.display().to_string();
    let is_bare = directory.chars().all(|c| c.is_alphanumeric() || "/._-+,:@%".contains(c));
    let directory = if is_bare { directory } else { format!("'{}'", directory.replace('\'', r"'\''")) };
    format!("{} --coordinator file --data-dir {directory}", anywhere(kind))
}

/// Removes the checkpoint of `kind`, wherever the shell's variables say it is.
pub(crate) fn anywhere(kind: Kind) -> String {
    format!("nomad-firehose state reset {kind}")
}

/// The flag that names the pipeline of a head below `…/pipelines/NAME/`.
fn pipeline(head: &str) -> String {
    let mut folders = head.rsplit('/').skip(1);
    match (folders.next(), folders.next()) {
        (Some(name), Some(PIPELINES)) => format!(" --pipeline {name}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_place() {
        let command = "nomad-firehose state reset jobs";
        assert_eq!(reset_in_consul(Kind::Jobs, "nomad-firehose/jobs.state"), command);
        let team = "nomad-firehose/pipelines/team/jobs";
        assert_eq!(reset_in_consul(Kind::Jobs, &format!("{team}.state")), format!("{command} --pipeline team"));
        let in_nomad = format!("{command} --coordinator nomad");
        assert_eq!(reset_in_variables(Kind::Jobs, "nomad/jobs/firehose/jobs"), in_nomad);
        assert_eq!(reset_in_variables(Kind::Jobs, team), format!("{in_nomad} --pipeline team"));
        assert_eq!(
            reset_in_directory(Kind::Jobs, Path::new("/var/it's here/pipelines/team")),
            format!(r"{command} --coordinator file --data-dir '/var/it'\''s here/pipelines/team'")
        );
    }
}
