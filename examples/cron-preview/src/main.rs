//! Shows when a cron expression fires next, and what summer time does to it.
//!
//! ```text
//! cron-preview --zone Europe/Berlin --from 2026-03-28T00:00:00Z --count 3 '30 2 * * *'
//! ```

mod report;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, ValueEnum};
use jobcore::schedule::{GapPolicy, MAX_PREVIEW, RepeatPolicy, Schedule};
use jobcore::{Error, Timestamp};

/// The status of a command that was called wrongly, as of clap itself.
const USAGE: u8 = 2;

/// Shows when a cron expression fires next, in local time, and why where clocks jump.
#[derive(Parser)]
#[command(version, after_long_help = HELP)]
struct Args {
    /// The expression, in quotes: minute hour day month weekday, a second before them, a year after them.
    #[arg(required = true)]
    expression: Vec<String>,

    /// The time zone that the expression is read in, by its IANA name.
    #[arg(long, default_value = "UTC")]
    zone: String,

    /// Shows fire times after this instant, written like 2026-03-28T00:00:00Z [default: now].
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    from: Option<Timestamp>,

    /// How many fire times to show; skipped times come on top.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MAX_PREVIEW as u64))]
    count: u64,

    /// A time that doesn't exist because clocks go forward fires at the end of the gap, or is skipped.
    #[arg(long, value_enum, default_value_t = Gap::After)]
    gap: Gap,

    /// A time that comes twice because clocks go back fires in the first pass, or in both.
    #[arg(long, value_enum, default_value_t = Overlap::Once)]
    overlap: Overlap,

    /// Prints a JSON array of {"at", "reason"?} for fires and {"skipped", "reason", "through"?} for skipped times.
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Fields:
  minute   0-59            hour     0-23
  day      1-31            month    1-12 or JAN-DEC
  weekday  0-7 or SUN-SAT, 0 and 7 are Sunday
  second   0-59, the first of 6 or 7 fields; else 0
  year     1970-2099, the last of 7 fields; else every year

In a field:
  *        every value              1,15     a list
  9-17     a range; FRI-MON and 22-2 pass the end of their field
  */10     every tenth              5/10     every tenth, from 5
  L        day: the last            L-3      day: three before the last
  15W      day: nearest weekday     LW       day: last weekday from Monday to Friday
  5L FRIL  weekday: last Friday     MON#2    weekday: second Monday
  ?        day or weekday: any

  @yearly @monthly @weekly @daily @hourly stand for all fields.
  If day and weekday are both restricted, one of them is enough: '0 0 13 * FRI' is every 13th and every Friday.

Summer time:
  --gap and --overlap say what happens to a time that doesn't exist or comes twice.
  An expression whose minute or hour begins with * follows elapsed time instead: it fires in both
  passes of a repeated hour, and makes nothing up after a gap.

Examples:
  cron-preview '*/15 9-17 * * MON-FRI'
  cron-preview --zone Europe/Berlin --from 2026-03-28T00:00:00Z --count 3 '30 2 * * *'
  cron-preview --zone America/New_York --overlap twice --json '30 1 * NOV SUN#1'";

#[derive(Clone, Copy, ValueEnum)]
enum Gap {
    After,
    Skip,
}

#[derive(Clone, Copy, ValueEnum)]
enum Overlap {
    Once,
    Twice,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(text) => print(&text),
        Err(text) => {
            eprint!("{text}");
            ExitCode::from(USAGE)
        }
    }
}

/// The text for standard output, or that for standard error.
fn run(args: &Args) -> Result<String, String> {
    let [expression] = args.expression.as_slice() else {
        return Err(
            "error: the expression is one argument; put it in quotes, so that the shell leaves `*` alone\n"
                .into(),
        );
    };
    let schedule = schedule(args, expression).map_err(|error| report::error(&error, expression))?;
    let from = args.from.unwrap_or_else(now);
    let count = usize::try_from(args.count).unwrap_or(MAX_PREVIEW);
    let entries = schedule.preview(from, from, count);
    if args.json {
        let json = serde_json::to_string_pretty(&entries).map_err(|error| format!("error: {error}\n"))?;
        return Ok(json + "\n");
    }
    Ok(report::text(&schedule, &entries, from, count))
}

fn schedule(args: &Args, expression: &str) -> Result<Schedule, Error> {
    let schedule = Schedule::cron(expression)?
        .in_zone(&args.zone)?
        .on_gap(match args.gap {
            Gap::After => GapPolicy::After,
            Gap::Skip => GapPolicy::Skip,
        })
        .on_overlap(match args.overlap {
            Overlap::Once => RepeatPolicy::Once,
            Overlap::Twice => RepeatPolicy::Twice,
        });
    schedule.validate()?;
    Ok(schedule)
}

fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        "write date, time and offset, such as 2026-03-28T00:00:00Z or 2026-03-28T01:00:00+01:00".to_owned()
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the edge of a program: a person asks what comes next from now on"
)]
fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::EPOCH + since_epoch.unwrap_or(Duration::ZERO)
}

/// Prints; a reader that has seen enough (`| head`) isn't an error.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: standard output can't be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
