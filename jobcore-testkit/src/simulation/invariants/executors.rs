//! A dead incarnation never answers, claims or comes back, and nobody dies before the lease has ended.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::id::ExecutorId;
use jobcore::lease::{Holder, Incarnation};
use jobcore::store::{
    ClaimOutcome, HeartbeatOutcome, RegisterExecutor, Registration, SetExecutorStatus,
    SetExecutorStatusOutcome,
};
use jobcore::task::TaskState;

use super::super::call::{Answer, Call};
use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct Executors {
    newest: HashMap<ExecutorId, Life>,
    gone: BTreeSet<Holder>,
}

struct Life {
    incarnation: Incarnation,
    lease: Duration,
    last_beat: Timestamp,
}

impl Invariant for Executors {
    fn name(&self) -> &'static str {
        "a dead incarnation never answers Alive"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        match (step.call, step.answer) {
            (Call::Register(registration), Ok(Answer::Register(answer))) => {
                self.joined(registration, answer, step.time)
            }
            (Call::Heartbeat(beats), Ok(Answer::Heartbeat(outcomes))) => {
                for (beat, outcome) in beats.iter().zip(outcomes) {
                    if matches!(outcome, HeartbeatOutcome::Alive(_)) {
                        ensure!(
                            self.is_alive(&beat.holder),
                            "{:?} is dead and was told that it lives",
                            beat.holder
                        );
                        if let Some(life) = self.newest.get_mut(&beat.holder.executor_id) {
                            life.last_beat = step.time;
                        }
                    } else {
                        ensure!(
                            !self.is_alive(&beat.holder),
                            "{:?} lives and was told {outcome:?}",
                            beat.holder
                        );
                    }
                }
                Ok(())
            }
            (Call::Claim(request), Ok(Answer::Claim(ClaimOutcome::Claimed(_)))) => {
                ensure!(
                    self.is_alive(&request.holder),
                    "{:?} is dead and claimed",
                    request.holder
                );
                Ok(())
            }
            (Call::Expire(_), Ok(Answer::Expire(dead))) => {
                dead.iter().try_for_each(|holder| self.expired(holder, step.time))
            }
            (
                Call::SetStatus(SetExecutorStatus::Leave(holder)),
                Ok(Answer::SetStatus(SetExecutorStatusOutcome::Set)),
            ) => {
                self.gone.insert(holder.clone());
                Ok(())
            }
            (Call::Recover(_), _) => self.recovered(step),
            _ => Ok(()),
        }
    }
}

impl Executors {
    fn is_alive(&self, holder: &Holder) -> bool {
        let newest = self.newest.get(&holder.executor_id);
        newest.is_some_and(|life| life.incarnation == holder.incarnation) && !self.gone.contains(holder)
    }

    fn joined(
        &mut self,
        registration: &RegisterExecutor,
        answer: &Registration,
        time: Timestamp,
    ) -> Result<(), String> {
        let life = Life {
            incarnation: answer.incarnation,
            lease: registration.lease_duration,
            last_beat: time,
        };
        let newest = self.newest.get(&registration.executor_id);
        let newest = newest.map(|newest| newest.incarnation);
        // Several schedulers hear of a join, and each may hear of it again: only the first registration counts.
        if registration.join.is_some() && newest == Some(answer.incarnation) {
            return Ok(());
        }
        ensure!(
            newest < Some(answer.incarnation),
            "an old incarnation joined again: {answer:?}"
        );
        self.newest.insert(registration.executor_id.clone(), life);
        Ok(())
    }

    fn expired(&mut self, holder: &Holder, time: Timestamp) -> Result<(), String> {
        ensure!(
            self.is_alive(holder),
            "{holder:?} was declared dead, and wasn't alive"
        );
        if let Some(life) = self.newest.get(&holder.executor_id) {
            let end = life.last_beat + life.lease;
            ensure!(
                end <= time,
                "{holder:?} was declared dead at {time}, its lease held until {end}"
            );
        }
        self.gone.insert(holder.clone());
        Ok(())
    }

    /// Only tasks of the dead are taken back, and such as outlived the time to end after a request to cancel.
    fn recovered(&self, step: &Step<'_>) -> Result<(), String> {
        for change in step.changes {
            let Some(before) = &change.before else { continue };
            let Some(holder) = &before.holder else { continue };
            let by_force = change.after.state == TaskState::Cancelled && before.cancel.is_some();
            ensure!(
                by_force || !self.is_alive(holder),
                "taken back from {holder:?}, who lives: {before:?}"
            );
        }
        Ok(())
    }
}
