#![allow(clippy::all, clippy::disallowed_methods, missing_docs, unused)]
use jobcore::{
    Timestamp, attempt::*, clock::*, id::*, job::*, json::*, lane::*, lease::*, store::*, task::*,
};
use jobcore_sqlite::*;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

fn task(i: u64, now0: Timestamp, lane: &Lane, job: &JobId, fire: bool) -> NewTask {
    let now = Timestamp::EPOCH
        + std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
    NewTask {
        task_id: TaskId::generate(now, &SystemEntropy),
        job_id: job.clone(),
        scheduled_for: fire.then(|| Timestamp::from_micros(i as i64)),
        part: 0,
        parts: 1,
        origin: Origin::Manual,
        arguments: None,
        priority: (i % 10) as i32,
        due_time: now0,
        lane: lane.clone(),
        gates: vec![],
        delivery: Delivery::AtLeastOnce,
        unique_key: None,
        step: None,
        create_time: now,
    }
}

fn cpu() -> (f64, f64) {
    let mut total = 0.0;
    let mut db = 0.0;
    for e in std::fs::read_dir("/proc/self/task").unwrap() {
        let Ok(st) = std::fs::read_to_string(e.unwrap().path().join("stat")) else {
            continue;
        };
        let name = st[st.find('(').unwrap() + 1..st.rfind(')').unwrap()].to_string();
        let f: Vec<&str> = st[st.rfind(')').unwrap() + 2..].split(' ').collect();
        let t = (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) * 10_000.0;
        total += t;
        if name.starts_with("jobcore-sqlite-") && !name.contains("writ") {
            db += t;
        }
    }
    (total, db)
}
#[tokio::main]
async fn main() {
    let dir = std::env::args().nth(1).unwrap_or("/tmp/sqlite/cost".into());
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let store = Arc::new(SqliteStore::open(format!("{dir}/jobs.db")).await.unwrap());
    let now = store.now().await.unwrap();
    let job = JobId::new("job").unwrap();
    let def = JobDefinition::new("job", Command::handler("noop"));
    let _ = store
        .put_jobs(vec![PutJob {
            job_id: job.clone(),
            definition: def,
            expected: Expected::Any,
            next_fire_time: None,
            zone_version: "z".into(),
            now,
        }])
        .await
        .unwrap();
    let cap = Capability::handler("noop").unwrap();
    let lane = Lane::new("default", &cap, &BTreeMap::new(), None);
    let id = ExecutorId::new("e").unwrap();
    let reg = store
        .register_executor(RegisterExecutor {
            executor_id: id.clone(),
            host: "".into(),
            port: 0,
            profile: ExecutorProfile {
                group: "default".into(),
                capabilities: vec![cap],
                labels: BTreeMap::new(),
                capacity: 100,
            },
            reach: Reach::Direct,
            address: None,
            lease_duration: Duration::from_secs(1000),
            join: None,
        })
        .await
        .unwrap();
    let holder = Holder {
        executor_id: id,
        incarnation: reg.incarnation,
    };
    let n = 500;
    let rounds = 100u64;
    for fire in [false, true] {
        let c0 = cpu();
        let t = Instant::now();
        for r in 0..rounds {
            let tasks: Vec<_> = (0..n as u64)
                .map(|i| task(r * n as u64 + i, now, &lane, &job, fire))
                .collect();
            let _ = store.insert_tasks(tasks, now).await.unwrap();
        }
        println!(
            "insert{}: {:.2} us/task",
            if fire { " fired" } else { "" },
            t.elapsed().as_secs_f64() * 1e6 / (n as f64 * rounds as f64)
        );
        let (mut tc, mut ts, mut total) = (0f64, 0f64, 0u64);
        let c1 = cpu();
        println!(
            "   insert cpu {:.2} db thread {:.2}",
            (c1.0 - c0.0) / 50000.,
            (c1.1 - c0.1) / 50000.
        );
        let (mut cc, mut cs) = ((0f64, 0f64), (0f64, 0f64));
        loop {
            let c = cpu();
            let t = Instant::now();
            let out = store
                .claim(ClaimRequest {
                    claim_id: ClaimId::generate(now, &SystemEntropy),
                    replay: false,
                    holder: holder.clone(),
                    lanes: vec![lane.clone()],
                    limit: n,
                    max_held: None,
                    start_before: None,
                    now,
                })
                .await
                .unwrap();
            tc += t.elapsed().as_secs_f64();
            let c2 = cpu();
            cc.0 += c2.0 - c.0;
            cc.1 += c2.1 - c.1;
            let ClaimOutcome::Claimed(lease) = out else { break };
            let s: Vec<_> = lease
                .tasks
                .iter()
                .map(|c| Settlement {
                    fence: c.fence(lease.token, &holder),
                    attempt: Some(AttemptEnd {
                        status: AttemptStatus::Success,
                        start_time: now,
                        end_time: now,
                        exit_code: None,
                        output: "null".into(),
                        error: String::new(),
                    }),
                    next: Next::Final {
                        state: TaskState::Succeeded,
                        reason: None,
                    },
                    checkpoint: None,
                })
                .collect();
            total += s.len() as u64;
            let t = Instant::now();
            let c = cpu();
            let _ = store.settle(s, now).await.unwrap();
            let c2 = cpu();
            cs.0 += c2.0 - c.0;
            cs.1 += c2.1 - c.1;
            ts += t.elapsed().as_secs_f64();
        }
        println!(
            "   claim cpu {:.2} db {:.2}; settle cpu {:.2} db {:.2}",
            cc.0 / total as f64,
            cc.1 / total as f64,
            cs.0 / total as f64,
            cs.1 / total as f64
        );
        println!(
            "claim: {:.2} us/task, settle {:.2} us/task, sum {:.2} -> {:.0}/s",
            tc * 1e6 / total as f64,
            ts * 1e6 / total as f64,
            (tc + ts) * 1e6 / total as f64,
            total as f64 / (tc + ts)
        );
    }
    for callers in [1usize, 8, 64] {
        let t = Instant::now();
        let each = 2000 / callers;
        let mut hs = vec![];
        for c in 0..callers {
            let (store, lane, job) = (store.clone(), lane.clone(), job.clone());
            hs.push(tokio::spawn(async move {
                for i in 0..each {
                    let _ = store
                        .insert_tasks(vec![task(i as u64, now, &lane, &job, false)], now)
                        .await
                        .unwrap();
                }
            }));
        }
        for h in hs {
            h.await.unwrap();
        }
        println!(
            "enqueue one, {callers} callers: {:.0}/s",
            (each * callers) as f64 / t.elapsed().as_secs_f64()
        );
    }
    // two in flight: pipelined claim + settle
    let t = Instant::now();
    for r in 0..rounds {
        let tasks: Vec<_> = (0..n as u64)
            .map(|i| task(r * n as u64 + i, now, &lane, &job, false))
            .collect();
        let _ = store.insert_tasks(tasks, now).await.unwrap();
    }
    let t = Instant::now();
    let mut total = 0u64;
    let mut hs = vec![];
    for w in 0..3 {
        let (store, lane, holder) = (store.clone(), lane.clone(), holder.clone());
        hs.push(tokio::spawn(async move {
            let mut total = 0;
            loop {
                let out = store
                    .claim(ClaimRequest {
                        claim_id: ClaimId::generate(now, &SystemEntropy),
                        replay: false,
                        holder: holder.clone(),
                        lanes: vec![lane.clone()],
                        limit: n,
                        max_held: None,
                        start_before: None,
                        now,
                    })
                    .await
                    .unwrap();
                let ClaimOutcome::Claimed(lease) = out else { break };
                let s: Vec<_> = lease
                    .tasks
                    .iter()
                    .map(|c| Settlement {
                        fence: c.fence(lease.token, &holder),
                        attempt: Some(AttemptEnd {
                            status: AttemptStatus::Success,
                            start_time: now,
                            end_time: now,
                            exit_code: None,
                            output: "null".into(),
                            error: String::new(),
                        }),
                        next: Next::Final {
                            state: TaskState::Succeeded,
                            reason: None,
                        },
                        checkpoint: None,
                    })
                    .collect();
                total += s.len() as u64;
                let _ = store.settle(s, now).await.unwrap();
            }
            total
        }));
    }
    for h in hs {
        total += h.await.unwrap();
    }
    println!(
        "3 workers claim+settle: {:.0}/s ({total})",
        total as f64 / t.elapsed().as_secs_f64()
    );
    let t = Instant::now();
    for i in 0..300 {
        let _ = store
            .put_records(vec![PutRecord {
                namespace: "n".into(),
                key: "k".into(),
                value: Some(Json::NULL),
                expected: Expected::Any,
                now,
            }])
            .await
            .unwrap();
    }
    println!(
        "one small write with its flush: {:.0} us",
        t.elapsed().as_secs_f64() * 1e6 / 300.
    );
    let t = Instant::now();
    use std::io::Write;
    let mut f = std::fs::File::create(format!("{dir}/flush")).unwrap();
    for _ in 0..300 {
        f.write_all(&[1u8; 8192]).unwrap();
        f.sync_data().unwrap();
    }
    println!(
        "bare write + flush: {:.0} us",
        t.elapsed().as_secs_f64() * 1e6 / 300.
    );
}
