//! The plan: what a seed decides before anything runs: nodes, jobs, faults and requests.

use std::time::Duration;

use jobcore::config::Roles;

use super::chance::Chance;
use super::fault::Fault;
use super::request::Request;
use super::wire::Post;

/// What a seed decides.
pub(super) struct Plan {
    pub(super) nodes: Vec<NodePlan>,
    /// What happens when, in order.
    pub(super) events: Vec<(Duration, Event)>,
    /// How badly the wire works all the time.
    pub(super) climate: Post,
    /// When everything is healed.
    pub(super) heal_time: Duration,
}

/// What a node is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodePlan {
    pub(super) kind: NodeKind,
    pub(super) capacity: u32,
    pub(super) lease: Duration,
    /// How long a task may be on its way to a remote executor.
    pub(super) dispatch_window: Duration,
    /// By how much the clock of its machine is wrong.
    pub(super) skew_millis: i64,
}

/// What a node's processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// An engine over the store.
    Engine(Roles),
    /// An executor without a store.
    Executor,
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Fault(Fault),
    Request(Request),
}

impl Plan {
    pub(super) fn draw(chance: &Chance) -> Self {
        let count = *chance.pick(&[1, 2, 2, 3, 3, 3, 4]);
        let executors = *chance.pick(&[0, 1, 1, 2, 2, 3]);
        let engines = (0..count).map(|index| NodeKind::Engine(roles(chance, index, executors)));
        let executors = (0..executors).map(|_| NodeKind::Executor);
        let dispatch_window = chance.millis(200, 2_000);
        let kinds = engines.chain(executors);
        let nodes: Vec<NodePlan> = kinds
            .map(|kind| NodePlan::draw(chance, kind, dispatch_window))
            .collect();
        let heal_time = chance.millis(8_000, 25_000);
        let jobs = chance.between(2, 6);
        let climate = if chance.happens(800) {
            Post::draw(chance)
        } else {
            Post::default()
        };
        let mut events: Vec<(Duration, Event)> = (0..jobs)
            .map(|_| (chance.millis(0, 1_000), Event::Request(Request::PutJob)))
            .collect();
        let end = heal_time.as_millis() as u64;
        for _ in 0..chance.between(5, 40) {
            events.push((chance.millis(500, end), Event::Request(Request::draw(chance))));
        }
        // Some seeds have no faults at all, and must be clean as well.
        let faults = if chance.happens(50) {
            0
        } else {
            chance.between(1, 10)
        };
        for _ in 0..faults {
            let fault = Fault::draw(chance, &nodes);
            events.push((chance.millis(500, end), Event::Fault(fault)));
        }
        events.sort_by_key(|(time, _)| *time);
        Self {
            nodes,
            events,
            climate,
            heal_time,
        }
    }
}

/// What an engine does: the first one schedules and, unless there are remote executors, carries out as well, so that
/// nothing waits for want of a role.
fn roles(chance: &Chance, index: usize, executors: usize) -> Roles {
    match (index, executors) {
        (0, 0) => Roles::All,
        (0, _) => *chance.pick(&[Roles::All, Roles::Scheduler, Roles::Scheduler]),
        _ => *chance.pick(&[
            Roles::All,
            Roles::All,
            Roles::All,
            Roles::Scheduler,
            Roles::Executor,
        ]),
    }
}

impl NodePlan {
    fn draw(chance: &Chance, kind: NodeKind, dispatch_window: Duration) -> Self {
        Self {
            kind,
            capacity: *chance.pick(&[1, 2, 4, 20]),
            lease: chance.millis(1_500, 4_000),
            dispatch_window,
            skew_millis: *chance.pick(&[0, 0, 5_000, -5_000, 7_200_000, -3_600_000]),
        }
    }
}
