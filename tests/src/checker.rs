//! The checker: what must hold of a recorded history, whatever was done to the processes that made it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use jobcore::Timestamp;
use jobcore::attempt::{Attempt, AttemptStatus};
use jobcore::id::{JobId, TaskId};
use jobcore::store::DecisionKind;
use jobcore::task::{Task, TaskState};

use crate::history::History;
use crate::jobs::{AT_MOST_ONCE, RETRIES};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// The insert was acknowledged, and the task is gone.
    Lost(TaskId),
    /// The task didn't become final in time.
    Unfinished(TaskId),
    /// The task became final more than once.
    FinalTwice(TaskId),
    /// The task was final, and later something else or gone.
    FinalChanged(TaskId),
    /// A fire has neither a task nor a decision.
    FireLost(JobId, Timestamp),
    /// A fire has more than one of them.
    FireDoubled(JobId, Timestamp),
    /// A later attempt has no higher token.
    TokenNotIncreasing(TaskId),
    /// Two attempts began under the same token.
    TokenUsedTwice(TaskId),
    /// An attempt began under a lease that was taken after the task was final.
    BeganAfterFinal(TaskId),
    /// A task that may begin once began again.
    MoreThanOnce(TaskId),
    /// It succeeded, but its last attempt didn't, or several did.
    SuccessWithoutAttempt(TaskId),
    /// It succeeded, and no handler ever began under that token.
    SuccessWithoutWork(TaskId),
    /// More attempts failed than the retry policy allows.
    TooManyFailures(TaskId),
    /// An attempt is recorded as running, but nobody runs it.
    StillRunning(TaskId),
    /// A process of it outlived its executor.
    ShellChild(TaskId),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// All violations in a history whose processes have ended.
pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    let found = &mut violations;
    nothing_is_lost(history, found);
    final_is_final(history, found);
    each_fire_counts_once(history, found);
    tokens_increase(history, found);
    work_matches_the_record(history, found);
    let children = history.shell_children.iter().cloned();
    found.extend(children.map(Violation::ShellChild));
    violations.sort();
    violations.dedup();
    violations
}

fn nothing_is_lost(history: &History, found: &mut Vec<Violation>) {
    let tasks = history.live.iter().chain(&history.finished);
    let known: HashSet<&TaskId> = tasks.map(|task| &task.task_id).collect();
    let lost = history.accepted.iter().filter(|id| !known.contains(id));
    found.extend(lost.cloned().map(Violation::Lost));
    let live = history.live.iter().map(|task| task.task_id.clone());
    found.extend(live.map(Violation::Unfinished));
}

fn final_is_final(history: &History, found: &mut Vec<Violation>) {
    let mut ends: HashMap<&TaskId, &Task> = HashMap::new();
    for task in &history.finished {
        if ends.insert(&task.task_id, task).is_some() {
            found.push(Violation::FinalTwice(task.task_id.clone()));
        }
    }
    for (task_id, state, end_time) in &history.seen_final {
        let now = ends.get(task_id).map(|task| (task.state, task.end_time));
        if now != Some((*state, *end_time)) {
            found.push(Violation::FinalChanged(task_id.clone()));
        }
    }
}

fn each_fire_counts_once(history: &History, found: &mut Vec<Violation>) {
    for (job_id, times) in &history.fires {
        let mut answers: BTreeMap<Timestamp, usize> = times.iter().map(|time| (*time, 0)).collect();
        let tasks = history.live.iter().chain(&history.finished);
        let made = tasks.filter(|task| task.job_id == *job_id);
        for time in made.filter_map(|task| task.scheduled_for) {
            *answers.entry(time).or_default() += 1;
        }
        for decision in &history.decisions {
            let instead_of_tasks = matches!(
                decision.kind,
                DecisionKind::MisfireMerged | DecisionKind::MisfireSkipped
            );
            if let Some(first) = decision.scheduled_for.filter(|_| instead_of_tasks)
                && decision.job_id == *job_id
            {
                let covered = answers.range_mut(first..).take(decision.count as usize);
                covered.for_each(|(_, count)| *count += 1);
            }
        }
        found.extend(answers.into_iter().filter_map(|(time, count)| match count {
            0 => Some(Violation::FireLost(job_id.clone(), time)),
            1 => None,
            _ => Some(Violation::FireDoubled(job_id.clone(), time)),
        }));
    }
}

fn tokens_increase(history: &History, found: &mut Vec<Violation>) {
    for (task_id, attempts) in by_task(&history.attempts) {
        let increasing = attempts.is_sorted_by(|a, b| a.attempt < b.attempt && a.token < b.token);
        if !increasing {
            found.push(Violation::TokenNotIncreasing(task_id.clone()));
        }
    }
    let mut begun = HashSet::new();
    for began in &history.journal {
        if !begun.insert((&began.task_id, began.token)) {
            found.push(Violation::TokenUsedTwice(began.task_id.clone()));
        }
    }
}

fn work_matches_the_record(history: &History, found: &mut Vec<Violation>) {
    let attempts = by_task(&history.attempts);
    let mut tokens: HashMap<&TaskId, Vec<_>> = HashMap::new();
    for began in &history.journal {
        tokens.entry(&began.task_id).or_default().push(began.token);
    }
    for task in &history.finished {
        let begun = tokens.get(&task.task_id).map_or(&[][..], Vec::as_slice);
        let tried = attempts.get(&task.task_id).map_or(&[][..], Vec::as_slice);
        let mut broken = |violation: fn(TaskId) -> Violation| found.push(violation(task.task_id.clone()));
        if begun.iter().any(|token| *token > task.token) {
            broken(Violation::BeganAfterFinal);
        }
        if task.job_id.as_str() == AT_MOST_ONCE && begun.len() > 1 {
            broken(Violation::MoreThanOnce);
        }
        if task.state == TaskState::Succeeded && !begun.contains(&task.token) {
            broken(Violation::SuccessWithoutWork);
        }
        let last_succeeded = tried.last().is_some_and(|last| is(last, AttemptStatus::Success));
        let successes = count(tried, AttemptStatus::Success);
        if successes != usize::from(task.state == TaskState::Succeeded) || (successes > 0 && !last_succeeded)
        {
            broken(Violation::SuccessWithoutAttempt);
        }
        if count(tried, AttemptStatus::Failed) > RETRIES as usize + 1 {
            broken(Violation::TooManyFailures);
        }
        if count(tried, AttemptStatus::Running) > 0 {
            broken(Violation::StillRunning);
        }
    }
}

/// Attempts by task, in the order of their numbers.
fn by_task(attempts: &[Attempt]) -> BTreeMap<&TaskId, Vec<&Attempt>> {
    let mut tasks: BTreeMap<&TaskId, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        tasks.entry(&attempt.task_id).or_default().push(attempt);
    }
    for attempts in tasks.values_mut() {
        attempts.sort_by_key(|attempt| attempt.attempt);
    }
    tasks
}

fn is(attempt: &Attempt, status: AttemptStatus) -> bool {
    attempt.status == status
}

fn count(attempts: &[&Attempt], status: AttemptStatus) -> usize {
    attempts.iter().filter(|attempt| is(attempt, status)).count()
}

/// How many tasks ended in which state, for people.
pub fn summary(history: &History) -> String {
    let mut states: BTreeMap<TaskState, usize> = BTreeMap::new();
    for task in &history.finished {
        *states.entry(task.state).or_default() += 1;
    }
    let lost = history
        .attempts
        .iter()
        .filter(|attempt| is(attempt, AttemptStatus::Lost));
    let tasks: BTreeSet<&TaskId> = history.journal.iter().map(|began| &began.task_id).collect();
    format!(
        "{states:?}, {} accepted from outside, {} fires, {} decisions, {} attempts of which {} lost, {} begun again",
        history.accepted.len(),
        history.fires.values().map(Vec::len).sum::<usize>(),
        history.decisions.len(),
        history.attempts.len(),
        lost.count(),
        history.journal.len() - tasks.len(),
    )
}

#[cfg(test)]
mod tests;
