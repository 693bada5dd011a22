//! The calls that engines make again and again, and what each may cost.

use std::time::Duration;

use jobcore::attempt::AttemptStatus;
use jobcore::id::TaskId;
use jobcore::lease::{Holder, Lease};
use jobcore::store::{
    ClaimRequest, DueJobs, Fire, HeartbeatOutcome, InsertOutcome, JobStore as _, Next, PromoteRequest, Start,
    TaskStore as _,
};
use jobcore::task::{NewTask, UniqueKey};

use super::cost::Cost;
use super::filled::{BATCH, Filled, LIMIT, ROWS, limited, sweep};
use super::site::Site;
use super::support::client::{ZONE_VERSION, fences};

/// What calls cost, and what about it is more than they may.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) costs: Vec<(&'static str, Cost)>,
    pub(crate) faults: Vec<String>,
}

impl Report {
    /// A call may cost so many rows for each item of its batch, and a few besides; it may use these indexes alone, sort
    /// nothing, and read no table as a whole.
    fn add(&mut self, call: &'static str, cost: Cost, rows_each: i64, indexes: &str) {
        if (cost.sorts, cost.temporaries, cost.scans) != (0, 0, 0) {
            self.faults.push(format!(
                "{call}: sorts, makes tables, or reads all of one: {cost:?}"
            ));
        }
        self.add_of_one_holder(call, cost, rows_each, indexes);
    }

    /// The same where a small table is read as a whole: heartbeats read the leases, which here are all one holder's, and sweeps
    /// the lanes, and put their looks at single gates together.
    fn add_of_one_holder(&mut self, call: &'static str, cost: Cost, rows_each: i64, indexes: &str) {
        let most = rows_each * BATCH as i64 + 40;
        if cost.rows > most {
            self.faults
                .push(format!("{call}: {} rows, {most} would do", cost.rows));
        }
        let others = cost
            .indexes
            .iter()
            .filter(|index| !indexes.split(' ').any(|known| known == *index));
        self.faults
            .extend(others.map(|index| format!("{call}: uses {index}")));
        self.costs.push((call, cost));
    }
}

/// Makes all of them once.
pub(crate) async fn make_calls(site: &mut Site, filled: &Filled) -> Report {
    let mut report = Report::default();
    claims_and_ends(site, &filled.holder, &mut report).await;
    replayed_claims(site, filled, &mut report).await;
    inserts(site, &mut report).await;
    fires(site, &mut report).await;
    promotions(site, &filled.holder, &mut report).await;
    heartbeats(site, filled, &mut report).await;
    report
}

async fn claims_and_ends(site: &mut Site, holder: &Holder, report: &mut Report) {
    let Site { client, meter, .. } = site;
    let claim = "tasks.PRIMARY tasks.tasks_id executors.PRIMARY jobs.PRIMARY";
    // Once before, so that what is prepared once isn't counted.
    let lease = client.take(holder, "ready", BATCH).await;
    let (_, cost) = meter.cost(client.succeed(&lease)).await;
    report.add("first end", cost, 4, "tasks.tasks_id leases.PRIMARY");
    let (lease, cost) = meter.cost(client.take(holder, "ready", BATCH)).await;
    report.add("claim", cost, 4, claim);
    let (_, cost) = meter.cost(client.succeed(&lease)).await;
    report.add("ordinary end", cost, 3, "tasks.tasks_id leases.PRIMARY");
    let lease = client.take(holder, "ready", BATCH).await;
    let starts = fences(&lease).into_iter().map(|fence| Start {
        fence,
        start_time: client.now,
    });
    let (started, cost) = meter.cost(client.start(starts.collect())).await;
    started.unwrap();
    let written = "tasks.tasks_id tasks.PRIMARY leases.PRIMARY";
    report.add("start", cost, 6, written);
    let next = Next::Retry {
        due_time: client.now + Duration::from_secs(3_600),
    };
    let failed = |lease: &Lease| {
        let fences = fences(lease).into_iter();
        let ends = fences.map(|fence| client.ended(&fence, AttemptStatus::Failed, next.clone()));
        ends.collect()
    };
    let (_, cost) = meter.cost(client.finish(failed(&lease))).await;
    let indexes = "tasks.tasks_id leases.PRIMARY job_logs.job_logs_task job_logs.PRIMARY";
    report.add("end for a retry", cost, 8, indexes);
}

async fn replayed_claims(site: &mut Site, filled: &Filled, report: &mut Report) {
    let Site { client, meter, .. } = site;
    let lease = client.take(&filled.holder, "ready", BATCH).await;
    let replay = ClaimRequest {
        claim_id: lease.claim_id,
        replay: true,
        max_held: Some(BATCH),
        ..client.claim_request(&filled.holder, "ready", BATCH)
    };
    let (outcome, cost) = meter.cost(client.claim(replay)).await;
    let _ = outcome.unwrap();
    let indexes = "tasks.tasks_id executors.PRIMARY leases.PRIMARY leases.leases_claim jobs.PRIMARY";
    report.add("replayed claim", cost, 3, indexes);
    let full = ClaimRequest {
        max_held: Some(BATCH),
        ..client.claim_request(&filled.holder, "ready", BATCH)
    };
    let (outcome, cost) = meter.cost(client.claim(full)).await;
    let _ = outcome.unwrap();
    // The holder's leases are what it looks at.
    report.add(
        "claim of a full holder",
        cost,
        2,
        "executors.PRIMARY leases.leases_holder",
    );
    client.succeed(&lease).await;
}

async fn inserts(site: &mut Site, report: &mut Report) {
    let Site { client, meter, .. } = site;
    let new = |call: &str, n: usize| client.task("fired", &format!("{call}-{n}"));
    let plain: Vec<NewTask> = (0..BATCH).map(|n| new("plain", n)).collect();
    let (_, cost) = meter.cost(client.insert(plain.clone())).await;
    report.add("insert", cost, 2, "job_logs.job_logs_task");
    let indexes = "tasks.tasks_id job_logs.job_logs_task fired_tasks.PRIMARY unique_keys.PRIMARY";
    let (outcomes, cost) = meter.cost(client.insert_tasks(plain, client.now)).await;
    assert!(
        outcomes
            .unwrap()
            .iter()
            .all(|outcome| matches!(outcome, InsertOutcome::Duplicate { .. }))
    );
    report.add("insert of what is there", cost, 6, indexes);
    let keyed = |call: &str, first: usize| -> Vec<NewTask> {
        let tasks = (0..BATCH).map(|n| NewTask {
            scheduled_for: Some(client.now + super::filled::due_after(first + n)),
            unique_key: Some(UniqueKey::new("scope", format!("key-{:06}", first + n)).unwrap()),
            ..new(call, n)
        });
        tasks.collect()
    };
    let (_, cost) = meter.cost(client.insert(keyed("keyed", ROWS))).await;
    report.add("insert with keys", cost, 4, indexes);
    let (outcomes, cost) = meter
        .cost(client.insert_tasks(keyed("taken", ROWS), client.now))
        .await;
    assert!(
        outcomes
            .unwrap()
            .iter()
            .all(|outcome| matches!(outcome, InsertOutcome::Duplicate { .. }))
    );
    report.add("insert with keys that are taken", cost, 10, indexes);
}

async fn fires(site: &mut Site, report: &mut Report) {
    let Site { client, meter, .. } = site;
    let soon = client.now + Duration::from_secs(1);
    let due = |after| DueJobs {
        until: soon,
        after,
        limit: BATCH,
    };
    let (jobs, cost) = meter.cost(client.due_jobs(&due(None))).await;
    let jobs = jobs.unwrap();
    assert_eq!(jobs.len(), BATCH);
    report.add("due jobs", cost, 2, "jobs.jobs_due");
    let last = &jobs[BATCH / 2];
    let after = last.next_fire_time.map(|time| (time, last.job_id.clone()));
    let (_, cost) = meter.cost(client.due_jobs(&due(after))).await;
    report.add("next page of due jobs", cost, 2, "jobs.jobs_due");
    let (next, cost) = meter.cost(client.next_due_time(soon)).await;
    assert!(next.unwrap().is_some());
    report.add("next due time", cost, 0, "jobs.jobs_due");
    let (unplanned, cost) = meter.cost(client.unplanned_jobs(ZONE_VERSION, BATCH)).await;
    assert!(unplanned.unwrap().is_empty());
    report.add("unplanned jobs", cost, 0, "jobs.jobs_unplanned");
    let fires = jobs.iter().map(|job| Fire {
        job_id: job.job_id.clone(),
        version: job.version,
        expected_next_fire_time: job.next_fire_time,
        next_fire_time: Some(client.now + Duration::from_secs(7_200)),
        last_fire_time: job.next_fire_time,
        zone_version: ZONE_VERSION.into(),
        error: None,
        tasks: vec![NewTask {
            scheduled_for: job.next_fire_time,
            ..client.task(job.job_id.as_str(), &format!("{}-fired", job.job_id))
        }],
        decisions: Vec::new(),
        now: client.now,
    });
    // A lane for each is more than there is in practice, and costs a statement each.
    let fires = fires.map(|mut fire| {
        fire.tasks
            .iter_mut()
            .for_each(|task| task.lane = super::support::client::lane("fired"));
        fire
    });
    let (fired, cost) = meter.cost(client.fire(fires.collect())).await;
    assert_eq!(fired.unwrap().len(), BATCH);
    report.add(
        "fire",
        cost,
        6,
        "jobs.PRIMARY job_logs.job_logs_task fired_tasks.PRIMARY",
    );
}

async fn promotions(site: &mut Site, holder: &Holder, report: &mut Report) {
    let Site { client, meter, .. } = site;
    let soon = client.now + Duration::from_secs(1);
    let waiting = "gates.PRIMARY gate_tasks.PRIMARY gate_tasks.gate_tasks_due gate_tasks.gate_tasks_by_time gate_tasks.gate_tasks_by_rank \
                   gate_tasks.gate_tasks_by_job gate_tasks.gate_tasks_passed tasks.tasks_id cancel_requests.PRIMARY \
                   scheduled_tasks.scheduled_tasks_due jobs.PRIMARY scheduled_tasks.PRIMARY leases.PRIMARY";
    let (promoted, cost) = meter.cost(client.promote(sweep(soon))).await;
    assert_eq!(promoted.unwrap().ready, BATCH);
    report.add_of_one_holder("promotion of what is due", cost, 8, waiting);
    let lease = client.take(holder, "gated", LIMIT).await;
    client.succeed(&lease).await;
    let gates = PromoteRequest {
        gates: Some(vec![limited().key]),
        ..sweep(soon)
    };
    let (promoted, cost) = meter.cost(client.promote(gates)).await;
    assert_eq!(promoted.unwrap().ready, LIMIT);
    report.add("promotion behind a gate", cost, 8, waiting);
    let (promoted, cost) = meter.cost(client.promote(sweep(soon))).await;
    assert_eq!(promoted.unwrap().ready, 0);
    report.add_of_one_holder("promotion of nothing", cost, 4, waiting);
}

async fn heartbeats(site: &mut Site, filled: &Filled, report: &mut Report) {
    let Site { client, meter, .. } = site;
    let named: Vec<&Lease> = filled.leases.iter().collect();
    let indexes =
        "executors.PRIMARY leases.leases_holder leases.PRIMARY tasks.tasks_id cancel_requests.PRIMARY";
    let (alive, cost) = meter.cost(client.beat(&filled.holder, &named)).await;
    assert!(matches!(alive, HeartbeatOutcome::Alive(alive) if alive.unnamed.is_empty()));
    report.add_of_one_holder("heartbeat", cost, 2, indexes);
    let (alive, cost) = meter.cost(client.beat(&filled.holder, &[])).await;
    assert!(matches!(alive, HeartbeatOutcome::Alive(alive) if alive.unnamed.len() == BATCH));
    report.add_of_one_holder("heartbeat that names nothing", cost, 6, indexes);
    let held: Vec<TaskId> = named
        .iter()
        .map(|lease| lease.tasks[0].task.task_id.clone())
        .collect();
    let (_, cost) = meter.cost(client.get_tasks(&held)).await;
    let indexes = "tasks.tasks_id leases.PRIMARY leases.leases_holder";
    report.add("look at tasks", cost, 3, indexes);
}
