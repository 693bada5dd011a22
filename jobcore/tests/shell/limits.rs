//! Limits, environment and working directory as the command sees them.

use std::time::Duration;

use jobcore::shell::{InheritEnv, ShellCommand, ShellEnd, ShellLimits, ShellReport};

use crate::support::Place;

async fn limited(command: &str, limits: ShellLimits) -> ShellReport {
    let mut command = ShellCommand::new(command);
    command.options.limits = limits;
    Place::new().run(&command).await
}

#[tokio::test]
async fn the_command_sees_its_limits() {
    let limits = ShellLimits {
        cpu_seconds: Some(50),
        address_space_bytes: Some(512 << 20),
        open_files: Some(32),
        processes: Some(4000),
        file_size_bytes: Some(1 << 20),
        nice: 5,
    };
    let report = limited("cat /proc/self/limits; nice", limits).await;
    assert_eq!(report.end, ShellEnd::Exited(0), "{}", report.stderr.text);
    let lines: Vec<String> = report
        .stdout
        .text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for expected in [
        "Max cpu time 50 51 seconds",
        "Max address space 536870912 536870912 bytes",
        "Max open files 32 32 files",
        "Max processes 4000 4000 processes",
        "Max file size 1048576 1048576 bytes",
        "Max core file size 0 0 bytes",
        "5",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected} is not in {lines:#?}"
        );
    }
}

#[tokio::test]
async fn limits_above_the_executors_own_are_lowered() {
    let limits = ShellLimits {
        open_files: Some(u64::MAX),
        ..ShellLimits::default()
    };
    assert_eq!(limited("true", limits).await.end, ShellEnd::Exited(0));
}

#[tokio::test]
async fn processor_time_runs_out() {
    let limits = ShellLimits {
        cpu_seconds: Some(1),
        ..ShellLimits::default()
    };
    assert_eq!(
        limited("while :; do :; done", limits).await.end,
        ShellEnd::Killed(24)
    );
}

#[tokio::test]
async fn a_file_can_be_too_large() {
    let limits = ShellLimits {
        file_size_bytes: Some(1024),
        ..ShellLimits::default()
    };
    let report = limited("head -c 4096 /dev/zero > file; wc -c < file", limits).await;
    assert_eq!(report.stdout.text.trim(), "1024");
}

#[tokio::test]
async fn messages_of_the_shell_name_the_right_line() {
    let limits = ShellLimits {
        open_files: Some(64),
        ..ShellLimits::default()
    };
    let report = limited("true\n/no/such/program", limits).await;
    assert!(report.stderr.text.contains('2'), "{}", report.stderr.text);
}

#[tokio::test]
async fn the_environment_is_small_and_ours() {
    let mut place = Place::new();
    place.task_env.insert("JOBCORE_FENCING_TOKEN".into(), "42".into());
    let mut command = ShellCommand::new("env");
    command.options.env.insert("COLOUR".into(), "a=b c".into());
    command.options.inherit_env = InheritEnv::Nothing;
    let report = place.run(&command).await;
    let names: Vec<&str> = report
        .stdout
        .text
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    let known = [
        "COLOUR",
        "JOBCORE_FENCING_TOKEN",
        "PATH",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(report.stdout.text.contains("COLOUR=a=b c\n") && report.stdout.text.contains("_TOKEN=42\n"));
}

#[tokio::test]
async fn each_task_has_a_private_directory_that_is_removed() {
    let place = Place::new();
    let command = ShellCommand::new("pwd; ls -A; mkdir a; echo x > a/b; stat -c %a .");
    let report = place.run(&command).await;
    let lines: Vec<&str> = report.stdout.text.lines().collect();
    assert!(lines[0].starts_with(place.base.path().canonicalize().unwrap().to_str().unwrap()));
    assert_eq!(lines[1..], ["700"]);
    assert!(place.directories().is_empty());
}

#[tokio::test]
async fn a_named_directory_stays() {
    let place = Place::new();
    let mut command = ShellCommand::new("echo x > file");
    command.options.working_dir = Some(place.base.path().to_owned());
    command.options.grace = Duration::ZERO;
    assert_eq!(place.run(&command).await.end, ShellEnd::Exited(0));
    assert!(place.base.path().join("file").exists());
}
