//! Invariants: what must hold after every step, whatever goes wrong. One a file.

mod at_most_once;
mod cancels;
mod endings;
mod executors;
mod fencing;
mod final_states;
mod fires;
mod gates;
mod jobs;
mod leases;
mod loss;
mod outcomes;
mod poison;
mod retries;
mod unique;
mod waiting;

use jobcore::id::TaskId;
use jobcore::lease::{FencingToken, Holder};

use super::mirror::{Mirror, Step};
use super::process::Caller;

/// What must hold after every step.
pub(super) trait Invariant: Send {
    /// Its name, as violations give it.
    fn name(&self) -> &'static str;

    /// Looks at a call that the store answered.
    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        let _ = step;
        Ok(())
    }

    /// Looks at an attempt that begins, ends or kills its process.
    fn attempt(&mut self, attempt: &AttemptEvent, mirror: &Mirror) -> Result<(), String> {
        let _ = (attempt, mirror);
        Ok(())
    }
}

/// Something that a handler did.
#[derive(Clone, Debug)]
pub(super) struct AttemptEvent {
    pub(super) caller: Caller,
    /// As whom it carries the attempt out.
    pub(super) holder: Holder,
    pub(super) task_id: TaskId,
    pub(super) token: FencingToken,
    pub(super) kind: AttemptEventKind,
}

/// What a handler did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptEventKind {
    Began,
    Succeeded,
    Failed,
    /// It was ended half-way.
    Dropped,
    /// It killed its process.
    Killed,
}

/// All of them.
pub(super) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<leases::Leases>::default(),
        Box::<fencing::Fencing>::default(),
        Box::<endings::Endings>::default(),
        Box::<final_states::FinalStates>::default(),
        Box::<loss::Loss>::default(),
        Box::<fires::Fires>::default(),
        Box::<jobs::Jobs>::default(),
        Box::<executors::Executors>::default(),
        Box::<waiting::Waiting>::default(),
        Box::<cancels::Cancels>::default(),
        Box::<gates::Gates>::default(),
        Box::<unique::Unique>::default(),
        Box::<retries::Retries>::default(),
        Box::<at_most_once::AtMostOnce>::default(),
        Box::<poison::Poison>::default(),
        Box::<outcomes::Outcomes>::default(),
    ]
}

/// Fails with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}
use ensure;
