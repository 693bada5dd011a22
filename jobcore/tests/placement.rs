//! Placement among engines that share a store and claim for themselves.

#![expect(clippy::unwrap_used, reason = "a failure should end the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobcore::clock::SystemClock;
use jobcore::id::ExecutorId;
use jobcore::memory::MemoryStore;
use jobcore::placement::{Placement, Spread, Strategy};
use jobcore::task::TaskState;
use jobcore::{Engine, HandlerError, JobBuilder, SchedulerExt, TaskContext, Trigger};

/// How many tasks each engine carried out, and how many at most side by side.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<BTreeMap<String, Entry>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    running: usize,
    most: usize,
    ended: usize,
}

impl Diary {
    fn change(&self, cx: &TaskContext, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.0.lock().unwrap();
        change(entries.entry(cx.executor_id().to_string()).or_default());
    }

    async fn engine(&self, store: &Arc<MemoryStore>, id: &str, gpus: u64) -> Engine {
        let diary = self.clone();
        let work = move |(): (), cx: TaskContext| {
            let diary = diary.clone();
            async move {
                diary.change(&cx, |entry| {
                    entry.running += 1;
                    entry.most = entry.most.max(entry.running);
                });
                tokio::time::sleep(Duration::from_millis(30)).await;
                diary.change(&cx, |entry| {
                    entry.running -= 1;
                    entry.ended += 1;
                });
                Ok::<_, HandlerError>(())
            }
        };
        let id = ExecutorId::new(id).unwrap();
        Engine::builder(store.clone())
            .handler("work", work)
            .resources(BTreeMap::from([("gpus".to_owned(), gpus)]))
            .configure(|config| {
                config.executor_id = Some(id);
                config.capacity = 4;
            })
            .start()
            .await
            .unwrap()
    }
}

/// Carries out 12 tasks of a job so placed on three engines with 0, 1 and 2 graphics cards.
async fn placed(placement: Placement) -> BTreeMap<String, Entry> {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
    let diary = Diary::default();
    let engines = [
        diary.engine(&store, "none", 0).await,
        diary.engine(&store, "one", 1).await,
        diary.engine(&store, "two", 2).await,
    ];
    let job = JobBuilder::handler("work").placement(placement);
    let job_id = engines[0].put_job(job).await.unwrap().job_id.clone();
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(
            engines[0]
                .trigger_one(Trigger::new(job_id.clone()))
                .await
                .unwrap(),
        );
    }
    for id in &ids {
        let end = tokio::time::timeout(Duration::from_secs(20), engines[0].wait(id)).await;
        assert_eq!(end.unwrap().unwrap().state, TaskState::Succeeded);
    }
    let entries = diary.0.lock().unwrap().clone();
    assert_eq!(entries.values().map(|entry| entry.ended).sum::<usize>(), 12);
    entries
}

#[tokio::test]
async fn a_consistent_hash_keeps_to_one_engine() {
    let entries = placed(Placement {
        strategy: Strategy::ConsistentHash,
        ..Placement::default()
    });
    let entries = entries.await;
    assert_eq!(entries.len(), 1, "{entries:?}");
}

#[tokio::test]
async fn a_required_spread_runs_one_at_a_time_on_each_engine() {
    let entries = placed(Placement {
        spread: Spread::Required,
        ..Placement::default()
    });
    let entries = entries.await;
    assert!(entries.values().all(|entry| entry.most == 1), "{entries:?}");
}

#[tokio::test]
async fn an_engine_takes_no_more_than_its_resources_carry() {
    let entries = placed(Placement {
        resources: BTreeMap::from([("gpus".to_owned(), 1)]),
        ..Placement::default()
    });
    let entries = entries.await;
    assert!(!entries.contains_key("none"), "{entries:?}");
    assert!(
        entries.get("one").is_none_or(|entry| entry.most == 1),
        "{entries:?}"
    );
    assert!(
        entries.get("two").is_none_or(|entry| entry.most <= 2),
        "{entries:?}"
    );
}
