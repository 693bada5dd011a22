//! Output: streamed, capped, and never faster than the log takes it.
#![expect(clippy::unwrap_used, reason = "all of this is tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jobcore::attempt::LogStream;
use jobcore::shell::{MAX_CHUNK_BYTES, OutputSink, ShellCommand, ShellEnd, ShellRequest, run};
use tokio::sync::Semaphore;

use crate::support::{Mark, PATIENCE, Place};

#[tokio::test]
async fn both_streams_come_as_they_are_written() {
    let place = Place::new();
    let finish = place.base.path().join("finish");
    let command = format!(
        "echo one; echo two >&2; until [ -e {} ]; do sleep 0.01; done",
        finish.display()
    );
    let command = ShellCommand::new(command);
    let go_on = async {
        place.output.wait_for("one\n").await;
        std::fs::write(&finish, "").unwrap();
    };
    let (report, ()) = tokio::join!(place.run(&command), go_on);
    assert_eq!(
        (report.stdout.text.as_str(), report.stderr.text.as_str()),
        ("one\n", "two\n")
    );
    assert_eq!(place.output.text(LogStream::Stderr), "two\n");
}

#[tokio::test]
async fn the_record_is_capped_and_the_log_is_not() {
    let place = Place::new();
    let mut command = ShellCommand::new("seq 1 20000");
    command.options.output_cap_bytes = 1000;
    let report = place.run(&command).await;
    let log = place.output.text(LogStream::Stdout);
    assert_eq!(log.lines().count(), 20000);
    assert!(report.stdout.text.starts_with("1\n2\n") && report.stdout.text.ends_with("19999\n20000\n"));
    assert_eq!(report.stdout.dropped_bytes, (log.len() - 1000) as u64);
    assert!(report.stdout.text.len() < 1050);
}

#[tokio::test]
async fn invalid_text_is_replaced() {
    let report = Place::new()
        .run(&ShellCommand::new(r"printf 'a\377b\303\244'"))
        .await;
    assert_eq!(report.stdout.text, "a\u{FFFD}bä");
}

/// Takes one chunk for each permit.
struct Slow {
    permits: Semaphore,
    bytes: AtomicUsize,
}

#[async_trait::async_trait]
impl OutputSink for Slow {
    async fn write(&self, _: LogStream, text: &str) {
        self.permits.acquire().await.unwrap().forget();
        self.bytes.fetch_add(text.len(), Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_slow_log_slows_the_command() {
    let place = Place::new();
    let written = place.base.path().join("written");
    // The count goes up with each kilobyte that the command gets rid of.
    let command = format!(
        "i=0; while [ $i -lt 2000 ]; do printf '%01023d\\n' 0; i=$((i+1)); echo $i > {}; done",
        written.display()
    );
    let command = ShellCommand::new(command);
    let slow = Slow {
        permits: Semaphore::new(0),
        bytes: AtomicUsize::new(0),
    };
    let request = ShellRequest {
        sink: &slow,
        ..place.request(&command)
    };
    let kilobytes = || {
        std::fs::read_to_string(&written)
            .ok()
            .and_then(|text| text.trim().parse::<usize>().ok())
    };
    let watch = async {
        // It comes to rest with a full pipe, a full buffer and the chunk that isn't taken.
        let mut before = None;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = kilobytes();
            if now.is_some() && now == before {
                break;
            }
            before = now;
        }
        let held = kilobytes().unwrap();
        assert!(
            held <= (64 * 1024 + 4 * MAX_CHUNK_BYTES) / 1024,
            "{held} kilobytes are held"
        );
        slow.permits.add_permits(10_000);
    };
    let (report, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(run(request), watch) })
        .await
        .unwrap();
    let report = report.unwrap();
    assert_eq!((report.end, report.output_complete), (ShellEnd::Exited(0), true));
    assert_eq!(slow.bytes.load(Ordering::Relaxed), 2000 * 1024);
}

#[tokio::test]
async fn a_log_that_takes_nothing_does_not_hold_up_the_end() {
    let place = Place::new();
    let slow = Slow {
        permits: Semaphore::new(0),
        bytes: AtomicUsize::new(0),
    };
    let mut command = ShellCommand::new("echo held; exit 4");
    command.options.output_cap_bytes = 100;
    let request = ShellRequest {
        sink: &slow,
        ..place.request(&command)
    };
    let report = tokio::time::timeout(PATIENCE, run(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((report.end, report.output_complete), (ShellEnd::Exited(4), false));
    assert_eq!(report.stdout.text, "held\n");
}

#[tokio::test]
async fn a_process_that_left_the_group_and_holds_the_pipe_does_not_hold_up_the_end() {
    let (place, mark) = (Place::new(), Mark::new());
    let mut command = ShellCommand::new(
        "setsid sh -c ': > left; exec sleep 8' & until [ -e left ]; do sleep 0.01; done; echo begun",
    );
    command.options.env.insert("MARK".into(), mark.to_string());
    let report = place.run(&command).await;
    assert_eq!((report.end, report.output_complete), (ShellEnd::Exited(0), false));
    assert_eq!(report.stdout.text, "begun\n");
    assert_eq!(mark.bearers().len(), 1, "what has left its group isn't caught");
    mark.wait_until_gone(&[]).await;
}
