//! Runs the selected steps and sums them up.

use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::process;
use crate::services::{self, Service};
use crate::step::{Outcome, STEPS, Step};

/// Prints the steps, and the services that they need.
pub(crate) fn list() {
    for step in STEPS {
        let minutes = step.limit.as_secs() / 60;
        let needs = step
            .needs
            .iter()
            .map(|service| format!(", with {}", service.name));
        let needs = needs.collect::<String>();
        println!("{:12} {} (at most {minutes} min{needs})", step.name, step.about);
    }
    println!("\nInstalled if missing, started for the first step that is with it, stopped at the end:");
    for service in services::ALL {
        let Service {
            name,
            about,
            variable,
            ..
        } = service;
        println!("{name:12} {about}; not if {variable} is set");
    }
}

/// The steps that were asked for, in their own order.
///
/// # Errors
/// A sentence that names an unknown step and the known ones.
pub(crate) fn selected(only: &[String], skip: &[String]) -> Result<Vec<&'static Step>, String> {
    let known = |name: &String| STEPS.iter().any(|step| step.name == name);
    if let Some(unknown) = only.iter().chain(skip).find(|name| !known(name)) {
        let names = STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
        return Err(format!("there is no step {unknown:?}; the steps are: {names}"));
    }
    let named = |names: &[String], step: &Step| names.iter().any(|name| name == step.name);
    Ok(STEPS
        .iter()
        .filter(|step| (only.is_empty() || named(only, step)) && !named(skip, step))
        .collect())
}

/// Runs the steps in order, up to the first that fails unless `keep_going`, and prints a table of them.
pub(crate) fn all(steps: &[&'static Step], keep_going: bool) -> ExitCode {
    let whole = Stopwatch::start();
    let mut done = Vec::new();
    for step in steps {
        let finished = one(step);
        let failed = finished.outcome.is_err();
        done.push(finished);
        if failed && !keep_going {
            break;
        }
    }
    services::stop();
    summary(&done, &steps[done.len()..], whole.elapsed())
}

#[derive(Debug)]
struct Finished {
    step: &'static Step,
    outcome: Outcome,
    took: Duration,
}

fn one(step: &'static Step) -> Finished {
    println!("\n=== {}: {}", step.name, step.about);
    let watch = Stopwatch::start();
    let outcome = within(step.limit, || {
        services::start(step.needs).and_then(|()| (step.run)())
    });
    let took = watch.elapsed();
    match &outcome {
        Ok(_) => println!("=== {} passed in {}", step.name, seconds(took)),
        Err(reason) => println!("=== {} FAILED in {}: {reason}", step.name, seconds(took)),
    }
    Finished { step, outcome, took }
}

/// Does the work, and kills what it started when it takes too long: a hang ends with a word about where it was.
fn within(limit: Duration, work: impl FnOnce() -> Outcome) -> Outcome {
    process::open();
    let (working, ended) = channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if late {
            process::kill_all();
        }
        late
    });
    let outcome = work();
    drop(working);
    match (outcome, watch.join()) {
        (Err(reason), Ok(true)) => Err(format!(
            "it took longer than its limit of {} and was killed, see above for where it was ({reason})",
            seconds(limit)
        )),
        (outcome, _) => outcome,
    }
}

fn summary(done: &[Finished], left: &[&'static Step], whole: Duration) -> ExitCode {
    println!("\n=== summary ({})", seconds(whole));
    for Finished { step, outcome, took } in done {
        let (mark, note) = match outcome {
            Ok(note) => ("ok", note),
            Err(reason) => ("FAILED", reason),
        };
        println!("{:12} {mark:7} {:>9}  {note}", step.name, seconds(*took));
    }
    for step in left {
        println!("{:12} not run", step.name);
    }
    let failed = done.iter().filter(|finished| finished.outcome.is_err()).count();
    println!("{} passed, {failed} failed", done.len() - failed);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::process::Process;

    #[test]
    fn a_step_that_hangs_is_killed_with_all_that_it_started() {
        let hang = || {
            let mut command = Command::new("sh");
            command
                .args(["-c", "sleep 3600 & sleep 3600"])
                .stdout(Stdio::piped());
            let mut shell = Process::start(&mut command).unwrap();
            // Ends when nobody has it open any more, neither the shell nor what it started.
            let read = shell.stdout.take().unwrap().read_to_end(&mut Vec::new());
            Err(format!("{read:?}, {}", shell.wait().unwrap()))
        };
        let reason = within(Duration::from_millis(200), hang).unwrap_err();
        assert!(reason.contains("longer than its limit of 0.2 s"), "{reason}");
        assert!(reason.contains("Ok(0), signal: 9"), "{reason}");
        let refused = process::run(&mut Command::new("true")).unwrap_err();
        assert_eq!(refused, "running `true`: the step was ended");
        let after = within(Duration::from_secs(60), || Ok("the next step runs".to_owned()));
        assert_eq!(after.unwrap(), "the next step runs");
    }

    fn names(steps: &[&'static Step]) -> Vec<&'static str> {
        steps.iter().map(|step| step.name).collect()
    }

    #[test]
    fn steps_are_selected_by_name_and_an_unknown_name_is_refused() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(selected(&[], &[]).unwrap().len(), STEPS.len());
        assert_eq!(
            names(&selected(&list(&["docs", "format"]), &[]).unwrap()),
            ["format", "docs"]
        );
        assert!(!names(&selected(&[], &list(&["crash"])).unwrap()).contains(&"crash"));
        assert!(
            selected(&list(&["nothing"]), &[])
                .unwrap_err()
                .contains("format, clippy")
        );
    }
}
