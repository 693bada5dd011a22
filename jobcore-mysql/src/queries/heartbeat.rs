//! Heartbeats: they keep leases alive, and tell a node what it should know. A few statements for all that come together,
//! however many leases there are.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::id::{ExecutorId, TaskId};
use jobcore::lease::{FencingToken, Holder, Incarnation};
use jobcore::store::{Alive, ExecutorStatus, Heartbeat, HeartbeatOutcome, Held};
use sqlx::Row;

use super::columns::{count, datetime, token, token_number, unsigned};
use super::leases::StoredLease;
use super::rows::{Bound, RowStatement};
use super::standing::{Standing, lock_newest, note_life};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// Keeps executors alive.
#[derive(Debug)]
pub(crate) struct Beat(pub(crate) Vec<Heartbeat>);

#[async_trait::async_trait]
impl Operation for Beat {
    type Answer = Vec<HeartbeatOutcome>;
    const NAME: &'static str = "heartbeat";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let newest = lock_newest(cx, self.0.iter().map(|heartbeat| &heartbeat.holder.executor_id)).await?;
        let standing = |heartbeat: &Heartbeat| {
            let newest = newest.get(&heartbeat.holder.executor_id);
            newest.map_or((Standing::Dead, ExecutorStatus::Offline), |newest| {
                (newest.standing_of(&heartbeat.holder), newest.status)
            })
        };
        let alive = self.0.iter().filter(|heartbeat| is_alive(standing(heartbeat).0));
        let alive: Vec<&Heartbeat> = alive.collect();
        let now = cx.store_now().await?;
        let signs = alive
            .iter()
            .map(|heartbeat| (&heartbeat.holder.executor_id, heartbeat.resources.as_ref()));
        note_life(cx, &signs.collect::<Vec<_>>(), now).await?;
        let known = Known::read(cx, &alive, now).await?;
        let outcome = |heartbeat: &Heartbeat| match standing(heartbeat) {
            (Standing::Taking | Standing::NotTaking, status) => {
                HeartbeatOutcome::Alive(known.answer(heartbeat, status, now))
            }
            (Standing::Dead, _) => HeartbeatOutcome::Dead,
            (Standing::Superseded, _) => HeartbeatOutcome::Superseded,
        };
        Ok(self.0.iter().map(outcome).collect())
    }
}

fn is_alive(standing: Standing) -> bool {
    matches!(standing, Standing::Taking | Standing::NotTaking)
}

/// What the store knows of those who beat.
struct Known {
    /// All leases, by holder.
    tokens: HashMap<Holder, BTreeSet<FencingToken>>,
    /// Those that may hold something that wasn't named.
    leases: HashMap<FencingToken, StoredLease>,
    /// The tasks of those leases, and those that were named, as far as somebody holds them: token and attempt.
    held: HashMap<TaskId, (FencingToken, u32)>,
    /// What is to be cancelled, by id.
    cancel: HashMap<Holder, Vec<TaskId>>,
}

impl Known {
    async fn read(cx: &mut Cx<'_>, heartbeats: &[&Heartbeat], now: Timestamp) -> Result<Self> {
        let executors = heartbeats.iter().map(|heartbeat| &heartbeat.holder.executor_id);
        let mut executors: Vec<&ExecutorId> = executors.collect();
        executors.sort_unstable();
        executors.dedup();
        let tokens = tokens(cx, &executors).await?;
        let mut unnamed = Vec::new();
        let mut task_ids: Vec<&TaskId> = Vec::new();
        for heartbeat in heartbeats {
            let mut of_holder = tokens.get(&heartbeat.holder).cloned().unwrap_or_default();
            match &heartbeat.held {
                Held::Leases(named) => {
                    for token in named {
                        of_holder.remove(token);
                    }
                }
                Held::Tasks(named) => task_ids.extend(named.iter().map(|(task_id, _)| task_id)),
            }
            unnamed.extend(of_holder);
        }
        let leases = leases(cx, unnamed, now).await?;
        task_ids.extend(leases.values().flat_map(|lease| &lease.task_ids));
        let held = held(cx, task_ids).await?;
        let cancel = to_cancel(cx, &executors).await?;
        Ok(Self {
            tokens,
            leases,
            held,
            cancel,
        })
    }

    fn answer(&self, heartbeat: &Heartbeat, status: ExecutorStatus, now: Timestamp) -> Alive {
        let holder = &heartbeat.holder;
        let (unnamed, lost) = match &heartbeat.held {
            Held::Leases(named) => {
                let named: HashSet<FencingToken> = named.iter().copied().collect();
                let unnamed = self.unnamed(holder, |_, token| named.contains(&token));
                (unnamed, Vec::new())
            }
            Held::Tasks(named) => {
                let set: HashSet<(&TaskId, FencingToken)> =
                    named.iter().map(|(id, token)| (id, *token)).collect();
                let unnamed = self.unnamed(holder, |task_id, token| set.contains(&(task_id, token)));
                let lost = named.iter().filter(|pair| !self.is_held(holder, pair));
                (unnamed, lost.cloned().collect())
            }
        };
        Alive {
            now,
            status,
            cancel: self.cancel.get(holder).cloned().unwrap_or_default(),
            unnamed,
            lost,
        }
    }

    /// What the holder holds and didn't name.
    fn unnamed(
        &self,
        holder: &Holder,
        is_named: impl Fn(&TaskId, FencingToken) -> bool,
    ) -> Vec<(TaskId, FencingToken, u32)> {
        let tokens = self.tokens.get(holder).into_iter().flatten();
        let mut unnamed = Vec::new();
        for lease in tokens.filter_map(|token| self.leases.get(token)) {
            for task_id in &lease.task_ids {
                match self.held.get(task_id) {
                    Some((token, attempt)) if *token == lease.token && !is_named(task_id, *token) => {
                        unnamed.push((task_id.clone(), *token, *attempt));
                    }
                    _ => {}
                }
            }
        }
        unnamed.sort_unstable_by(|(a, a_token, _), (b, b_token, _)| (a_token, a).cmp(&(b_token, b)));
        unnamed
    }

    /// Whether the holder holds a task under this token.
    fn is_held(&self, holder: &Holder, (task_id, token): &(TaskId, FencingToken)) -> bool {
        self.held
            .get(task_id)
            .is_some_and(|(present, _)| present == token)
            && self
                .tokens
                .get(holder)
                .is_some_and(|tokens| tokens.contains(token))
    }
}

fn bind_id(query: Bound, executor_id: &&ExecutorId) -> Bound {
    query.bind(executor_id.as_str().to_owned())
}

static TOKENS: LazyLock<RowStatement> = LazyLock::new(|| {
    let select =
        "SELECT executor_id, incarnation, token FROM leases FORCE INDEX (leases_holder) WHERE executor_id IN";
    RowStatement::list(select, "")
});

/// The leases of executors, in whichever incarnation: of all but the newest they are soon taken back.
async fn tokens(
    cx: &mut Cx<'_>,
    executors: &[&ExecutorId],
) -> Result<HashMap<Holder, BTreeSet<FencingToken>>> {
    let mut tokens: HashMap<Holder, BTreeSet<FencingToken>> = HashMap::new();
    for row in &TOKENS.fetch(cx.sql, executors, bind_id).await? {
        let holder = Holder {
            executor_id: ExecutorId::from_stored(row.try_get::<&str, _>(0)?),
            incarnation: Incarnation(unsigned(row, 1)?),
        };
        tokens.entry(holder).or_default().insert(token(row, 2)?);
    }
    Ok(tokens)
}

static LEASES: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT token, task_ids FROM leases FORCE INDEX (PRIMARY) \
         WHERE (start_before IS NULL OR start_before < ?) AND token IN";
    RowStatement::list(select, "")
});

/// Leases with their tasks, but for those that their holder may not have got yet.
async fn leases(
    cx: &mut Cx<'_>,
    mut tokens: Vec<FencingToken>,
    now: Timestamp,
) -> Result<HashMap<FencingToken, StoredLease>> {
    tokens.sort_unstable();
    tokens.dedup();
    let head = |query: Bound| query.bind(datetime(now));
    let bind = |query: Bound, token: &FencingToken| query.bind(token_number(*token));
    let rows = LEASES
        .fetch_with(cx.sql, &tokens, head, bind, |query| query)
        .await?;
    let leases = rows.iter().map(StoredLease::decode);
    leases
        .map(|lease| lease.map(|lease| (lease.token, lease)))
        .collect()
}

static HELD: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT task_id, token, attempt FROM tasks FORCE INDEX (tasks_id) WHERE state IN (3, 4) AND task_id IN";
    RowStatement::list(select, "")
});

/// Those of these tasks that somebody holds, with token and attempt.
async fn held(cx: &mut Cx<'_>, mut task_ids: Vec<&TaskId>) -> Result<HashMap<TaskId, (FencingToken, u32)>> {
    task_ids.sort_unstable();
    task_ids.dedup();
    let bind = |query: Bound, task_id: &&TaskId| query.bind(task_id.as_str().to_owned());
    let mut held = HashMap::with_capacity(task_ids.len());
    for row in &HELD.fetch(cx.sql, &task_ids, bind).await? {
        let task_id = TaskId::from_stored(row.try_get::<&str, _>(0)?);
        held.insert(task_id, (token(row, 1)?, count(row, 2)?));
    }
    Ok(held)
}

/// Begins with the requests, of which there are few.
static CANCEL: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT l.executor_id, l.incarnation, c.task_id FROM cancel_requests c \
                  STRAIGHT_JOIN tasks t ON t.task_id = c.task_id STRAIGHT_JOIN leases l ON l.token = t.token \
                  WHERE t.state IN (3, 4) AND l.executor_id IN";
    RowStatement::list(select, "")
});

/// What executors hold and is to be cancelled.
async fn to_cancel(cx: &mut Cx<'_>, executors: &[&ExecutorId]) -> Result<HashMap<Holder, Vec<TaskId>>> {
    let mut cancel: HashMap<Holder, Vec<TaskId>> = HashMap::new();
    for row in &CANCEL.fetch(cx.sql, executors, bind_id).await? {
        let holder = Holder {
            executor_id: ExecutorId::from_stored(row.try_get::<&str, _>(0)?),
            incarnation: Incarnation(unsigned(row, 1)?),
        };
        let task_id = TaskId::from_stored(row.try_get::<&str, _>(2)?);
        cancel.entry(holder).or_default().push(task_id);
    }
    cancel.values_mut().for_each(|task_ids| task_ids.sort_unstable());
    Ok(cancel)
}
