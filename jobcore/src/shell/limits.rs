//! Resource limits of a command, set by the shell's own `ulimit` before the command begins.

use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The least address space that lets a shell and a small program start.
const MIN_ADDRESS_SPACE: u64 = 8 * 1024 * 1024;
/// The fewest open files with which a program can still be loaded.
const MIN_OPEN_FILES: u64 = 8;
/// `ulimit -f` counts in blocks of this many bytes.
const BLOCK: u64 = 512;

/// Limits for each process of a command; `None` leaves the executor's own. They can't be raised by the command.
///
/// A limit above the executor's own hard limit is lowered to that. Core dumps are always off: they would fill the
/// disk with what may be secrets. These are limits of single processes, not of the group: a command that starts a
/// hundred processes may use a hundred times the memory. For a limit of the whole, run the executor in a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShellLimits {
    /// Processor time in seconds, from 1: SIGXCPU when it is used up, SIGKILL a second of processor time later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// Address space in bytes, from 8 MiB; rounded down to whole KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_space_bytes: Option<u64>,
    /// Open files, from 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Processes and threads, from 1. Linux counts *all* that belong to the user, the executor's own included, and
    /// doesn't limit root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// The size of a file that is written, in bytes, from 0; rounded up to blocks of 512. SIGXFSZ above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size_bytes: Option<u64>,
    /// How much the processor is left to others, 0 to 19 steps of `nice` above the executor's own. Default: 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub nice: u8,
}

// Serde hands over a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

impl ShellLimits {
    /// Checks every limit against its range.
    ///
    /// # Errors
    /// `InvalidInput`, naming the field and its least value.
    pub fn validate(&self) -> Result<()> {
        let least = [
            ("options.limits.cpu_seconds", self.cpu_seconds, 1),
            (
                "options.limits.address_space_bytes",
                self.address_space_bytes,
                MIN_ADDRESS_SPACE,
            ),
            ("options.limits.open_files", self.open_files, MIN_OPEN_FILES),
            ("options.limits.processes", self.processes, 1),
        ];
        for (field, value, least) in least {
            if value.is_some_and(|value| value < least) {
                return Err(Error::invalid(field, format_args!("must be at least {least}")));
            }
        }
        if self.nice > 19 {
            return Err(Error::invalid("options.limits.nice", "must be 0 to 19"));
        }
        Ok(())
    }

    /// The beginning of the script: sets the limits, or says that it can't and ends with status 126.
    ///
    /// It has no line break, so that the shell's messages name the right line of the command.
    pub(super) fn script(&self) -> String {
        let mut steps = vec!["ulimit -c 0".to_owned()];
        if let Some(wanted) = self.cpu_seconds {
            let soft = at_most(wanted, Resource::RLIMIT_CPU);
            let hard = at_most(wanted.saturating_add(1), Resource::RLIMIT_CPU);
            steps.push(format!("ulimit -S -t {soft} && ulimit -H -t {hard}"));
        }
        if let Some(wanted) = self.open_files {
            steps.push(format!("ulimit -n {}", at_most(wanted, Resource::RLIMIT_NOFILE)));
        }
        if let Some(wanted) = self.processes {
            let count = at_most(wanted, Resource::RLIMIT_NPROC);
            // Shells don't agree on the letter; where `-p` means something else, `-u` is known.
            steps.push(format!(
                "{{ ulimit -u {count} 2>/dev/null || ulimit -p {count}; }}"
            ));
        }
        if let Some(wanted) = self.file_size_bytes {
            let bytes = at_most(wanted.next_multiple_of(BLOCK), Resource::RLIMIT_FSIZE);
            steps.push(format!("ulimit -f {}", bytes / BLOCK));
        }
        if let Some(wanted) = self.address_space_bytes {
            steps.push(format!(
                "ulimit -v {}",
                at_most(wanted, Resource::RLIMIT_AS) / 1024
            ));
        }
        let refuse = "{ echo 'jobcore: a resource limit cannot be set' >&2; exit 126; }";
        format!("{} || {refuse};", steps.join(" && "))
    }
}

/// The wanted limit, or the executor's own hard limit if that is lower: only root could raise it.
fn at_most(wanted: u64, resource: Resource) -> u64 {
    getrlimit(resource).map_or(wanted, |(_, hard)| wanted.min(hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_but_core_dumps_by_default() {
        assert!(ShellLimits::default().script().starts_with("ulimit -c 0 || {"));
    }

    #[test]
    fn sizes_are_in_the_units_of_ulimit() {
        let limits = ShellLimits {
            file_size_bytes: Some(513),
            address_space_bytes: Some(64 << 20),
            cpu_seconds: Some(3),
            ..ShellLimits::default()
        };
        let script = limits.script();
        assert!(script.contains("ulimit -f 2 && ulimit -v 65536 "), "{script}");
        assert!(script.contains("ulimit -S -t 3 && ulimit -H -t 4 "), "{script}");
    }
}
