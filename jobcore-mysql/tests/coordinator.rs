//! Nodes that share nothing but the database keep what the trait promises, also when the server or the way to it is gone.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod support;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jobcore::coordinator::{ConfigValue, Coordinator, Guard, Member, PutConfigOutcome};
use jobcore::json::Json;
use jobcore::lease::FencingToken;
use jobcore::{ErrorKind, Result};
use jobcore_mysql::{MySqlConfig, MySqlCoordinator, MySqlStore};
use jobcore_services::mariadb::{MariaDb, Options};
use jobcore_testkit::clock::ManualClock;
use jobcore_testkit::conformance::coordinator::CoordinatorPlace;
use sqlx::Executor as _;
use support::link::Link;
use support::{Database, server};
use tokio::sync::{Mutex, watch};
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout};

/// Short, so that what waits for its end takes no longer; many times a round trip on a busy machine.
const LEASE: Duration = Duration::from_secs(3);

/// Longer than any test, so that nothing expires.
const NEVER: Duration = Duration::from_secs(3_600);

/// Longer than anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

mod conformance {
    use super::Cluster;
    use super::support::server;

    jobcore_testkit::coordinator_conformance!(match server() {
        Some(server) => Cluster::create(server),
        None => return,
    });
}

/// A node whose way to the server can be cut.
struct Node {
    coordinator: MySqlCoordinator,
    _store: MySqlStore,
    link: Link,
}

impl Node {
    async fn start(url: &str, lease: Duration) -> Self {
        let link = Link::to(url).await;
        let config = MySqlConfig::url(&link.url(url)).unwrap().connections(4);
        let store = config.session(lease).open().await.unwrap();
        Self {
            coordinator: store.coordinator(),
            _store: store,
            link,
        }
    }
}

/// Nodes on a database of their own.
struct Cluster {
    nodes: Mutex<Vec<Node>>,
    database: Database,
}

impl Cluster {
    async fn create(server: String) -> Self {
        Self {
            nodes: Mutex::default(),
            database: Database::create(&server).await,
        }
    }
}

#[async_trait]
impl CoordinatorPlace for Cluster {
    async fn session(&self) -> Arc<dyn Coordinator> {
        let node = Node::start(&self.database.url(), LEASE).await;
        let coordinator = node.coordinator.clone();
        self.nodes.lock().await.push(node);
        Arc::new(coordinator)
    }

    async fn lose(&self, n: usize) -> bool {
        self.nodes.lock().await[n].link.cut();
        true
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(300)
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let came = timeout(PATIENCE, future).await;
    came.unwrap_or_else(|_| panic!("{what} should have come within {PATIENCE:?}"))
}

async fn lost(guard: &dyn Guard) {
    drop(soon("the loss", guard.held().wait_for(|held| !held)).await);
}

fn json(number: u64) -> Json {
    Json::parse(&number.to_string()).unwrap()
}

fn member(id: &str) -> Member {
    Member {
        id: id.to_owned(),
        data: json(7),
    }
}

/// What the holders of one seat know of each other.
#[derive(Default)]
struct Seat {
    last: Mutex<Last>,
    inside: AtomicU32,
}

#[derive(Default)]
struct Last {
    token: FencingToken,
    version: Option<u64>,
}

impl Seat {
    /// Holds it for as long as a write takes that nobody else may make, and gives it up.
    async fn use_once(&self, node: &MySqlCoordinator, key: &str, guard: Box<dyn Guard>) {
        assert_eq!(
            self.inside.fetch_add(1, Ordering::SeqCst),
            0,
            "one holds it at a time"
        );
        let mut last = self.last.lock().await;
        assert!(guard.token() > last.token, "tokens increase");
        last.token = guard.token();
        let written = node
            .put_config(key, Some(json(last.token.0)), last.version)
            .await
            .unwrap();
        let PutConfigOutcome::Written { version } = written else {
            panic!("somebody else wrote: {written:?}");
        };
        last.version = Some(version);
        drop(last);
        assert!(*guard.held().borrow());
        self.inside.fetch_sub(1, Ordering::SeqCst);
        drop(guard);
    }
}

async fn take(node: &MySqlCoordinator, seat: &str) -> Result<Box<dyn Guard>> {
    match seat {
        "leadership" => node.campaign(seat, "candidate").await,
        _ => node.lock(seat, NEVER).await.map(Option::unwrap),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_race_hold_one_after_the_other() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let stores = [
        database.config().open().await.unwrap(),
        database.config().open().await.unwrap(),
    ];
    for name in ["leadership", "lock"] {
        let seat = Arc::new(Seat::default());
        // Two nodes on each store, and two tasks on each node.
        let nodes = stores
            .iter()
            .flat_map(|store| [store.coordinator(), store.coordinator()]);
        let tasks = nodes.flat_map(|node| [node.clone(), node]).map(|node| {
            let seat = Arc::clone(&seat);
            tokio::spawn(async move {
                for _ in 0..5 {
                    let guard = take(&node, name).await.unwrap();
                    seat.use_once(&node, name, guard).await;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            soon("the end of the race", task).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_away_while_it_waits_holds_nothing() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let store = database.config().session(NEVER).open().await.unwrap();
    let (one, two) = (store.coordinator(), store.coordinator());
    let mut came = 0;
    for n in 0..60 {
        // Cut off at any point of its way.
        let cut = Duration::from_micros(200 * n);
        came += u32::from(timeout(cut, one.campaign("election", "one")).await.is_ok());
        soon("the leadership", two.campaign("election", "two"))
            .await
            .unwrap();
    }
    assert!(came < 60, "none was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_stops_before_another_leads() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let (one, two) = (
        Node::start(&database.url(), LEASE).await,
        Node::start(&database.url(), LEASE).await,
    );
    let first = soon("the leadership", one.coordinator.campaign("e", "one"))
        .await
        .unwrap();
    let next = two.coordinator.clone();
    let next = tokio::spawn(async move {
        let guard = next.campaign("e", "two").await.unwrap();
        (guard, Instant::now())
    });
    one.link.cut();
    lost(&*first).await;
    let stopped = Instant::now();
    let (second, led) = soon("the next leader", next).await.unwrap();
    assert!(stopped < led, "they led both for {:?}", stopped - led);
    assert!(second.token() > first.token(), "epochs increase");

    one.link.mend();
    drop(second);
    let third = soon("the leadership", one.coordinator.campaign("e", "one"))
        .await
        .unwrap();
    assert!(third.token() > first.token() && *third.held().borrow());
    assert!(!*first.held().borrow(), "what was lost stays lost");
}

/// Campaigns for ever, and tells of each leadership when it has begun.
async fn campaign(node: MySqlCoordinator, leader: Arc<watch::Sender<Option<Leader>>>) {
    loop {
        let guard = node.campaign("e", "candidate").await.unwrap();
        let mut held = guard.held();
        leader.send_modify(|leader| {
            if let Some(before) = &*leader {
                assert!(!*before.held.borrow(), "two lead at once");
                assert!(guard.token() > before.epoch, "epochs increase");
            }
            *leader = Some(Leader {
                epoch: guard.token(),
                held: guard.held(),
            });
        });
        drop(held.wait_for(|held| !held).await);
    }
}

struct Leader {
    epoch: FencingToken,
    held: watch::Receiver<bool>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_dies_ends_leaderships_in_time_and_they_begin_again() {
    if !MariaDb::is_installed() {
        return jobcore_services::skip("there is no MariaDB to start");
    }
    let options = Options::new(env!("CARGO_TARGET_TMPDIR"));
    let mut server = block_in_place(|| MariaDb::start(options)).unwrap();
    let open = || MySqlConfig::url(&server.url()).unwrap().session(LEASE).open();
    let stores = [open().await.unwrap(), open().await.unwrap()];
    let nodes = stores.each_ref().map(MySqlStore::coordinator);

    let leader = Arc::new(watch::Sender::new(None));
    let mut leaders = leader.subscribe();
    let mut campaigns = tokio::task::JoinSet::new();
    for node in &nodes {
        campaigns.spawn(campaign(node.clone(), Arc::clone(&leader)));
    }
    let mut config = nodes[0].watch_config("k").await.unwrap();
    let mut members = nodes[0].members("g").await.unwrap();
    let mut version = None;
    let mut epoch = FencingToken(0);
    for round in 0..3 {
        let next = |leader: &Option<Leader>| leader.as_ref().is_some_and(|leader| leader.epoch > epoch);
        let mut held = {
            let leader = soon("a leader", leaders.wait_for(next)).await.unwrap();
            let leader = leader.as_ref().unwrap();
            epoch = leader.epoch;
            leader.held.clone()
        };
        let membership = nodes[1].join("g", member("m")).await.unwrap();
        drop(
            soon(
                "the member",
                members.wait_for(|members| *members == [member("m")]),
            )
            .await
            .unwrap(),
        );
        let written = nodes[1]
            .put_config("k", Some(json(round)), version)
            .await
            .unwrap();
        let PutConfigOutcome::Written { version: new } = written else {
            panic!("{written:?}")
        };
        version = Some(new);
        let expected = Some(ConfigValue {
            value: json(round),
            version: new,
        });
        drop(
            soon("the value", config.wait_for(|value| *value == expected))
                .await
                .unwrap(),
        );

        block_in_place(|| server.kill()).unwrap();
        let killed = Instant::now();
        drop(soon("the end of the leadership", held.wait_for(|held| !held)).await);
        assert!(killed.elapsed() < LEASE, "it led for {:?}", killed.elapsed());
        lost(&*membership).await;
        block_in_place(|| server.restart()).unwrap();
        drop(
            soon("the member's end", members.wait_for(Vec::is_empty))
                .await
                .unwrap(),
        );
    }
    campaigns.abort_all();
    while let Some(ended) = campaigns.join_next().await {
        assert!(
            ended.unwrap_err().is_cancelled(),
            "two lead at once, or an epoch came again"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_sees_the_last_value_of_many() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let store = database.config().open().await.unwrap();
    let (one, two) = (store.coordinator(), store.coordinator());
    let mut watches = [
        one.watch_config("k").await.unwrap(),
        two.watch_config("k").await.unwrap(),
    ];
    let mut version = None;
    for n in 0..100 {
        // Some are removals, after which the versions go on.
        let value = (n % 10 != 9).then(|| json(n));
        match one.put_config("k", value, version).await.unwrap() {
            PutConfigOutcome::Written { version: new } => version = Some(new),
            PutConfigOutcome::Removed => version = None,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        one.put_config("k", Some(json(100)), None).await.unwrap(),
        PutConfigOutcome::Written { version: 101 }
    );
    let last = Some(ConfigValue {
        value: json(100),
        version: 101,
    });
    for watch in &mut watches {
        drop(
            soon("the last value", watch.wait_for(|value| *value == last))
                .await
                .unwrap(),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_is_free_at_once() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let store = database.config().session(NEVER).open().await.unwrap();
    let (one, two) = (store.coordinator(), store.coordinator());
    let lock = one.lock("l", NEVER).await.unwrap().unwrap();
    let mut members = one.members("g").await.unwrap();
    one.close().await.unwrap();
    assert!(!*lock.held().borrow());
    soon("the end of the watch", async {
        while members.changed().await.is_ok() {}
    })
    .await;
    assert!(
        two.lock("l", Duration::ZERO).await.unwrap().is_some(),
        "nobody has to wait"
    );
    let refused = one.lock("l", NEVER).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_node_is_gone() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let store = database.config().session(NEVER).open().await.unwrap();
    let (one, two) = (store.coordinator(), store.coordinator());
    let mut members = two.members("g").await.unwrap();
    let membership = one.join("g", member("a")).await.unwrap();
    drop(one);
    drop(
        soon("the member", members.wait_for(|members| members.len() == 1))
            .await
            .unwrap(),
    );
    assert!(*membership.held().borrow(), "a guard is enough");
    drop(membership);
    drop(soon("the end", members.wait_for(Vec::is_empty)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_session_comes_to_hold_is_seen() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let store = database.config().open().await.unwrap();
    let (one, two) = (store.coordinator(), store.coordinator());
    let mut members = two.members("g").await.unwrap();
    let mut memberships = Vec::new();
    for n in 1..=3 {
        memberships.push(one.join("g", member(&n.to_string())).await.unwrap());
        let seen = members.wait_for(|members| members.len() == n);
        drop(soon("the member", seen).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_deleted_is_lost() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let store = database.config().session(LEASE).open().await.unwrap();
    let node = store.coordinator();
    let (one, two) = (
        node.lock("one", NEVER).await.unwrap().unwrap(),
        node.lock("two", NEVER).await.unwrap().unwrap(),
    );
    let waiting = store.coordinator();
    let waiting = tokio::spawn(async move { waiting.lock("one", NEVER).await });
    let mut sql = database.connect().await;
    sql.execute("DELETE FROM coordination_holds WHERE name = 'one'")
        .await
        .unwrap();
    lost(&*one).await;
    assert!(*two.held().borrow(), "the other is still held");
    let next = soon("the lock", waiting).await.unwrap().unwrap();
    assert!(next.unwrap().token() > one.token(), "tokens increase");
    sql.execute("DELETE FROM coordination_sessions").await.unwrap();
    lost(&*two).await;
    let again = soon("the lock", node.lock("two", NEVER)).await.unwrap().unwrap();
    assert!(again.token() > two.token(), "tokens increase");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_end_by_the_clock_that_is_injected() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let clock = Arc::new(ManualClock::default());
    let config = database.config().session(LEASE).clock(Arc::clone(&clock) as _);
    let store = config.open().await.unwrap();
    let (one, two) = (store.coordinator(), store.coordinator());
    let first = one.lock("l", NEVER).await.unwrap().unwrap();
    assert!(two.lock("l", Duration::ZERO).await.unwrap().is_none());
    clock.advance(LEASE);
    let second = two.lock("l", Duration::ZERO).await.unwrap();
    assert!(second.unwrap().token() > first.token());
    lost(&*first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_no_column_takes_are_refused() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let store = database.config().open().await.unwrap();
    let node = store.coordinator();
    let longest = "é".repeat(127) + "x";
    assert!(node.lock(&longest, NEVER).await.unwrap().is_some());
    let refused = node.lock(&"x".repeat(256), NEVER).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}
