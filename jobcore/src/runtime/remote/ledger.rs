//! The ledger: what a remote executor holds, from the receipt of a task until the store closed its lease. Pure.
//!
//! ```text
//!            receive                 begin                        over
//!   message ────────▶ Queued ──┬──────────────▶ Running ──────────────▶ Over ──┐
//!                       │      └─▶ Confirming ──go──▶ ▲                        │ close: forgotten; repeats
//!                       └──────────── hand back ─────────────────────▶ Over ──┴─▶ of its message are known
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::id::TaskId;
use crate::lease::{FencingToken, Holder, Incarnation};
use crate::time::Timestamp;
use crate::transport::{Report, ReportEvent, ReportLease, StartMode, TaskMessage};

/// A task under a lease.
pub(super) type Key = (TaskId, FencingToken);

/// What an executor holds.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<Key, Entry>,
    /// Queued tasks, oldest first; some may be gone.
    queue: VecDeque<Key>,
    /// Closed tasks whose message could still be repeated, until when.
    closed: BTreeMap<Key, Timestamp>,
    /// How many attempts run or wait for their confirmation.
    busy: usize,
    /// The latest instant at which something was judged: it never goes backwards, though the clock may be corrected.
    judged: Timestamp,
}

#[derive(Debug)]
struct Entry {
    message: TaskMessage,
    stage: Stage,
    /// What the store must be told, until it answers.
    report: Option<Telling>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Queued,
    Confirming,
    Running,
    Over,
}

#[derive(Debug)]
struct Telling {
    report: Report,
    /// When it was sent last; `None`: not yet.
    sent: Option<Timestamp>,
}

/// What became of a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Receipt {
    /// It is in the ledger.
    Taken,
    /// It was there before.
    Repeat,
    /// It came too late.
    Late,
    /// There is no room.
    Full,
}

/// What the store closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Its attempt still runs, for nothing.
    StillRuns,
    /// Nothing runs.
    Done,
}

impl Ledger {
    /// Takes a message in, unless it is a repetition, or too late, or `most` tasks are held already.
    pub(super) fn receive(&mut self, message: TaskMessage, now: Timestamp, most: usize) -> Receipt {
        let key = key(&message);
        if self.entries.contains_key(&key) || self.closed.contains_key(&key) {
            return Receipt::Repeat;
        }
        if self.judge(now) >= message.start_before {
            return Receipt::Late;
        }
        if self.entries.len() >= most {
            return Receipt::Full;
        }
        self.queue.push_back(key.clone());
        let entry = Entry {
            message,
            stage: Stage::Queued,
            report: None,
        };
        self.entries.insert(key, entry);
        Receipt::Taken
    }

    /// Begins the oldest queued task if fewer than `capacity` are busy. One that must be confirmed first is told to the
    /// store instead, and begins with [`go`](Self::go).
    pub(super) fn begin(&mut self, capacity: usize, now: Timestamp) -> Option<TaskMessage> {
        while self.busy < capacity {
            let key = self.queue.pop_front()?;
            let Some(entry) = self
                .entries
                .get_mut(&key)
                .filter(|entry| entry.stage == Stage::Queued)
            else {
                continue;
            };
            self.busy += 1;
            match entry.message.start {
                StartMode::AtOnce => {
                    entry.stage = Stage::Running;
                    return Some(entry.message.clone());
                }
                StartMode::Confirm => {
                    entry.stage = Stage::Confirming;
                    let event = ReportEvent::Started { start_time: now };
                    entry.report = Some(Telling {
                        report: report(&entry.message, event),
                        sent: None,
                    });
                }
            }
        }
        None
    }

    /// The start of a task that waited for it is durable: it begins, once.
    pub(super) fn go(&mut self, key: &Key) -> Option<TaskMessage> {
        let entry = self
            .entries
            .get_mut(key)
            .filter(|entry| entry.stage == Stage::Confirming)?;
        entry.stage = Stage::Running;
        entry.report = None;
        Some(entry.message.clone())
    }

    /// An attempt is over; its end is told until the lease is closed, if it isn't already.
    pub(super) fn over(&mut self, key: &Key, event: ReportEvent) {
        self.busy -= 1;
        self.conclude(key, event);
    }

    fn conclude(&mut self, key: &Key, event: ReportEvent) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.stage = Stage::Over;
            entry.report = Some(Telling {
                report: report(&entry.message, event),
                sent: None,
            });
        }
    }

    /// The store closed a lease: forgets it. An attempt that runs stays busy until it is over.
    pub(super) fn close(&mut self, key: &Key) -> Option<Closed> {
        let entry = self.entries.remove(key)?;
        self.busy -= usize::from(entry.stage == Stage::Confirming);
        self.closed.insert(key.clone(), entry.message.start_before);
        match entry.stage {
            Stage::Running => Some(Closed::StillRuns),
            _ => Some(Closed::Done),
        }
    }

    /// Hands back a task if it hasn't begun.
    pub(super) fn hand_back(&mut self, key: &Key, reason: &str) {
        let Some(entry) = self.entries.get(key).filter(|entry| entry.waits()) else {
            return;
        };
        self.busy -= usize::from(entry.stage == Stage::Confirming);
        let reason = reason.to_owned();
        self.conclude(key, ReportEvent::Returned { reason });
    }

    /// Hands back everything that hasn't begun.
    pub(super) fn hand_back_all(&mut self, reason: &str) {
        for key in self.keys(Entry::waits) {
            self.hand_back(&key, reason);
        }
    }

    /// Forgets everything that hasn't begun: others were given it.
    pub(super) fn forget_waiting(&mut self) {
        for key in self.keys(Entry::waits) {
            self.close(&key);
        }
    }

    /// What to name in a sign of life of this incarnation, and the instant to give it: no task that isn't named and was
    /// to arrive before that is taken any more.
    pub(super) fn held(&mut self, incarnation: Incarnation, now: Timestamp) -> (Vec<Key>, Timestamp) {
        let judged = self.judge(now);
        let keys = self.keys(|entry| entry.message.holder.incarnation == incarnation);
        (keys, judged)
    }

    fn judge(&mut self, now: Timestamp) -> Timestamp {
        self.judged = self.judged.max(now);
        self.judged
    }

    /// Whether an attempt runs and its lease isn't known to be closed.
    pub(super) fn runs(&self, key: &Key) -> bool {
        self.entries
            .get(key)
            .is_some_and(|entry| entry.stage == Stage::Running)
    }

    /// What to tell the store now: what wasn't told yet, and what wasn't answered for `patience`. They count as told.
    pub(super) fn tell(&mut self, now: Timestamp, patience: Duration, most: usize) -> Vec<Report> {
        let due = |telling: &&mut Telling| telling.sent.is_none_or(|sent| now >= sent + patience);
        let tellings = self
            .entries
            .values_mut()
            .filter_map(|entry| entry.report.as_mut())
            .filter(due);
        tellings
            .take(most)
            .map(|telling| {
                telling.sent = Some(now);
                telling.report.clone()
            })
            .collect()
    }

    /// What was to be told couldn't be sent: it counts as not told.
    pub(super) fn untell(&mut self, reports: &[Report]) {
        for report in reports {
            let Some(lease) = report.lease else { continue };
            let entry = self.entries.get_mut(&(report.task_id.clone(), lease.token));
            if let Some(telling) = entry.and_then(|entry| entry.report.as_mut()) {
                telling.sent = None;
            }
        }
    }

    /// Forgets closed tasks whose message would come too late anyway.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        self.closed.retain(|_, until| now < *until);
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether no attempt runs or waits for its confirmation.
    pub(super) const fn is_idle(&self) -> bool {
        self.busy == 0
    }

    fn keys(&self, which: impl Fn(&Entry) -> bool) -> Vec<Key> {
        self.entries
            .iter()
            .filter(|(_, entry)| which(entry))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

impl Entry {
    const fn waits(&self) -> bool {
        matches!(self.stage, Stage::Queued | Stage::Confirming)
    }
}

pub(super) fn key(message: &TaskMessage) -> Key {
    (message.task_id.clone(), message.token)
}

/// A report about a task as its message named it.
pub(super) fn report(message: &TaskMessage, event: ReportEvent) -> Report {
    let Holder {
        executor_id,
        incarnation,
    } = message.holder.clone();
    let lease = ReportLease {
        token: message.token,
        attempt: message.attempt,
        incarnation,
    };
    Report {
        task_id: message.task_id.clone(),
        job_id: message.job.job_id.clone(),
        executor_id,
        lease: Some(lease),
        event,
    }
}

#[cfg(test)]
mod tests;
