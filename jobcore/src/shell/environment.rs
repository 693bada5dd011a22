//! The environment of a command: what it inherits, what the job gives, what the executor tells it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// What a command gets of the executor's own environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InheritEnv {
    /// Nothing.
    Nothing,
    /// Only what programs need to find their way, where the executor has it: `PATH`, `HOME`, `USER`, `LOGNAME`,
    /// `LANG`, `LC_ALL`, `LC_CTYPE`, `TZ`, `TMPDIR`.
    #[default]
    Minimal,
    /// Everything, secrets of the application included.
    All,
}

const MINIMAL: [&str; 9] = [
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
];

/// Where programs are looked for if neither the executor nor the job says.
pub(super) const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Puts the environment together; the later wins: inherited, the job's, the executor's word about the task.
pub(super) fn environment(
    inherit: InheritEnv,
    job: &BTreeMap<String, String>,
    task: &BTreeMap<String, String>,
) -> BTreeMap<OsString, OsString> {
    let mut all: BTreeMap<OsString, OsString> = match inherit {
        InheritEnv::Nothing => BTreeMap::new(),
        InheritEnv::Minimal => MINIMAL
            .into_iter()
            .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
            .collect(),
        InheritEnv::All => std::env::vars_os().collect(),
    };
    all.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
    all.extend(
        job.iter()
            .chain(task)
            .map(|(name, value)| (name.into(), value.into())),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_wins_and_a_path_is_always_there() {
        let of = |pairs: [(&str, &str); 2]| {
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        };
        let all = environment(
            InheritEnv::Nothing,
            &of([("A", "1"), ("B", "1")]),
            &of([("B", "2"), ("C", "2")]),
        );
        let all: Vec<_> = all
            .iter()
            .map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap()))
            .collect();
        assert_eq!(all, [("A", "1"), ("B", "2"), ("C", "2"), ("PATH", DEFAULT_PATH)]);
    }
}
