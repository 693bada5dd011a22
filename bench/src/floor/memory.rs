//! The floor in memory: live row → lease → history row over plain collections, one thread, no lock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::BATCH;
use crate::clock::Stopwatch;
use crate::workload::{JOBS, priority, task_id};

/// A live task, and what history keeps of it.
#[expect(
    dead_code,
    reason = "a store keeps the whole row; nobody here reads all of it"
)]
struct Row {
    task_id: Arc<str>,
    job_id: Arc<str>,
    rank: i64,
    priority: i32,
    due_time: i64,
    create_time: i64,
    scheduled_for: Option<i64>,
    token: u64,
    attempt: u32,
    state: i16,
    start_time: i64,
    end_time: i64,
    arguments: Option<Arc<str>>,
    output: String,
    error: String,
}

/// Rows in slots, ready ones in order, held ones by lease, and everything that is over.
#[derive(Default)]
struct Tables {
    live: Vec<Option<Row>>,
    ready: BTreeSet<(i64, usize)>,
    leases: HashMap<u64, Vec<usize>>,
    history: Vec<Row>,
    by_id: HashMap<Arc<str>, Place>,
}

/// Where a task's row is.
#[expect(dead_code, reason = "what a look-up by id would follow; nobody here looks up")]
enum Place {
    Live(usize),
    History(usize),
}

pub(super) fn measure(tasks: usize) -> f64 {
    let mut tables = fill(tasks);
    let watch = Stopwatch::start();
    let mut token = 0;
    while tables.claim(token + 1) {
        token += 1;
        tables.settle(token);
    }
    let took = watch.elapsed();
    assert_eq!(tables.history.len(), tasks, "the floor lost tasks");
    tasks as f64 / took.as_secs_f64()
}

fn fill(tasks: usize) -> Tables {
    let jobs = (0..JOBS)
        .map(|n| Arc::from(format!("job-{n}")))
        .collect::<Vec<_>>();
    let mut tables = Tables::default();
    for n in 0..tasks {
        let due_time = n as i64;
        let row = Row {
            task_id: Arc::from(task_id(n)),
            job_id: Arc::clone(&jobs[n % JOBS]),
            rank: due_time - i64::from(priority(n)) * 10_000_000,
            priority: priority(n),
            due_time,
            create_time: due_time,
            scheduled_for: None,
            token: 0,
            attempt: 0,
            state: 2,
            start_time: 0,
            end_time: 0,
            arguments: None,
            output: String::new(),
            error: String::new(),
        };
        tables.ready.insert((row.rank, n));
        tables.by_id.insert(Arc::clone(&row.task_id), Place::Live(n));
        tables.live.push(Some(row));
    }
    tables
}

impl Tables {
    /// Takes the next batch under `token`; false if nothing is ready.
    fn claim(&mut self, token: u64) -> bool {
        let mut held = Vec::with_capacity(BATCH);
        while held.len() < BATCH
            && let Some((_, slot)) = self.ready.pop_first()
        {
            if let Some(row) = &mut self.live[slot] {
                (row.state, row.token, row.attempt) = (3, token, row.attempt + 1);
                row.start_time = row.due_time;
            }
            held.push(slot);
        }
        let any = !held.is_empty();
        self.leases.insert(token, held);
        any
    }

    /// Moves the batch under `token` to the history.
    fn settle(&mut self, token: u64) {
        for slot in self.leases.remove(&token).unwrap_or_default() {
            if let Some(mut row) = self.live[slot].take_if(|row| row.token == token) {
                (row.state, row.end_time) = (5, row.start_time + 1);
                if let Some(place) = self.by_id.get_mut(&row.task_id) {
                    *place = Place::History(self.history.len());
                }
                self.history.push(row);
            }
        }
    }
}
