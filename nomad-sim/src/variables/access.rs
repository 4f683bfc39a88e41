//! Who may do what with a variable, after `acl/acl.go`.

/// What a policy can allow on the variables of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// To see its metadata in lists.
    List,
    /// To read it, and to see it in lists.
    Read,
    /// To write, lock, renew and release it; neither to read nor to list it.
    Write,
    /// To delete it.
    Destroy,
}

/// A `path` block of a policy's `variables`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableRule {
    /// The namespace, in which `*` stands for anything.
    pub namespace: String,
    /// The path, in which `*` stands for anything.
    pub path: String,
    /// What it allows; none is `deny`.
    pub capabilities: Vec<Capability>,
}

/// A task that has an identity of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The namespace of the job.
    pub namespace: String,
    /// The job's ID.
    pub job: String,
    /// The task group.
    pub group: String,
    /// The task.
    pub task: String,
}

impl Workload {
    /// It reads and lists these without a policy. It writes none of them.
    fn owns(&self, namespace: &str, path: &str) -> bool {
        let Self { namespace: own, job, group, task } = self;
        let paths = [
            "nomad/jobs".to_owned(),
            format!("nomad/jobs/{job}"),
            format!("nomad/jobs/{job}/{group}"),
            format!("nomad/jobs/{job}/{group}/{task}"),
        ];
        namespace == own && paths.iter().any(|own| own == path)
    }
}

/// Whether these rules, and a task's implicit rights, allow it.
pub(crate) fn allows(
    rules: &[VariableRule],
    workload: Option<&Workload>,
    (namespace, path): (&str, &str),
    wanted: Capability,
) -> bool {
    let allows = |rule: &VariableRule| {
        rule.capabilities.iter().any(|&has| has == wanted || (has, wanted) == (Capability::Read, Capability::List))
    };
    if let Some(rule) = rules.iter().find(|rule| rule.namespace == namespace && rule.path == path) {
        return allows(rule);
    }
    if workload.is_some_and(|workload| workload.owns(namespace, path)) {
        return matches!(wanted, Capability::Read | Capability::List);
    }
    // The pattern that stands for the fewest characters counts.
    let name = format!("{namespace}\0{path}");
    let matching = rules.iter().filter_map(|rule| {
        let pattern = format!("{}\0{}", rule.namespace, rule.path);
        let distance = name.len() + 2 * pattern.matches('*').count();
        matches(&pattern, &name).then(|| (distance.saturating_sub(pattern.len()), rule))
    });
    matching.min_by_key(|(distance, _)| *distance).is_some_and(|(_, rule)| allows(rule))
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_globs_do() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a/*", "a/b/c", true),
            ("a/*", "a", false),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("*b", "ab", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
