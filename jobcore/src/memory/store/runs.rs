//! Workflow runs and their inboxes.

use std::collections::{BTreeMap, VecDeque};

use super::state::State;
use crate::id::{JobId, RunId};
use crate::json::Json;
use crate::store::{
    AdvanceRun, AdvanceRunOutcome, InsertRunOutcome, MAX_BATCH, NewRun, StepReport, WorkflowRun,
};
use crate::time::Timestamp;

#[derive(Debug)]
struct Run {
    job_id: JobId,
    version: u64,
    state: Json,
    inbox: VecDeque<StepReport>,
    last_sequence: u64,
    end_time: Option<Timestamp>,
}

/// All workflow runs.
#[derive(Debug, Default)]
pub(super) struct Runs(BTreeMap<RunId, Run>);

impl Runs {
    /// Appends a report to a run's inbox, if the run exists.
    pub(super) fn report(&mut self, run_id: &RunId, mut report: StepReport) {
        if let Some(run) = self.0.get_mut(run_id) {
            run.last_sequence += 1;
            report.sequence = run.last_sequence;
            run.inbox.push_back(report);
        }
    }

    pub(super) fn get(&self, run_id: &RunId) -> Option<WorkflowRun> {
        let run = self.0.get(run_id)?;
        Some(WorkflowRun {
            run_id: run_id.clone(),
            job_id: run.job_id.clone(),
            version: run.version,
            state: run.state.clone(),
            inbox: run.inbox.iter().take(MAX_BATCH).cloned().collect(),
            end_time: run.end_time,
        })
    }

    /// Forgets at most `limit` runs that ended before `before`; says whether there are more.
    pub(super) fn purge(&mut self, before: Timestamp, limit: usize) -> bool {
        let ended = self
            .0
            .iter()
            .filter_map(|(run_id, run)| Some((run.end_time?, run_id)));
        let mut ended: Vec<(Timestamp, RunId)> = ended
            .filter(|(end_time, _)| *end_time < before)
            .map(|(end_time, run_id)| (end_time, run_id.clone()))
            .collect();
        ended.sort_unstable();
        let more = ended.len() > limit;
        for (_, run_id) in ended.into_iter().take(limit) {
            self.0.remove(&run_id);
        }
        more
    }
}

impl State {
    pub(super) fn insert_run(&mut self, new: NewRun) -> InsertRunOutcome {
        if self.runs.0.contains_key(&new.run_id) {
            return InsertRunOutcome::Duplicate;
        }
        let run = Run {
            job_id: new.job_id,
            version: 1,
            state: new.state,
            inbox: VecDeque::new(),
            last_sequence: 0,
            end_time: None,
        };
        self.runs.0.insert(new.run_id, run);
        let _ = self.insert_tasks(new.tasks, new.now);
        InsertRunOutcome::Inserted
    }

    pub(super) fn advance_run(&mut self, advance: AdvanceRun) -> AdvanceRunOutcome {
        let Some(run) = self.runs.0.get_mut(&advance.run_id) else {
            return AdvanceRunOutcome::NotFound;
        };
        if run.version != advance.expected_version {
            return AdvanceRunOutcome::Conflict;
        }
        run.version += 1;
        run.state = advance.state;
        run.end_time = advance.end_time;
        if let Some(consumed) = advance.consumed {
            run.inbox.retain(|report| report.sequence > consumed);
        }
        let _ = self.insert_tasks(advance.tasks, advance.now);
        AdvanceRunOutcome::Advanced
    }
}
