//! What ran: a task with its attempts and logs.

use jobcore::attempt::{Attempt, AttemptStatus};
use jobcore::json::Json;
use jobcore::task::{Task, TaskState};
use serde::de::DeserializeOwned;

/// A task of which at least one attempt was carried out.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The task as it stands now; its arguments are those that its attempts got.
    pub task: Task,
    /// Its attempts, by number.
    pub attempts: Vec<Attempt>,
    /// What its attempts logged, by attempt and in order.
    pub logs: Vec<String>,
    pub(super) given: Json,
}

impl Ran {
    /// Where the task stands.
    pub fn state(&self) -> TaskState {
        self.task.state
    }

    /// How its attempts ended, by number.
    pub fn statuses(&self) -> Vec<AttemptStatus> {
        self.attempts.iter().map(|attempt| attempt.status).collect()
    }

    /// What its attempts got.
    ///
    /// # Panics
    /// If it isn't a `T`.
    #[track_caller]
    pub fn arguments<T: DeserializeOwned>(&self) -> T {
        decode("arguments", self.given.as_str())
    }

    /// What its last attempt returned.
    ///
    /// # Panics
    /// If it isn't a `T`.
    #[track_caller]
    pub fn output<T: DeserializeOwned>(&self) -> T {
        let output = self.attempts.last().map_or("", |attempt| attempt.output.as_str());
        decode("output", if output.is_empty() { "null" } else { output })
    }

    /// What went wrong in its last attempt; empty for nothing.
    pub fn error(&self) -> &str {
        self.attempts.last().map_or("", |attempt| attempt.error.as_str())
    }

    /// For people: what, when, how it went.
    pub(super) fn describe(&self) -> String {
        let attempts: Vec<String> = self.attempts.iter().map(describe).collect();
        let (job_id, given) = (&self.task.job_id, self.given.as_str());
        format!("{job_id} with {given}: {}, {}", attempts.join(", "), self.state())
    }
}

fn describe(attempt: &Attempt) -> String {
    let (number, start, status) = (attempt.attempt, attempt.start_time, attempt.status.as_str());
    let error = match attempt.error.as_str() {
        "" => String::new(),
        error => format!(" ({error})"),
    };
    format!("attempt {number} at {start} {status}{error}")
}

#[track_caller]
fn decode<T: DeserializeOwned>(what: &str, text: &str) -> T {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => panic!(
            "the {what} {text} can't be read as {}: {error}",
            std::any::type_name::<T>()
        ),
    }
}
