//! The examples do what the README says of them.

use crate::step::Outcome;
use crate::{cargo, quickstart};

/// Runs them all.
pub(crate) fn run() -> Outcome {
    cron_preview()?;
    quickstart::run()?;
    Ok("cron-preview, quickstart".to_owned())
}

/// The night in which summer time begins in Berlin, for people and for programs.
fn cron_preview() -> Result<(), String> {
    let text = preview(&[])?;
    expect(
        &text,
        &[
            "2026-03-28 02:30:00",
            "2026-03-29 03:00:00",
            "02:30 does not exist",
        ],
    )?;
    let json = preview(&["--json"])?;
    expect(&json, &[r#""at": "2026-03-29T03:00:00+02:00""#])?;
    let skipping = preview(&["--json", "--gap", "skip"])?;
    expect(&skipping, &[r#""skipped": "2026-03-29T02:30:00""#])
}

fn preview(flags: &[&str]) -> Result<String, String> {
    let run = [
        "run",
        "--locked",
        "--quiet",
        "--release",
        "--package",
        "cron-preview",
        "--",
    ];
    let night = [
        "--zone",
        "Europe/Berlin",
        "--from",
        "2026-03-28T00:00:00Z",
        "--count",
        "3",
    ];
    cargo::output(&[&run[..], &night, flags, &["30 2 * * *"]].concat(), &[])
}

/// That all these texts were printed.
fn expect(printed: &str, texts: &[&str]) -> Result<(), String> {
    match texts.iter().find(|text| !printed.contains(*text)) {
        Some(missing) => Err(format!("the output lacks {missing:?}")),
        None => Ok(()),
    }
}
