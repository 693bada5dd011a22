//! Records of attempts, and what they say of settlements that come again.

use crate::attempt::{Attempt, AttemptStatus};
use crate::id::ExecutorId;
use crate::lease::{Fence, FencingToken, Holder};
use crate::store::AttemptEnd;
use crate::task::{Task, TaskState};
use crate::time::Timestamp;

/// The record of the attempt of `task` under `fence`, which began at `start_time` and has not ended.
pub fn begun(task: &Task, fence: &Fence, start_time: Timestamp) -> Attempt {
    Attempt {
        task_id: task.task_id.clone(),
        job_id: task.job_id.clone(),
        attempt: fence.attempt,
        executor_id: fence.holder.executor_id.clone(),
        token: fence.token,
        status: AttemptStatus::Running,
        start_time,
        end_time: None,
        exit_code: None,
        output: String::new(),
        error: String::new(),
    }
}

/// The record of the attempt of `task` under `fence`, which ended so.
pub fn ended(task: &Task, fence: &Fence, end: &AttemptEnd) -> Attempt {
    Attempt {
        status: end.status,
        end_time: Some(end.end_time),
        exit_code: end.exit_code,
        output: end.output.clone(),
        error: end.error.clone(),
        ..begun(task, fence, end.start_time)
    }
}

/// The record of the attempt of `task` under its present lease, which its executor didn't close; `None` if its start
/// was not recorded.
pub fn abandoned(task: &Task, status: AttemptStatus, end_time: Option<Timestamp>) -> Option<Attempt> {
    if task.state != TaskState::Running {
        return None;
    }
    let fence = Fence {
        task_id: task.task_id.clone(),
        token: task.token,
        attempt: task.attempt,
        holder: task.holder.clone()?,
    };
    Some(Attempt {
        status,
        end_time,
        ..begun(task, &fence, task.start_time?)
    })
}

/// What the history says of an attempt, as far as it matters for a repetition.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// Which of the task's attempts it is.
    pub attempt: u32,
    /// Under which token it began.
    pub token: FencingToken,
    /// Who carried it out.
    pub executor_id: &'a ExecutorId,
    /// How it stands.
    pub status: AttemptStatus,
}

/// Whether a settlement under `fence`, which holds nothing any more, was recorded before, so that it is a repetition
/// and not stale.
///
/// Of a task that ended under this very token its last holder says so: what recovery ended has none. `last` is that
/// token and holder, if the task is final. Of any other task its attempts say so: one that the settlement closed ended
/// otherwise than as `Lost`.
pub fn is_repetition<'a>(
    fence: &Fence,
    last: Option<(FencingToken, Option<&Holder>)>,
    attempts: impl IntoIterator<Item = Recorded<'a>>,
) -> bool {
    if let Some((_, holder)) = last.filter(|(token, _)| *token == fence.token) {
        return holder == Some(&fence.holder);
    }
    attempts.into_iter().any(|recorded| {
        recorded.token == fence.token
            && recorded.attempt == fence.attempt
            && *recorded.executor_id == fence.holder.executor_id
            && !matches!(recorded.status, AttemptStatus::Running | AttemptStatus::Lost)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use crate::lease::Incarnation;

    fn holder(incarnation: u64) -> Holder {
        Holder {
            executor_id: ExecutorId::new("e").unwrap(),
            incarnation: Incarnation(incarnation),
        }
    }

    fn fence() -> Fence {
        Fence {
            task_id: TaskId::new("t").unwrap(),
            token: FencingToken(7),
            attempt: 2,
            holder: holder(1),
        }
    }

    #[test]
    fn the_last_holder_says_whether_a_final_task_was_settled() {
        let is = |token, holder: Option<Holder>| {
            is_repetition(&fence(), Some((FencingToken(token), holder.as_ref())), [])
        };
        assert!(is(7, Some(holder(1))));
        assert!(!is(7, Some(holder(2))), "another incarnation");
        assert!(!is(7, None), "recovery ended it");
        assert!(!is(8, Some(holder(1))), "a later lease");
    }

    #[test]
    fn an_attempt_that_ended_says_that_it_was_settled() {
        let mine = ExecutorId::new("e").unwrap();
        let other = ExecutorId::new("f").unwrap();
        let is = |attempt, token, executor_id, status| {
            let recorded = Recorded {
                attempt,
                token: FencingToken(token),
                executor_id,
                status,
            };
            is_repetition(&fence(), Some((FencingToken(9), None)), [recorded])
        };
        assert!(is(2, 7, &mine, AttemptStatus::Failed));
        assert!(is(2, 7, &mine, AttemptStatus::Released));
        assert!(!is(2, 7, &mine, AttemptStatus::Running));
        assert!(!is(2, 7, &mine, AttemptStatus::Lost));
        assert!(!is(1, 7, &mine, AttemptStatus::Failed));
        assert!(!is(2, 6, &mine, AttemptStatus::Failed));
        assert!(!is(2, 7, &other, AttemptStatus::Failed));
    }
}
