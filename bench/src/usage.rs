//! What this process uses: processor time and memory.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

use crate::failure::Result;

/// The processor time that this process has used so far, in all threads, its own and the kernel's on its behalf.
pub(crate) fn processor_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |seconds: i64, micros: i64| u64::try_from(seconds * 1_000_000 + micros).unwrap_or(0);
    let (user, system) = (usage.user_time(), usage.system_time());
    Ok(Duration::from_micros(
        micros(user.tv_sec(), user.tv_usec()) + micros(system.tv_sec(), system.tv_usec()),
    ))
}

/// The memory of this process that is resident, in MiB; `None` where the system has no `/proc`.
pub(crate) fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()?;
    Some(kib / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read() {
        assert!(processor_time().is_ok());
        if cfg!(target_os = "linux") {
            assert!(resident_mb().unwrap() > 0.5);
        }
    }
}
