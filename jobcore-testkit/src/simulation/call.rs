//! Calls: what nodes ask of the store, as values that can be delayed, repeated, lost and looked at.

use futures_util::FutureExt;
use jobcore::memory::MemoryStore;
use jobcore::store::*;
use jobcore::task::NewTask;
use jobcore::{Result, Timestamp};

macro_rules! calls {
    ($($method:ident $name:ident($($argument:ident: $request:ty),*) -> $answer:ty;)*) => {
        /// A request to the store that may change something.
        #[derive(Clone, Debug)]
        pub(super) enum Call {
            $($name($($request),*),)*
        }

        /// What the store answered.
        #[derive(Clone, Debug)]
        pub(super) enum Answer {
            $($name($answer),)*
        }

        impl Call {
            pub(super) const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(..) => stringify!($method),)*
                }
            }
        }

        /// Carries a call out at once: the memory store never waits.
        pub(super) fn carry_out(store: &MemoryStore, call: Call) -> Result<Answer> {
            match call {
                $(Call::$name($($argument),*) => now(store.$method($($argument),*)).map(Answer::$name),)*
            }
        }
    };
}

calls! {
    put_jobs PutJobs(jobs: Vec<PutJob>) -> Vec<PutJobOutcome>;
    pause_jobs PauseJobs(jobs: Vec<PauseJob>) -> Vec<PutJobOutcome>;
    delete_jobs DeleteJobs(jobs: Vec<DeleteJob>) -> Vec<DeleteJobOutcome>;
    fire Fire(fires: Vec<Fire>) -> Vec<FireOutcome>;
    register_executor Register(registration: RegisterExecutor) -> Registration;
    set_executor_status SetStatus(change: SetExecutorStatus) -> SetExecutorStatusOutcome;
    insert_tasks Insert(tasks: Vec<NewTask>, time: Timestamp) -> Vec<InsertOutcome>;
    promote Promote(request: PromoteRequest) -> Promoted;
    claim Claim(request: ClaimRequest) -> ClaimOutcome;
    start Start(starts: Vec<Start>) -> Vec<StartOutcome>;
    heartbeat Heartbeat(beats: Vec<Heartbeat>) -> Vec<HeartbeatOutcome>;
    settle Settle(settlements: Vec<Settlement>, time: Timestamp) -> Vec<SettleOutcome>;
    save Save(updates: Vec<SaveProgress>) -> Vec<SaveOutcome>;
    expire_executors Expire(request: ExpireExecutors) -> Vec<jobcore::lease::Holder>;
    recover Recover(request: RecoverRequest) -> Recovered;
    change_tasks Change(changes: Vec<ChangeTask>, time: Timestamp) -> Vec<ChangeOutcome>;
    cancel_tasks Cancel(request: CancelTasks) -> Cancelled;
}

/// The answer of a method of the memory store.
pub(super) fn now<T>(answer: impl Future<Output = T>) -> T {
    answer
        .now_or_never()
        .expect("invariant: the memory store never waits")
}
