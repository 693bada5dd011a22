//! Runs cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use jobcore_services::REQUIRE;

use crate::step::Outcome;
use crate::{process, services};

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// The folder of the programs that are built for development, which is that of this one.
pub(crate) fn programs() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| format!("looking for the own program: {error}"))?;
    Ok(here.parent().map_or_else(PathBuf::new, Path::to_path_buf))
}

/// `cargo` with these arguments, in the root folder, by the toolchain that runs this.
pub(crate) fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root());
    command
}

/// Runs cargo to its end.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    process::run(&mut command(arguments, environment))
}

/// Runs tests against the services that run; passes if there were some, all passed and none was skipped.
pub(crate) fn test(arguments: &[&str]) -> Outcome {
    let mut command = command(arguments, &[(REQUIRE, "1")]);
    command.envs(services::variables());
    Count::of(&process::output(&mut command)?).judge()
}

/// Builds a program of the workspace for development; answers with its path.
pub(crate) fn binary(name: &str) -> Result<PathBuf, String> {
    // With the tests, so that dependencies have the same features and aren't built again.
    run(
        &["build", "--locked", "--workspace", "--tests", "--bin", name],
        &[],
    )?;
    Ok(programs()?.join(name))
}

/// How many tests passed and were ignored, by the closing lines of the test programs.
#[derive(Debug, Default, PartialEq)]
struct Count {
    passed: u64,
    ignored: u64,
}

impl Count {
    fn of(printed: &str) -> Self {
        let mut count = Self::default();
        for line in printed.lines().filter(|line| line.starts_with("test result: ")) {
            count.passed += number_before(line, " passed");
            count.ignored += number_before(line, " ignored");
        }
        let helpers = printed.lines().filter(|line| is_helper(line)).count() as u64;
        count.ignored = count.ignored.saturating_sub(helpers);
        count
    }

    fn judge(&self) -> Outcome {
        match self {
            Self { ignored: 1.., .. } => Err(format!(
                "{} tests are marked as ignored: a full run skips nothing",
                self.ignored
            )),
            Self { passed: 0, .. } => Err("no test ran: the command selects none".to_owned()),
            Self { passed, .. } => Ok(format!("{passed} tests")),
        }
    }
}

/// Whether a line speaks of a `helper_…`: no test, but what another test starts as a process of its own.
fn is_helper(line: &str) -> bool {
    line.starts_with("test ") && line.contains("::helper_") && line.contains(" ... ignored")
}

fn number_before(line: &str, word: &str) -> u64 {
    line.find(word)
        .and_then(|end| line[..end].rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_are_summed() {
        let printed = "running 2 tests\n\
            test crash::helper_is_killed ... ignored, runs in a process of its own\n\
            test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.00s\n";
        let expected = Count {
            passed: 42,
            ignored: 1,
        };
        assert_eq!(Count::of(printed), expected);
        assert!(expected.judge().unwrap_err().contains("ignored"));
    }

    #[test]
    fn a_run_without_a_test_fails() {
        let printed = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 40 filtered out; finished in 0.00s\n";
        assert!(Count::of(printed).judge().unwrap_err().contains("no test ran"));
        assert!(Count::of("").judge().is_err());
        let one =
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(Count::of(one).judge().unwrap(), "1 tests");
    }
}
