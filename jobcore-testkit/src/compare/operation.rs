//! One call of a store, as a value that can be applied to any store.

use std::time::Duration;

use jobcore::Timestamp;
use jobcore::attempt::LogChunk;
use jobcore::store::{
    AdvanceRun, CancelTasks, ChangeTask, ClaimRequest, DeleteJob, ExpireExecutors, Fire, Heartbeat, NewRun,
    PauseJob, PromoteRequest, Promoted, Purge, PutJob, PutRecord, RecoverRequest, RegisterExecutor,
    SaveProgress, SetExecutorStatus, Settlement, Start, Store,
};
use jobcore::task::NewTask;

use super::names::Names;

/// A call, with tokens and incarnations as [`Names`] counts them.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    PutJobs(Vec<PutJob>),
    PauseJobs(Vec<PauseJob>),
    DeleteJobs(Vec<DeleteJob>),
    Fire(Vec<Fire>),
    PutRecords(Vec<PutRecord>),
    Register(RegisterExecutor),
    SetStatus(SetExecutorStatus),
    Insert(Vec<NewTask>, Timestamp),
    Promote(PromoteRequest),
    Claim(ClaimRequest),
    Start(Vec<Start>),
    Heartbeat(Heartbeat),
    Settle(Vec<Settlement>, Timestamp),
    Save(Vec<SaveProgress>),
    Expire(ExpireExecutors),
    Recover(RecoverRequest),
    Change(Vec<ChangeTask>, Timestamp),
    Cancel(CancelTasks),
    InsertRun(NewRun),
    AdvanceRun(AdvanceRun),
    AppendLogs(Vec<LogChunk>),
    Purge(Purge),
    /// The stores' own clocks move on.
    Pass(Duration),
}

/// Applies a call to a store: its outcome as text, with tokens and incarnations as `names` counts them.
pub(super) async fn apply(store: &dyn Store, names: &mut Names, operation: Operation) -> String {
    match operation {
        Operation::PutJobs(jobs) => text(store.put_jobs(jobs).await),
        Operation::PauseJobs(jobs) => text(store.pause_jobs(jobs).await),
        Operation::DeleteJobs(jobs) => text(store.delete_jobs(jobs).await),
        Operation::Fire(fires) => text(store.fire(fires).await),
        Operation::PutRecords(records) => text(store.put_records(records).await),
        Operation::Register(request) => {
            let executor_id = request.executor_id.clone();
            let answer = store.register_executor(request).await;
            text(answer.map(|answer| names.counted_registration(&executor_id, answer)))
        }
        Operation::SetStatus(change) => text(store.set_executor_status(names.real_status(change)).await),
        Operation::Insert(tasks, now) => text(store.insert_tasks(tasks, now).await),
        Operation::Promote(request) => text(store.promote(request).await.map(sorted)),
        Operation::Claim(mut request) => {
            request.holder = names.real_holder(request.holder);
            text(
                store
                    .claim(request)
                    .await
                    .map(|outcome| names.counted_claim(outcome)),
            )
        }
        Operation::Start(mut starts) => {
            for start in &mut starts {
                names.make_fence_real(&mut start.fence);
            }
            text(store.start(starts).await)
        }
        Operation::Heartbeat(beat) => {
            let beat = names.real_heartbeat(beat);
            let outcomes = store.heartbeat(vec![beat]).await;
            text(outcomes.map(|outcomes| names.counted_heartbeats(outcomes)))
        }
        Operation::Settle(mut settlements, now) => {
            for settlement in &mut settlements {
                names.make_fence_real(&mut settlement.fence);
            }
            text(store.settle(settlements, now).await)
        }
        Operation::Save(mut updates) => {
            for update in &mut updates {
                names.make_fence_real(&mut update.fence);
            }
            text(store.save(updates).await)
        }
        Operation::Expire(request) => {
            let dead = store.expire_executors(request).await;
            text(dead.map(|dead| {
                dead.into_iter()
                    .map(|holder| names.counted_holder(holder))
                    .collect::<Vec<_>>()
            }))
        }
        Operation::Recover(request) => text(
            store
                .recover(request)
                .await
                .map(|recovered| names.counted_recovered(recovered)),
        ),
        Operation::Change(changes, now) => text(store.change_tasks(changes, now).await),
        Operation::Cancel(request) => text(store.cancel_tasks(request).await),
        Operation::InsertRun(run) => text(store.insert_run(run).await),
        Operation::AdvanceRun(advance) => match real_advance(store, advance).await {
            Ok(advance) => text(store.advance_run(advance).await),
            Err(error) => text::<()>(Err(error)),
        },
        Operation::AppendLogs(chunks) => text(store.append_logs(chunks).await),
        Operation::Purge(purge) => text(store.purge(&purge).await),
        Operation::Pass(_) => String::new(),
    }
}

/// An advance whose last consumed report is named by the store's own number instead of its place in the inbox.
async fn real_advance(store: &dyn Store, advance: AdvanceRun) -> jobcore::Result<AdvanceRun> {
    let run = store.get_run(&advance.run_id).await?;
    let inbox = run.map(|run| run.inbox).unwrap_or_default();
    let consumed = advance
        .consumed
        .and_then(|place| inbox.get(usize::try_from(place).ok()?));
    Ok(AdvanceRun {
        consumed: consumed.map(|report| report.sequence),
        ..advance
    })
}

/// An outcome, or the kind of the error: messages may differ.
fn text<T: std::fmt::Debug>(outcome: jobcore::Result<T>) -> String {
    match outcome {
        Ok(outcome) => format!("{outcome:#?}"),
        Err(error) => format!("error {}", error.kind().as_str()),
    }
}

/// What was settled and asked has no order of its own.
fn sorted(mut promoted: Promoted) -> Promoted {
    promoted.settled.sort();
    promoted.cancelling.sort();
    promoted
}
