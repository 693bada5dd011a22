//! Jobs change under the version that was read, each change raises it by one, and firing never touches it.

use jobcore::store::{DeleteJobOutcome, Expected, PutJobOutcome};

use super::super::call::{Answer, Call};
use super::super::mirror::JobChange;
use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct Jobs;

impl Invariant for Jobs {
    fn name(&self) -> &'static str {
        "jobs change under the version that was read"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        match (step.call, step.answer) {
            (Call::PutJobs(jobs), Ok(Answer::PutJobs(outcomes))) => {
                let expected = jobs.iter().map(|job| job.expected);
                let mut all = expected.zip(outcomes).zip(step.jobs);
                all.try_for_each(|((expected, outcome), change)| put(expected, outcome, change))
            }
            (Call::PauseJobs(jobs), Ok(Answer::PauseJobs(outcomes))) => {
                let expected = jobs.iter().map(|job| job.expected);
                let mut all = expected.zip(outcomes).zip(step.jobs);
                all.try_for_each(|((expected, outcome), change)| put(expected, outcome, change))
            }
            (Call::DeleteJobs(_), Ok(Answer::DeleteJobs(outcomes))) => {
                for (outcome, change) in outcomes.iter().zip(step.jobs) {
                    let gone = change.after.is_none();
                    ensure!(
                        gone || *outcome != DeleteJobOutcome::Deleted,
                        "deleted, and there: {change:?}"
                    );
                }
                Ok(())
            }
            (Call::Fire(_), _) => step.jobs.iter().try_for_each(same_definition),
            _ => Ok(()),
        }
    }
}

fn put(expected: Expected, outcome: &PutJobOutcome, change: &JobChange) -> Result<(), String> {
    let version = |job: &Option<std::sync::Arc<jobcore::job::Job>>| job.as_ref().map(|job| job.version);
    let (before, after) = (version(&change.before), version(&change.after));
    match outcome {
        PutJobOutcome::Created(_) => {
            ensure!(
                before.is_none() && after == Some(1),
                "created over {before:?} as {after:?}"
            );
        }
        PutJobOutcome::Updated(_) => {
            let matches = match expected {
                Expected::Any => true,
                Expected::Absent => false,
                Expected::Version(version) => before == Some(version),
            };
            ensure!(matches, "changed version {before:?}, expected was {expected:?}");
            ensure!(
                after == before.map(|version| version + 1),
                "version {before:?} became {after:?}"
            );
        }
        _ => ensure!(
            before == after,
            "{outcome:?}, and version {before:?} became {after:?}"
        ),
    }
    Ok(())
}

fn same_definition(change: &JobChange) -> Result<(), String> {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        ensure!(
            change.before == change.after,
            "a fire made or deleted a job: {change:?}"
        );
        return Ok(());
    };
    ensure!(
        before.version == after.version && before.update_time == after.update_time,
        "a fire changed the job: {change:?}"
    );
    Ok(())
}
