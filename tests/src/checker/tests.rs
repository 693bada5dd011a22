//! The checker goes red: a good history, and one forgery for each violation.

use jobcore::JobBuilder;
use jobcore::engine::task::{Occurrence, plan};
use jobcore::id::ExecutorId;
use jobcore::job::Job;
use jobcore::lease::FencingToken;
use jobcore::store::Decision;
use jobcore::task::Origin;

use super::*;
use crate::journal::Began;

fn second(second: i64) -> Timestamp {
    Timestamp::from_secs(second)
}

fn id(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

fn job(name: &str) -> JobId {
    JobId::new(name).unwrap()
}

fn task(name: &str, job_id: &str, state: TaskState, token: u64) -> Task {
    let new = JobBuilder::handler("work").id(job_id).build().unwrap();
    let job = Job {
        job_id: new.job_id.unwrap(),
        definition: new.definition,
        paused: false,
        version: 1,
        next_fire_time: None,
        last_fire_time: None,
        zone_version: String::new(),
        error: None,
        create_time: second(0),
        update_time: second(0),
    };
    let occurrence = Occurrence::new(id(name), Origin::Manual, second(1));
    let live = Task::from_new(plan(&job, occurrence, second(1)).unwrap(), second(1));
    Task {
        token: FencingToken(token),
        ..live.finish(state, None, second(9))
    }
}

fn attempt(name: &str, attempt: u32, token: u64, status: AttemptStatus) -> Attempt {
    Attempt {
        task_id: id(name),
        job_id: job("work"),
        attempt,
        executor_id: ExecutorId::new("worker").unwrap(),
        token: FencingToken(token),
        status,
        start_time: second(2),
        end_time: Some(second(3)),
        exit_code: None,
        output: String::new(),
        error: String::new(),
    }
}

fn began(name: &str, attempt: u32, token: u64) -> Began {
    Began {
        task_id: id(name),
        attempt,
        token: FencingToken(token),
    }
}

fn merged(first: i64, count: u64) -> Decision {
    Decision {
        job_id: job("cron"),
        scheduled_for: Some(second(first)),
        count,
        task_id: None,
        kind: DecisionKind::MisfireMerged,
        decision_time: second(9),
        reason: String::new(),
    }
}

/// A task that was lost once and then succeeded, one that may run once and failed, and four fires: one task for the
/// first, and one that stands for the other three.
fn good() -> History {
    let fired = |name: &str, time: i64| Task {
        scheduled_for: Some(second(time)),
        ..task(name, "cron", TaskState::Succeeded, 5)
    };
    History {
        accepted: vec![id("a"), id("b")],
        fires: BTreeMap::from([(job("cron"), (1..=4).map(second).collect())]),
        finished: vec![
            task("a", "work", TaskState::Succeeded, 7),
            task("b", AT_MOST_ONCE, TaskState::Failed, 8),
            fired("c1", 1),
            fired("c4", 4),
        ],
        attempts: vec![
            attempt("a", 2, 7, AttemptStatus::Success),
            attempt("a", 1, 3, AttemptStatus::Lost),
            attempt("b", 1, 8, AttemptStatus::Lost),
            attempt("c1", 1, 5, AttemptStatus::Success),
            attempt("c4", 1, 5, AttemptStatus::Success),
        ],
        decisions: vec![merged(2, 2)],
        journal: vec![
            began("a", 1, 3),
            began("a", 2, 7),
            began("b", 1, 8),
            began("c1", 1, 5),
            began("c4", 1, 5),
        ],
        seen_final: vec![(id("a"), TaskState::Succeeded, Some(second(9)))],
        ..History::default()
    }
}

fn forged(forge: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = good();
    forge(&mut history);
    check(&history)
}

#[test]
fn a_good_history_has_no_violation() {
    assert_eq!(check(&good()), []);
}

#[test]
fn a_task_that_is_gone_or_never_ends_is_found() {
    assert_eq!(
        forged(|history| history.accepted.push(id("gone"))),
        [Violation::Lost(id("gone"))]
    );
    let live = task("b2", "work", TaskState::Failed, 9);
    assert_eq!(
        forged(|history| history.live.push(live)),
        [Violation::Unfinished(id("b2"))]
    );
}

#[test]
fn an_end_that_comes_twice_or_changes_is_found() {
    let again = task("b", AT_MOST_ONCE, TaskState::Failed, 8);
    assert_eq!(
        forged(|history| history.finished.push(again)),
        [Violation::FinalTwice(id("b"))]
    );
    let seen = (id("b"), TaskState::Succeeded, Some(second(9)));
    assert_eq!(
        forged(|history| history.seen_final.push(seen)),
        [Violation::FinalChanged(id("b"))]
    );
}

#[test]
fn a_fire_without_or_with_two_answers_is_found() {
    assert_eq!(
        forged(|history| history.decisions = vec![merged(2, 1)]),
        [Violation::FireLost(job("cron"), second(3))]
    );
    assert_eq!(
        forged(|history| history.decisions.push(merged(1, 1))),
        [Violation::FireDoubled(job("cron"), second(1))]
    );
    assert_eq!(
        forged(|history| history.finished[2].scheduled_for = Some(second(4))),
        [
            Violation::FireLost(job("cron"), second(1)),
            Violation::FireDoubled(job("cron"), second(4))
        ]
    );
}

#[test]
fn tokens_that_stand_still_are_found() {
    assert_eq!(
        forged(|history| history.attempts[1].token = FencingToken(7)),
        [Violation::TokenNotIncreasing(id("a"))]
    );
    assert_eq!(
        forged(|history| history.journal.push(began("a", 2, 7))),
        [Violation::TokenUsedTwice(id("a"))]
    );
    assert_eq!(
        forged(|history| history.journal.push(began("a", 3, 9))),
        [Violation::BeganAfterFinal(id("a"))]
    );
}

#[test]
fn a_second_beginning_under_at_most_once_is_found() {
    assert_eq!(
        forged(|history| history.journal.push(began("b", 1, 6))),
        [Violation::MoreThanOnce(id("b"))]
    );
}

#[test]
fn a_record_that_does_not_match_the_work_is_found() {
    assert_eq!(
        forged(|history| history.journal.retain(|began| began.token != FencingToken(7))),
        [Violation::SuccessWithoutWork(id("a"))]
    );
    assert_eq!(
        forged(|history| history.attempts[0].status = AttemptStatus::Failed),
        [Violation::SuccessWithoutAttempt(id("a"))]
    );
    assert_eq!(
        forged(|history| history.attempts[2].status = AttemptStatus::Running),
        [Violation::StillRunning(id("b"))]
    );
    let failed = (2..=6).map(|number| attempt("b", number, 8 + u64::from(number), AttemptStatus::Failed));
    assert_eq!(
        forged(|history| history.attempts.extend(failed)),
        [Violation::TooManyFailures(id("b"))]
    );
}

#[test]
fn a_process_that_outlives_its_executor_is_found() {
    assert_eq!(
        forged(|history| history.shell_children.push(id("a"))),
        [Violation::ShellChild(id("a"))]
    );
}
