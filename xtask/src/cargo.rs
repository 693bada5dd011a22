//! Runs cargo, showing what it runs and what it prints.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::step::Outcome;

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or_else(PathBuf::new, Path::to_path_buf)
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
    show(arguments, environment);
    let status = command(arguments, environment)
        .status()
        .map_err(|error| format!("cargo didn't start: {error}"))?;
    if status.success() {
        Ok(String::new())
    } else {
        Err(format!("`cargo {}` ended with {status}", arguments[0]))
    }
}

/// Runs cargo to its end; answers with what it printed on standard output, which is shown as well.
pub(crate) fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Result<String, String> {
    show(arguments, environment);
    let mut child = command(arguments, environment)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo didn't start: {error}"))?;
    let mut printed = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| format!("reading cargo's output: {error}"))?;
            println!("{line}");
            printed.push_str(&line);
            printed.push('\n');
        }
    }
    let status = child
        .wait()
        .map_err(|error| format!("waiting for cargo: {error}"))?;
    if status.success() {
        Ok(printed)
    } else {
        Err(format!("`cargo {}` ended with {status}", arguments[0]))
    }
}

/// Runs tests; passes if all did and none was skipped.
pub(crate) fn test(arguments: &[&str]) -> Outcome {
    let count = Count::of(&output(arguments, &[])?);
    if count.ignored > 0 {
        return Err(format!(
            "{} tests are marked as ignored: a full run skips nothing",
            count.ignored
        ));
    }
    Ok(format!("{} tests", count.passed))
}

fn show(arguments: &[&str], environment: &[(&str, &str)]) {
    let variables = environment
        .iter()
        .map(|(name, value)| format!("{name}='{value}' "))
        .collect::<String>();
    let arguments = arguments.iter().copied().map(quoted).collect::<Vec<_>>();
    println!("$ {variables}cargo {}", arguments.join(" "));
}

/// As a shell would need it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
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
    fn what_a_shell_would_change_is_quoted() {
        assert_eq!(quoted("--from=2026"), "--from=2026");
        assert_eq!(quoted("30 2 * * *"), "'30 2 * * *'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

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
    }
}
