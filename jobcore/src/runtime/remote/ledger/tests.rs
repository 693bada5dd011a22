use std::sync::Arc;

use super::*;
use crate::id::{ExecutorId, JobId};
use crate::job::{Command, Job, JobDefinition};

const PATIENCE: Duration = Duration::from_secs(2);

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(second)
}

fn message(n: u64, start: StartMode) -> TaskMessage {
    let holder = Holder {
        executor_id: ExecutorId::new("e").unwrap(),
        incarnation: Incarnation(1),
    };
    let job = Job {
        job_id: JobId::new("j").unwrap(),
        definition: JobDefinition::new("j", Command::handler("h")),
        paused: false,
        version: 1,
        next_fire_time: None,
        last_fire_time: None,
        zone_version: String::new(),
        error: None,
        create_time: at(0),
        update_time: at(0),
    };
    TaskMessage {
        task_id: TaskId::new(format!("t{n}")).unwrap(),
        job: Arc::new(job),
        arguments: None,
        priority: 0,
        attempt: 1,
        token: FencingToken(n),
        holder,
        part: 0,
        parts: 1,
        scheduled_for: None,
        checkpoint: None,
        start_before: at(10),
        start,
        create_time: at(0),
    }
}

fn ledger(count: u64, start: StartMode) -> Ledger {
    let mut ledger = Ledger::default();
    for n in 1..=count {
        assert_eq!(ledger.receive(message(n, start), at(1), 100), Receipt::Taken);
    }
    ledger
}

fn returned() -> ReportEvent {
    ReportEvent::Returned {
        reason: "test".into(),
    }
}

#[test]
fn a_repeated_message_starts_once() {
    let mut ledger = ledger(1, StartMode::AtOnce);
    let again = |ledger: &mut Ledger| ledger.receive(message(1, StartMode::AtOnce), at(2), 100);
    assert_eq!(again(&mut ledger), Receipt::Repeat);
    assert!(ledger.begin(9, at(1)).is_some() && ledger.begin(9, at(1)).is_none());
    assert_eq!(again(&mut ledger), Receipt::Repeat, "while it runs");
    ledger.over(&key(&message(1, StartMode::AtOnce)), returned());
    assert_eq!(again(&mut ledger), Receipt::Repeat, "before its end is known");
    assert_eq!(
        ledger.close(&key(&message(1, StartMode::AtOnce))),
        Some(Closed::Done)
    );
    ledger.tidy(at(9));
    assert_eq!(again(&mut ledger), Receipt::Repeat, "after it was closed");
    ledger.tidy(at(10));
    assert_eq!(
        ledger.receive(message(1, StartMode::AtOnce), at(10), 100),
        Receipt::Late,
        "and then it is too late"
    );
    assert!(ledger.closed.is_empty(), "memory is bounded");
}

#[test]
fn a_late_message_is_refused() {
    let mut ledger = Ledger::default();
    assert_eq!(
        ledger.receive(message(1, StartMode::AtOnce), at(10), 100),
        Receipt::Late
    );
    assert!(ledger.is_empty());
}

#[test]
fn a_full_ledger_takes_nothing() {
    let mut ledger = ledger(2, StartMode::AtOnce);
    assert_eq!(
        ledger.receive(message(3, StartMode::AtOnce), at(1), 2),
        Receipt::Full
    );
}

#[test]
fn no_more_than_the_capacity_begin() {
    let mut ledger = ledger(3, StartMode::AtOnce);
    assert!(
        ledger.begin(2, at(1)).is_some()
            && ledger.begin(2, at(1)).is_some()
            && ledger.begin(2, at(1)).is_none()
    );
    ledger.over(&key(&message(1, StartMode::AtOnce)), returned());
    assert!(ledger.begin(2, at(1)).is_some());
}

#[test]
fn a_confirmed_start_begins_once_and_only_after_its_go() {
    let mut ledger = ledger(1, StartMode::Confirm);
    assert!(ledger.begin(9, at(1)).is_none());
    let told = ledger.tell(at(1), PATIENCE, 9);
    assert!(matches!(told[0].event, ReportEvent::Started { .. }) && told.len() == 1);
    assert!(ledger.tell(at(2), PATIENCE, 9).is_empty());
    assert_eq!(
        ledger.tell(at(3), PATIENCE, 9).len(),
        1,
        "it is told again until it is answered"
    );
    let key = key(&message(1, StartMode::Confirm));
    assert!(ledger.go(&key).is_some() && ledger.go(&key).is_none());
    assert!(ledger.tell(at(9), PATIENCE, 9).is_empty());
}

#[test]
fn an_end_is_told_until_the_lease_is_closed() {
    let mut ledger = ledger(1, StartMode::AtOnce);
    let key = key(&ledger.begin(1, at(1)).unwrap());
    ledger.over(&key, returned());
    let told = ledger.tell(at(1), PATIENCE, 9);
    ledger.untell(&told);
    assert_eq!(
        ledger.tell(at(1), PATIENCE, 9).len(),
        1,
        "what couldn't be sent is told at once"
    );
    assert_eq!(
        ledger.held(Incarnation(1), at(1)).0,
        std::slice::from_ref(&key),
        "and it is named meanwhile"
    );
    assert!(ledger.close(&key).is_some() && ledger.close(&key).is_none());
    assert!(ledger.tell(at(9), PATIENCE, 9).is_empty() && ledger.is_empty() && ledger.is_idle());
}

#[test]
fn what_has_not_begun_is_handed_back_or_forgotten() {
    let mut ledger = ledger(2, StartMode::AtOnce);
    let running = key(&ledger.begin(1, at(1)).unwrap());
    ledger.hand_back_all("drains");
    assert_eq!(ledger.tell(at(1), PATIENCE, 9).len(), 1);
    assert!(ledger.begin(9, at(1)).is_none() && !ledger.is_idle());
    ledger.forget_waiting();
    assert_eq!(
        ledger.held(Incarnation(1), at(1)).0.len(),
        2,
        "only what waits is forgotten"
    );
    assert_eq!(ledger.close(&running), Some(Closed::StillRuns));
    assert!(!ledger.is_idle(), "it is busy until its attempt is over");
    ledger.over(&running, returned());
    assert!(ledger.is_idle());
}

#[test]
fn an_earlier_incarnation_is_not_named() {
    assert!(
        ledger(1, StartMode::AtOnce)
            .held(Incarnation(2), at(1))
            .0
            .is_empty()
    );
}

#[test]
fn what_a_sign_of_life_leaves_out_is_never_taken() {
    let mut ledger = Ledger::default();
    let (named, judged) = ledger.held(Incarnation(1), at(11));
    assert!(named.is_empty() && judged == at(11));
    let corrected = ledger.receive(message(1, StartMode::AtOnce), at(5), 9);
    assert_eq!(corrected, Receipt::Late, "though the clock was set back");
}
