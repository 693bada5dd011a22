//! The plan: what a seed decides before anything runs: nodes, jobs, faults and requests.

use std::time::Duration;

use jobcore::config::Roles;

use super::chance::Chance;
use super::fault::Fault;
use super::request::Request;

/// What a seed decides.
pub(super) struct Plan {
    pub(super) nodes: Vec<NodePlan>,
    /// What happens when, in order.
    pub(super) events: Vec<(Duration, Event)>,
    /// When everything is healed.
    pub(super) heal_time: Duration,
}

/// What a node is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodePlan {
    pub(super) roles: Roles,
    pub(super) capacity: u32,
    pub(super) lease: Duration,
    /// By how much the clock of its machine is wrong.
    pub(super) skew_millis: i64,
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
        let nodes: Vec<NodePlan> = (0..count).map(|index| NodePlan::draw(chance, index)).collect();
        let heal_time = chance.millis(8_000, 25_000);
        let jobs = chance.between(2, 6);
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
            let fault = Fault::draw(chance, nodes.len());
            events.push((chance.millis(500, end), Event::Fault(fault)));
        }
        events.sort_by_key(|(time, _)| *time);
        Self {
            nodes,
            events,
            heal_time,
        }
    }
}

impl NodePlan {
    fn draw(chance: &Chance, index: usize) -> Self {
        // The first one does everything, so that nothing waits for want of a role.
        let roles = if index == 0 {
            Roles::All
        } else {
            *chance.pick(&[
                Roles::All,
                Roles::All,
                Roles::All,
                Roles::Scheduler,
                Roles::Executor,
            ])
        };
        Self {
            roles,
            capacity: *chance.pick(&[1, 2, 4, 20]),
            lease: chance.millis(1_500, 4_000),
            skew_millis: *chance.pick(&[0, 0, 5_000, -5_000, 7_200_000, -3_600_000]),
        }
    }
}
