//! The fleet: what a scheduler knows of the remote executors. Hints, to choose well and to ask no more than needed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::placement::Candidate;
use crate::id::{ExecutorId, JobId};
use crate::lane::Lane;
use crate::lease::Holder;
use crate::runtime::remote::ledger::Key;
use crate::store::{ExecutorRecord, ExecutorStatus, Reach};
use crate::time::Timestamp;
use crate::transport::{Address, Beat, Taking};

/// How much work an executor is to have at hand: as much as it did in this time.
const PREFETCH_SPAN: Duration = Duration::from_millis(100);

/// The most tasks to send ahead, however fast they end.
const MOST_PREFETCHED: usize = 1_000;

/// How many jobs' turns are remembered.
const MOST_TURNS: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Fleet {
    members: BTreeMap<ExecutorId, Member>,
    /// How many tasks of a job that chooses its executor each was given.
    given: BTreeMap<JobId, BTreeMap<ExecutorId, u64>>,
}

#[derive(Debug)]
struct Member {
    record: ExecutorRecord,
    taking: Taking,
    /// A claim on its behalf was refused; until it is looked at anew.
    refused: bool,
    held: BTreeMap<Key, Holding>,
    pace: Pace,
}

/// What is known of a task that an executor holds.
#[derive(Debug, Default)]
struct Holding {
    /// It was sent, and counts until then though the executor doesn't name it; `None`: it was named.
    until: Option<Timestamp>,
    job_id: Option<JobId>,
    resources: BTreeMap<String, u64>,
    suspect: bool,
}

/// A task that was sent.
pub(super) struct Sent {
    pub(super) key: Key,
    pub(super) job_id: JobId,
    pub(super) resources: BTreeMap<String, u64>,
    pub(super) suspect: bool,
}

/// An executor that may be claimed for.
#[derive(Clone, Debug)]
pub(super) struct Claimant {
    pub(super) address: Address,
    /// How many more tasks it may get.
    pub(super) room: usize,
    /// How many it may hold.
    pub(super) most: usize,
    /// Whether it has no quarantined task.
    pub(super) takes_suspects: bool,
}

impl Fleet {
    /// Takes over what the store knows.
    pub(super) fn refresh(&mut self, records: Vec<ExecutorRecord>) {
        let mut before = std::mem::take(&mut self.members);
        let there = |record: &ExecutorRecord| {
            record.reach == Reach::Remote && record.status != ExecutorStatus::Offline
        };
        for record in records.into_iter().filter(there) {
            let id = record.executor_id.clone();
            let old = before
                .remove(&id)
                .filter(|old| old.record.incarnation == record.incarnation);
            let member = match old {
                Some(old) => Member {
                    record,
                    refused: false,
                    ..old
                },
                None => Member::new(record),
            };
            self.members.insert(id, member);
        }
    }

    /// Takes over what an executor says of itself.
    pub(super) fn beat(&mut self, beat: &Beat, now: Timestamp) {
        let Some(member) = self.present(&beat.from.holder) else {
            return;
        };
        member.taking = beat.taking;
        let Some(named) = &beat.held else { return };
        member
            .held
            .retain(|key, holding| holding.until.is_some_and(|until| now < until) || named.contains(key));
        for key in named {
            member.held.entry(key.clone()).or_default().until = None;
        }
    }

    /// Tasks were sent to an executor; they count until `until` though it doesn't name them.
    pub(super) fn sent(&mut self, to: &Holder, tasks: Vec<Sent>, until: Timestamp) {
        let Some(member) = self.present(to) else { return };
        for task in tasks {
            let holding = Holding {
                until: Some(until),
                job_id: Some(task.job_id),
                resources: task.resources,
                suspect: task.suspect,
            };
            member.held.insert(task.key, holding);
        }
    }

    /// The lease on a task is closed.
    pub(super) fn closed(&mut self, executor_id: &ExecutorId, key: &Key, now: Timestamp) {
        if let Some(member) = self.members.get_mut(executor_id) {
            member.held.remove(key);
            member.pace.count(now);
        }
    }

    /// A claim on its behalf was refused.
    pub(super) fn refused(&mut self, holder: &Holder) {
        if let Some(member) = self.present(holder) {
            member.refused = true;
        }
    }

    /// Where an executor is reached now.
    pub(super) fn address(&self, executor_id: &ExecutorId) -> Option<Address> {
        self.members.get(executor_id).map(Member::address)
    }

    /// Whether this incarnation is known.
    pub(super) fn knows(&self, holder: &Holder) -> bool {
        let member = self.members.get(&holder.executor_id);
        member.is_some_and(|member| member.record.incarnation == holder.incarnation)
    }

    /// The inboxes in use.
    pub(super) fn inboxes(&self) -> Vec<crate::json::Json> {
        self.members
            .values()
            .filter_map(|member| member.record.address.clone())
            .collect()
    }

    /// The executors that may get tasks now, beginning with another one each time.
    pub(super) fn claimants(&self, turn: usize) -> Vec<Claimant> {
        let mut claimants: Vec<Claimant> = self
            .members
            .values()
            .filter(|member| member.takes())
            .map(Member::claimant)
            .collect();
        if !claimants.is_empty() {
            let turn = turn % claimants.len();
            claimants.rotate_left(turn);
        }
        claimants
    }

    /// Which of these lanes an executor serves.
    pub(super) fn serves(&self, executor_id: &ExecutorId, lanes: &[Lane]) -> Vec<Lane> {
        let Some(member) = self.members.get(executor_id) else {
            return Vec::new();
        };
        let serves = |lane: &&Lane| member.record.profile.serves(executor_id, lane);
        lanes.iter().filter(serves).cloned().collect()
    }

    /// The executors among which a job chooses for a task in its lane. `beside` says how many tasks of the job each
    /// holds, where that matters.
    pub(super) fn candidates(
        &self,
        lane: &Lane,
        job_id: &JobId,
        beside: &BTreeMap<ExecutorId, u32>,
    ) -> Vec<Candidate> {
        let given = self.given.get(job_id);
        let serving = self
            .members
            .iter()
            .filter(|(id, member)| member.takes() && member.record.profile.serves(id, lane));
        serving
            .map(|(id, member)| {
                let known = member
                    .held
                    .values()
                    .filter(|holding| holding.job_id.as_ref() == Some(job_id))
                    .count();
                let told = beside.get(id).copied().unwrap_or(0);
                Candidate {
                    executor_id: id.clone(),
                    labels: member.record.profile.labels.clone(),
                    capacity: member.record.profile.capacity,
                    held: u32::try_from(member.held.len()).unwrap_or(u32::MAX),
                    held_of_job: told.max(u32::try_from(known).unwrap_or(u32::MAX)),
                    room: u32::try_from(member.claimant().room).unwrap_or(u32::MAX),
                    given: given.and_then(|given| given.get(id)).copied().unwrap_or(0),
                    resources: member.resources_left(),
                }
            })
            .collect()
    }

    /// An executor was given tasks of a job that chooses.
    pub(super) fn give(&mut self, job_id: &JobId, executor_id: &ExecutorId, count: usize) {
        if self.given.len() >= MOST_TURNS && !self.given.contains_key(job_id) {
            self.given.clear();
        }
        let given = self.given.entry(job_id.clone()).or_default();
        *given.entry(executor_id.clone()).or_default() += count as u64;
    }

    fn present(&mut self, holder: &Holder) -> Option<&mut Member> {
        let member = self.members.get_mut(&holder.executor_id)?;
        (member.record.incarnation == holder.incarnation).then_some(member)
    }
}

impl Member {
    fn new(record: ExecutorRecord) -> Self {
        Self {
            record,
            taking: Taking::Tasks,
            refused: false,
            held: BTreeMap::new(),
            pace: Pace::default(),
        }
    }

    fn takes(&self) -> bool {
        self.record.status.takes_tasks() && self.taking == Taking::Tasks && !self.refused
    }

    fn address(&self) -> Address {
        Address {
            holder: Holder {
                executor_id: self.record.executor_id.clone(),
                incarnation: self.record.incarnation,
            },
            inbox: self.record.address.clone().unwrap_or_default(),
        }
    }

    fn claimant(&self) -> Claimant {
        let most = self.record.profile.capacity as usize + self.pace.prefetch;
        Claimant {
            address: self.address(),
            room: most.saturating_sub(self.held.len()),
            most,
            takes_suspects: !self.held.values().any(|holding| holding.suspect),
        }
    }

    /// What it said it has for tasks, less what those need that it holds.
    fn resources_left(&self) -> BTreeMap<String, u64> {
        let resources = self.record.resources.as_ref();
        let mut left: BTreeMap<String, u64> =
            resources.and_then(|json| json.decode().ok()).unwrap_or_default();
        for (name, need) in self.held.values().flat_map(|holding| &holding.resources) {
            if let Some(left) = left.get_mut(name) {
                *left = left.saturating_sub(*need);
            }
        }
        left
    }
}

/// How fast an executor's tasks end lately.
#[derive(Debug, Default)]
struct Pace {
    since: Timestamp,
    ended: usize,
    prefetch: usize,
}

impl Pace {
    fn count(&mut self, now: Timestamp) {
        self.ended += 1;
        let passed = now.since(self.since);
        if passed >= PREFETCH_SPAN {
            // Falls at once with the pace, and at most doubles, so that one quick batch doesn't hoard.
            let most = (self.prefetch * 2).clamp(16, MOST_PREFETCHED);
            let spans = usize::try_from(passed.as_micros() / PREFETCH_SPAN.as_micros()).unwrap_or(usize::MAX);
            self.prefetch = (self.ended / spans.max(1)).min(most);
            (self.since, self.ended) = (now, 0);
        }
    }
}
