//! Workflow runs.

use jobcore::id::RunId;
use jobcore::store::{
    AdvanceRun, AdvanceRunOutcome, InsertRunOutcome, MAX_BATCH, NewRun, StepReport, WorkflowRun,
};

use crate::listing::Journal;
use crate::state::{Report, RunRow, State};

impl State {
    pub(crate) fn insert_run(&mut self, new: NewRun) -> InsertRunOutcome {
        if self.runs.contains_key(&new.run_id) {
            return InsertRunOutcome::Duplicate;
        }
        let row = RunRow {
            job_id: new.job_id,
            version: 1,
            state: new.state,
            inbox: Journal::default(),
            end_time: None,
        };
        self.runs.insert(new.run_id, row);
        for task in new.tasks {
            let _ = self.insert_task(task, new.now);
        }
        InsertRunOutcome::Inserted
    }

    pub(crate) fn get_run(&self, run_id: &RunId) -> Option<WorkflowRun> {
        let row = self.runs.get(run_id)?;
        let inbox = row.inbox.rows.iter().take(MAX_BATCH);
        Some(WorkflowRun {
            run_id: run_id.clone(),
            job_id: row.job_id.clone(),
            version: row.version,
            state: row.state.clone(),
            inbox: inbox
                .map(|(sequence, report)| reported(*sequence, report))
                .collect(),
            end_time: row.end_time,
        })
    }

    pub(crate) fn advance_run(&mut self, advance: AdvanceRun) -> AdvanceRunOutcome {
        let Some(row) = self.runs.get_mut(&advance.run_id) else {
            return AdvanceRunOutcome::NotFound;
        };
        if row.version != advance.expected_version {
            return AdvanceRunOutcome::Conflict;
        }
        row.version += 1;
        row.state = advance.state;
        row.end_time = advance.end_time;
        row.inbox
            .rows
            .retain(|sequence, _| advance.consumed.is_none_or(|consumed| *sequence > consumed));
        for task in advance.tasks {
            let _ = self.insert_task(task, advance.now);
        }
        AdvanceRunOutcome::Advanced
    }
}

fn reported(sequence: u64, report: &Report) -> StepReport {
    StepReport {
        sequence,
        step: report.step.clone(),
        task_id: report.task_id.clone(),
        state: report.state,
        output: report.output.clone(),
    }
}
