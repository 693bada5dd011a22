//! What a shell task runs: the command line and the conditions it runs under.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::environment::InheritEnv;
use super::limits::ShellLimits;
use crate::error::{Error, Result};
use crate::job::Command;
use crate::json::Json;

/// The longest command line in bytes: what a job holds. Linux takes 128 KiB for one argument.
pub const MAX_COMMAND_BYTES: usize = Command::MAX_LENGTH;
/// The longest value of an environment variable in bytes.
pub const MAX_VALUE_BYTES: usize = 65_535;
/// The largest environment that a command may bring along, names and values, in bytes.
pub const MAX_ENVIRONMENT_BYTES: usize = 256 * 1024;
/// The largest value of [`ShellOptions::output_cap_bytes`].
pub const MAX_OUTPUT_CAP_BYTES: usize = 16 * 1024 * 1024;
/// The longest [`ShellOptions::grace`].
pub const MAX_GRACE: Duration = Duration::from_secs(3600);

/// A command line for `/bin/sh -c`, and the conditions it runs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellCommand {
    /// The command line: 1 byte to [`MAX_COMMAND_BYTES`], no NUL.
    pub command: String,
    /// The conditions.
    pub options: ShellOptions,
}

/// The conditions that a command runs under: the options of a shell job.
///
/// Every field may be left out; unknown ones are refused, because a limit that is misspelt would be no limit.
///
/// ```
/// # use jobcore::shell::ShellOptions;
/// let options: ShellOptions = serde_json::from_str(
///     r#"{ "env": { "TZ": "UTC" }, "limits": { "cpu_seconds": 5 }, "grace": 2.5 }"#,
/// )?;
/// options.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `Debug` leaves the values of `env` out: they are often secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShellOptions {
    /// Environment variables for the command, above what is inherited. A name has no `=` and doesn't begin with
    /// `JOBCORE_`, which is kept for what the executor tells the command.
    pub env: BTreeMap<String, String>,
    /// What the command gets of the executor's own environment. Default: [`InheritEnv::Minimal`], so that the
    /// secrets of the application aren't handed to every command.
    pub inherit_env: InheritEnv,
    /// The working directory, absolute. Default: none, a fresh private directory that is removed afterwards, so
    /// that tasks can't meet in files by accident.
    pub working_dir: Option<PathBuf>,
    /// Resource limits. Default: none but that core dumps are off.
    pub limits: ShellLimits,
    /// How many bytes of each output stream are kept for the record of the attempt: 0 to
    /// [`MAX_OUTPUT_CAP_BYTES`]. Of longer output the first and the last half of the cap are kept. Default: 64 KiB.
    /// The log gets everything, whatever this says.
    pub output_cap_bytes: usize,
    /// The time between SIGTERM and SIGKILL when the command is cancelled or its time is over: 0 to [`MAX_GRACE`],
    /// in JSON a number of seconds. Default: 10 s, the usual patience of container and service managers.
    #[serde(with = "crate::duration")]
    pub grace: Duration,
}

impl ShellCommand {
    /// The command line with default conditions.
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            options: ShellOptions::default(),
        }
    }

    /// The command of a shell job, checked.
    ///
    /// # Errors
    /// `InvalidInput`, naming the field and what would be right.
    pub fn of_job(job: &Command) -> Result<Self> {
        let options = if job.options.is_null() {
            ShellOptions::default()
        } else {
            job.options
                .decode()
                .map_err(|error| Error::invalid("options", error))?
        };
        let command = Self {
            command: job.command.clone(),
            options,
        };
        command.validate()?;
        Ok(command)
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// `InvalidInput`, naming the field and what would be right.
    pub fn validate(&self) -> Result<()> {
        check_command(&self.command)?;
        self.options.validate()
    }
}

impl Default for ShellOptions {
    fn default() -> Self {
        Self {
            env: BTreeMap::new(),
            inherit_env: InheritEnv::default(),
            working_dir: None,
            limits: ShellLimits::default(),
            output_cap_bytes: 64 * 1024,
            grace: Duration::from_secs(10),
        }
    }
}

impl ShellOptions {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// `InvalidInput`, naming the field and what would be right.
    pub fn validate(&self) -> Result<()> {
        check_environment(&self.env)?;
        self.working_dir.as_deref().map_or(Ok(()), check_directory)?;
        self.limits.validate()?;
        if self.output_cap_bytes > MAX_OUTPUT_CAP_BYTES {
            return Err(Error::invalid(
                "options.output_cap_bytes",
                format_args!("must be at most {MAX_OUTPUT_CAP_BYTES}"),
            ));
        }
        if self.grace > MAX_GRACE {
            return Err(Error::invalid(
                "options.grace",
                format_args!("must be at most {} seconds", MAX_GRACE.as_secs()),
            ));
        }
        Ok(())
    }
}

fn check_command(command: &str) -> Result<()> {
    if command.trim().is_empty() {
        return Err(Error::invalid("command", "must not be empty"));
    }
    if command.len() > MAX_COMMAND_BYTES {
        let message =
            format_args!("must be at most {MAX_COMMAND_BYTES} bytes; put a longer script into a file");
        return Err(Error::invalid("command", message));
    }
    if command.contains('\0') {
        return Err(Error::invalid("command", "must not contain a NUL character"));
    }
    Ok(())
}

fn check_environment(env: &BTreeMap<String, String>) -> Result<()> {
    let mut bytes = 0;
    for (name, value) in env {
        let field = format!("options.env.{name}");
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Error::invalid(
                &field,
                "a name must not be empty and has no `=` and no NUL character",
            ));
        }
        if name.starts_with("JOBCORE_") {
            return Err(Error::invalid(
                &field,
                "names that begin with `JOBCORE_` are set by the executor",
            ));
        }
        if value.contains('\0') {
            return Err(Error::invalid(&field, "must not contain a NUL character"));
        }
        bytes += name.len() + value.len() + 2;
        if value.len() > MAX_VALUE_BYTES || bytes > MAX_ENVIRONMENT_BYTES {
            let message = format_args!(
                "too long: one value may have {MAX_VALUE_BYTES} bytes, all of them {MAX_ENVIRONMENT_BYTES}"
            );
            return Err(Error::invalid(&field, message));
        }
    }
    Ok(())
}

fn check_directory(path: &Path) -> Result<()> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(Error::invalid(
            "options.working_dir",
            format_args!("`{}` must be an absolute path", path.display()),
        ))
    }
}

impl TryFrom<ShellCommand> for Command {
    type Error = Error;

    /// The command as a job has it.
    fn try_from(command: ShellCommand) -> Result<Self> {
        command.validate()?;
        let options = if command.options == ShellOptions::default() {
            Json::NULL
        } else {
            Json::encode(&command.options)?
        };
        Ok(Self {
            options,
            ..Self::shell(command.command)
        })
    }
}

impl From<&str> for ShellCommand {
    fn from(command: &str) -> Self {
        Self::new(command)
    }
}

impl fmt::Debug for ShellOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShellOptions")
            .field("env", &self.env.keys())
            .field("inherit_env", &self.inherit_env)
            .field("options.working_dir", &self.working_dir)
            .field("limits", &self.limits)
            .field("options.output_cap_bytes", &self.output_cap_bytes)
            .field("options.grace", &self.grace)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ShellCommand)) -> String {
        let mut command = ShellCommand::new("true");
        change(&mut command);
        command.validate().unwrap_err().to_string()
    }

    fn refused_name(name: &str) -> String {
        refused(|c| drop(c.options.env.insert(name.into(), String::new())))
    }

    #[test]
    fn errors_name_the_field() {
        assert!(refused(|c| c.command = " \n".into()).starts_with("command: "));
        assert!(refused(|c| c.command = "x".repeat(MAX_COMMAND_BYTES + 1)).starts_with("command: "));
        assert!(refused_name("A=B").starts_with("options.env.A=B: "));
        assert!(refused_name("JOBCORE_X").starts_with("options.env.JOBCORE_X: "));
        assert!(refused(|c| c.options.working_dir = Some("tmp".into())).starts_with("options.working_dir: "));
        assert!(
            refused(|c| c.options.limits.open_files = Some(1)).starts_with("options.limits.open_files: ")
        );
        assert!(refused(|c| c.options.limits.nice = 20).starts_with("options.limits.nice: "));
        assert!(
            refused(|c| c.options.output_cap_bytes = usize::MAX).starts_with("options.output_cap_bytes: ")
        );
        assert!(refused(|c| c.options.grace = Duration::MAX).starts_with("options.grace: "));
    }

    #[test]
    fn json_round_trips_and_misspelt_fields_are_refused() {
        let mut options = ShellOptions::default();
        options.env.insert("CC".into(), "clang".into());
        options.limits.cpu_seconds = Some(60);
        options.grace = Duration::from_millis(1500);
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<ShellOptions>(&json).unwrap(), options);
        assert_eq!(
            serde_json::from_str::<ShellOptions>("{}").unwrap(),
            ShellOptions::default()
        );
        let error = serde_json::from_str::<ShellOptions>(r#"{"limits":{"cpu":1}}"#).unwrap_err();
        assert!(error.to_string().contains("cpu_seconds"), "{error}");
    }

    #[test]
    fn a_job_keeps_the_command() {
        let mut command = ShellCommand::new("make");
        assert!(Command::try_from(command.clone()).unwrap().options.is_null());
        command.options.limits.nice = 3;
        let job = Command::try_from(command.clone()).unwrap();
        assert_eq!(ShellCommand::of_job(&job).unwrap(), command);
    }

    #[test]
    fn debug_hides_the_values_of_the_environment() {
        let mut command = ShellCommand::new("true");
        command.options.env.insert("TOKEN".into(), "s3cret".into());
        let text = format!("{command:?}");
        assert!(text.contains("TOKEN") && !text.contains("s3cret"));
    }
}
