//! The contracts in the documentation and the cases that check them name each other.
//!
//! Every method of a trait that has a suite ends its documentation with the names of the cases that check it; the
//! tables of cases name the methods. Neither can change without the other.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jobcore_testkit::conformance::{coordinator, executor, store, transport};

/// The cases that check a method, by its trait's suite and its name.
type Checks = BTreeMap<(&'static str, String), BTreeSet<String>>;

/// The traits of the contract, each with its suite: the parts of a store share one, and so do a transport's two ends.
const SUITES: &[(&str, &str)] = &[
    ("JobStore", "store"),
    ("TaskStore", "store"),
    ("HistoryStore", "store"),
    ("Transport", "transport"),
    ("ExecutorTransport", "transport"),
    ("Coordinator", "coordinator"),
    ("Guard", "coordinator"),
    ("Executor", "executor"),
];

#[test]
fn methods_name_the_cases_that_check_them() {
    let table = table();
    let methods = documented();
    assert!(methods.len() > 60, "the traits were found: {methods:?}");
    let mut wrong = Vec::new();
    for ((suite, method), written) in &methods {
        let checks = table.get(&(*suite, method.clone())).cloned().unwrap_or_default();
        if *written != checks {
            let names = checks.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            wrong.push(format!(
                "{suite} method `{method}`: its documentation should end with\n**Conformance**: {}.",
                names.join(", ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn cases_name_methods_that_exist() {
    let methods = documented();
    let unknown: Vec<_> = table()
        .into_keys()
        .filter(|key| !methods.contains_key(key))
        .collect();
    assert!(unknown.is_empty(), "no trait of the suite has these: {unknown:?}");
}

/// What the tables of cases say.
fn table() -> Checks {
    let mut checks = Checks::new();
    let mut add = |suite, name: &str, methods: &[&str]| {
        for method in methods {
            let key = (suite, (*method).to_owned());
            checks.entry(key).or_default().insert(name.to_owned());
        }
    };
    store::cases().for_each(|case| add("store", case.name, case.methods));
    transport::TRANSPORT
        .iter()
        .for_each(|case| add("transport", case.name, case.methods));
    coordinator::COORDINATOR
        .iter()
        .for_each(|case| add("coordinator", case.name, case.methods));
    executor::EXECUTOR
        .iter()
        .for_each(|case| add("executor", case.name, case.methods));
    checks
}

/// What the documentation of the traits says.
fn documented() -> Checks {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../jobcore/src");
    let mut checks = Checks::new();
    for file in ["coordinator.rs", "executor.rs", "transport.rs"] {
        read(&source.join(file), &mut checks);
    }
    for file in rust_files(&source.join("store")) {
        read(&file, &mut checks);
    }
    checks
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Reads the traits of one file, which is formatted: a trait ends with a brace at the beginning of a line.
fn read(file: &Path, checks: &mut Checks) {
    let mut suite = None;
    let mut documentation = String::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        if let Some(rest) = line.strip_prefix("pub trait ") {
            suite = SUITES
                .iter()
                .find(|(name, _)| *name == word(rest))
                .map(|(_, suite)| *suite);
        } else if line == "}" {
            suite = None;
        }
        let Some(suite) = suite else { continue };
        let line = line.trim_start();
        let method = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some(text) = line.strip_prefix("///") {
            documentation.push_str(text);
        } else if let Some(method) = method {
            let names = conformance(&std::mem::take(&mut documentation));
            // Two traits of a suite may have a method of one name, and then one contract.
            checks
                .entry((suite, word(method).to_owned()))
                .or_default()
                .extend(names);
        }
    }
}

/// The names in the last paragraph, if it is the one about conformance.
fn conformance(documentation: &str) -> BTreeSet<String> {
    let names = documentation
        .split_once("**Conformance**:")
        .map_or("", |(_, names)| names);
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default()
}
