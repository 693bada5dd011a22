//! The examples do what the README says of them.

use std::path::Path;
use std::process::Command;

use crate::step::Outcome;
use crate::{cargo, process, quickstart};

/// Runs them all.
pub(crate) fn run() -> Outcome {
    cron_preview()?;
    quickstart::run()?;
    Ok("cron-preview, quickstart".to_owned())
}

/// The night in which summer time begins in Berlin, for people and for programs.
fn cron_preview() -> Result<(), String> {
    let program = cargo::binary("cron-preview")?;
    let text = preview(&program, &[])?;
    let shown = [
        "2026-03-28 02:30:00",
        "2026-03-29 03:00:00",
        "02:30 does not exist",
    ];
    expect(&text, &shown)?;
    let json = preview(&program, &["--json"])?;
    expect(&json, &[r#""at": "2026-03-29T03:00:00+02:00""#])?;
    let skipping = preview(&program, &["--json", "--gap", "skip"])?;
    expect(&skipping, &[r#""skipped": "2026-03-29T02:30:00""#])
}

fn preview(program: &Path, flags: &[&str]) -> Outcome {
    let night = ["--zone", "Europe/Berlin", "--from", "2026-03-28T00:00:00Z"];
    let mut command = Command::new(program);
    command.args(night).args(["--count", "3"]).args(flags);
    process::output(command.arg("30 2 * * *"))
}

/// That all these texts were printed.
fn expect(printed: &str, texts: &[&str]) -> Result<(), String> {
    match texts.iter().find(|text| !printed.contains(*text)) {
        Some(missing) => Err(format!("the output lacks {missing:?}")),
        None => Ok(()),
    }
}
