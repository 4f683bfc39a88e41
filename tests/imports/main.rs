//! Imports run one way.
//!
//! 1. The top-level modules of a crate stand in one order, [`FIREHOSE`] and [`SIMULATOR`]. A module imports only what
//!    stands above it in that list: what is lower.
//! 2. The modules of one folder import each other in no circle. An import from `a::b::c` of `a::d::E` is an import of `d`
//!    by `b` in the folder `a`.
//! 3. A folder and its files are one idea. So `mod.rs` may import its files, and they may import what `mod.rs` defines
//!    itself, as `super::X`. What it only passes on from another file of the folder (`pub use self::d::E`) counts as an
//!    import of that file.
//!
//! Tests are free to import anything: files and items under `#[cfg(test)]` are not looked at.

mod circle;
mod scan;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use self::{
    circle::{Graph, circle},
    scan::{Import, scan},
};

/// The modules of `src`, the lowest first.
const FIREHOSE: &[(&str, &str)] = &[
    ("sys", "what differs between operating systems"),
    ("pulse", "whether the runtimes make progress"),
    ("identity", "what the program calls itself"),
    ("kind", "the resources that the program carries"),
    ("position", "raft indexes, identities of events, positions"),
    ("files", "opening files safely"),
    ("json", "reading JSON without copies"),
    ("redact", "keeping secrets out of texts"),
    ("finding", "what a check found"),
    ("headline", "one line about a record, for people"),
    ("backoff", "pauses that grow"),
    ("throttle", "how often a repeated failure is logged"),
    ("tls", "certificates and trust"),
    ("http", "what the clients of HTTP APIs share"),
    ("settings", "one setting: its names, its text, what is wrong with it"),
    ("nomad", "the client of Nomad's API, and its wire format"),
    ("consul", "the client of Consul's API"),
    ("cluster", "which cluster this is"),
    ("task_cursors", "the last delivered event of each task"),
    ("checkpoint", "what is stored"),
    ("lease", "the right to emit, and to store"),
    ("telemetry", "log, metrics, status"),
    ("window", "the bound on bytes in flight"),
    ("coordinator", "who gets the lease, and where the checkpoint lies"),
    ("index_file", "going over from nomad-events-sink, and back"),
    ("ledger", "acknowledgement"),
    ("record", "one message for a sink"),
    ("meta", "what is known about a record beside its body"),
    ("template", "texts with fields of a record"),
    ("resource", "from events and objects to records"),
    ("notify", "messages for people"),
    ("sink", "where records go"),
    ("dead_letter", "records that no sink takes"),
    ("delivery", "batches, retries, order"),
    ("program", "jq between source and delivery"),
    ("rules", "records that pass once there are enough of them"),
    ("digest", "summaries in place of a storm of messages"),
    ("envelope", "what goes around a record"),
    ("enrich", "what a program cannot know from a record"),
    ("trial", "programs on some records, for a user to see"),
    ("replay", "dead letters that are sent again"),
    ("source", "the event stream and the lists"),
    ("supervisor", "the life of a run"),
    ("process", "signals, descriptors, the runtime"),
    ("service", "what the service manager hears"),
    ("config", "all settings"),
    ("pipeline", "from settings to a run, and many runs side by side"),
    ("watch", "a cluster, live, for a person"),
    ("state", "the stored state, for an operator"),
    ("health", "how a running program is, for an orchestrator"),
    ("check", "whether a run would work, for an operator"),
    ("cli", "the command line"),
];

/// The modules of `nomad-sim/src`, the lowest first.
const SIMULATOR: &[(&str, &str)] = &[
    ("object", "objects of a cluster"),
    ("json", "JSON that is kept as text"),
    ("duration", "durations as Go writes them"),
    ("table", "objects in the order of a list"),
    ("summary", "summaries of jobs"),
    ("versions", "versions of jobs, and their diffs"),
    ("line", "a line of the event stream"),
    ("variables", "Nomad's variables: writes, rights, timers of locks"),
    ("history", "where the log's entries come from"),
    ("state", "the tables of a server"),
    ("stub", "the short forms of objects"),
    ("filter", "which events a stream gets"),
    ("acl", "tokens and their rights"),
    ("ring", "the event buffer of a server"),
    ("address", "where a server listens"),
    ("server", "one server, and how it breaks"),
    ("cluster", "the log, and the servers that apply it"),
    ("orders", "what tests have a cluster do"),
    ("locks", "the life of a lock"),
    ("http", "the API"),
    ("sim", "the handle of a running cluster"),
    ("builder", "how a cluster is set up"),
];

/// Folders whose files may still import each other in a circle, with the reason.
const CIRCLES: &[(&str, &str)] = &[];

#[test]
fn no_module_imports_upward() {
    let (firehose, simulator) = (Crate::read("src"), Crate::read("nomad-sim/src"));
    let wrong = [firehose.upward(FIREHOSE), simulator.upward(SIMULATOR)].concat();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn no_modules_of_a_folder_import_each_other_in_a_circle() {
    let (firehose, simulator) = (Crate::read("src"), Crate::read("nomad-sim/src"));
    let wrong = [firehose.circles(CIRCLES), simulator.circles(&[])].concat();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What only `src/sys` may mention: the rest is the same on every operating system.
const OF_SYSTEMS: &[&str] = &[
    "os::unix",
    "os::linux",
    "os::fd",
    "os::windows",
    "rustix",
    "winapi_util",
    "net::Unix",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
    "signal::unix",
    "signal::windows",
    "\"/proc",
    "\"/dev/",
    "cfg(unix)",
    "cfg(windows)",
    "cfg(target_os",
];

#[test]
fn only_one_module_asks_the_operating_system() {
    let mut wrong = Vec::new();
    for (module, path) in Crate::read("src").files {
        if module.first().is_some_and(|first| first == "sys") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("UTF-8");
        // Tests stand at the end of a file, and are free to.
        let code = text.split_once("#[cfg(test)]\nmod tests {").map_or(&*text, |(code, _)| code);
        let lines = code.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim_start().starts_with("//")) {
            if let Some(found) = OF_SYSTEMS.iter().find(|found| line.contains(**found)) {
                wrong.push(format!("{path}:{}: {found} belongs into src/sys", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The modules of a crate that are not there for tests alone, and what they import.
struct Crate {
    files: BTreeMap<Vec<String>, String>,
    imports: Vec<Import>,
}

impl Crate {
    /// Reads the sources below `root`, but for those of its binary.
    fn read(root: &str) -> Self {
        let (mut files, mut imports, mut tests) = (BTreeMap::new(), Vec::new(), Vec::new());
        for path in sources(Path::new(root)) {
            let name = path.strip_prefix(root).expect("below it").trim_start_matches('/');
            let mut module: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            match name {
                "main.rs" => continue,
                "lib.rs" => module.clear(),
                _ if module.last().is_some_and(|last| last == "mod") => drop(module.pop()),
                _ => {}
            }
            let scanned = scan(&module, &fs::read_to_string(&path).expect("UTF-8"));
            imports.extend(scanned.imports);
            tests.extend(scanned.test_modules);
            files.insert(module, path);
        }
        let is_test = |module: &[String]| tests.iter().any(|test| module.starts_with(test));
        files.retain(|module, _| !is_test(module));
        imports.retain(|import| !is_test(&import.from));
        imports.retain(|import| !import.is_bare || files.contains_key(&import.to[..=import.from.len()]));
        Crate { files, imports }
    }

    fn place(&self, import: &Import) -> String {
        // An inline module is in the file of the one around it.
        let file = (0..=import.from.len()).rev().find_map(|len| self.files.get(&import.from[..len]));
        format!("{}:{}", file.map_or("?", String::as_str), import.line)
    }

    /// The imports that run upward, and what the list of modules lacks.
    fn upward(&self, order: &[(&str, &str)]) -> Vec<String> {
        let height = |module: &str| order.iter().position(|(name, _)| *name == module);
        let modules: BTreeSet<&str> = self.files.keys().filter_map(|module| Some(module.first()?.as_str())).collect();
        let unlisted = modules.iter().filter(|module| height(module).is_none());
        let gone = order.iter().filter(|(name, _)| !modules.contains(name));
        let upward = self.imports.iter().filter_map(|import| {
            let (from, to) = (import.from.first()?, import.to.first()?);
            let what = import.to.join("::");
            (height(from)? < height(to)?)
                .then(|| format!("{}: {from} imports {what}, but {to} stands above {from}", self.place(import)))
        });
        unlisted
            .map(|module| format!("the module {module} has no place in the order of tests/imports/main.rs"))
            .chain(gone.map(|(name, _)| format!("tests/imports/main.rs lists the module {name}, which is gone")))
            .chain(upward)
            .collect()
    }

    /// A circle for each folder that has one.
    fn circles(&self, allowed: &[(&str, &str)]) -> Vec<String> {
        let mut folders: BTreeMap<&[String], Graph> = BTreeMap::new();
        for import in &self.imports {
            let to = self.origin(&import.to);
            let shared = import.from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(name)) = (import.from.get(shared), to.get(shared)) else { continue };
            if shared > 0 && self.files.contains_key(&to[..=shared]) {
                let graph = folders.entry(&import.from[..shared]).or_default();
                graph.entry(from.clone()).or_default().entry(name.clone()).or_insert_with(|| self.place(import));
            }
        }
        let mut wrong = Vec::new();
        for (folder, graph) in folders {
            let name = folder.join("::");
            let is_allowed = allowed.iter().any(|(allowed, _)| name == *allowed);
            if let Some(circle) = circle(&graph).filter(|_| !is_allowed) {
                wrong.push(format!("in {name}: {circle}"));
            }
        }
        wrong
    }

    /// Where a path leads that a module only passes on from one of its files.
    fn origin(&self, path: &[String]) -> Vec<String> {
        let [module @ .., name] = path else { return Vec::new() };
        let passed_on = self.imports.iter().find(|import| {
            import.is_use && import.from == module && import.to.len() > path.len() && import.to.last() == Some(name)
        });
        match passed_on {
            Some(import) if import.to.starts_with(module) => import.to.clone(),
            _ => path.to_vec(),
        }
    }
}

/// The paths of the sources below a folder.
fn sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.to_str().expect("UTF-8").to_owned());
        }
    }
    found
}
