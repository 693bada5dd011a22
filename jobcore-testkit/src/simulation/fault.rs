//! Faults: what goes wrong, and for how long.

use std::sync::Arc;
use std::time::Duration;

use super::chance::Chance;
use super::cluster::Cluster;
use super::plan::{NodeKind, NodePlan};
use super::process::{Identity, Process, Weather};
use super::wire::Post;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    node: usize,
    kind: FaultKind,
    lasts: Duration,
}

#[derive(Clone, Copy, Debug)]
enum FaultKind {
    /// The process stops, and goes on later with what it knew.
    Freeze,
    /// The process dies, and comes back.
    Crash(Identity),
    /// The process can't reach the store.
    Partition,
    /// Nobody can reach the store.
    Outage,
    /// Calls of the process are refused, lost and late.
    Weather(Weather),
    /// The process can't reach the other end of the wire.
    Unplug,
    /// What the process sends over the wire is lost, late and repeated.
    Post(Post),
    /// The store's clock jumps by as many milliseconds.
    StoreClock(i64),
    /// The clock of the process's machine jumps.
    Clock(i64),
    /// The process ends in order.
    Drain,
    /// Another process joins under the same id.
    Twin,
    /// The process stops, and meanwhile another one joins under the same id.
    FrozenTwin,
}

impl Fault {
    pub(super) fn draw(chance: &Chance, nodes: &[NodePlan]) -> Self {
        let remote = nodes.iter().any(|node| node.kind == NodeKind::Executor);
        let kind = match chance.between(0, if remote { 25 } else { 18 }) {
            0..=3 => FaultKind::Freeze,
            4 | 5 => FaultKind::Crash(Identity::Same),
            6 => FaultKind::Crash(Identity::New),
            7 | 8 => FaultKind::Partition,
            9 => FaultKind::Outage,
            10..=13 => FaultKind::Weather(Weather {
                refused: *chance.pick(&[0, 20, 200]),
                unanswered: *chance.pick(&[0, 20, 200]),
                late: *chance.pick(&[0, 50, 200, 500]),
                slow: *chance.pick(&[0, 20, 300]),
            }),
            14 => FaultKind::StoreClock(*chance.pick(&[-3_000, -500, 500, 3_000, 10_000])),
            15 => FaultKind::Clock(*chance.pick(&[100, 1_000, 3_000])),
            16 => FaultKind::Drain,
            17 => FaultKind::Twin,
            18 => FaultKind::FrozenTwin,
            19 | 20 => FaultKind::Unplug,
            _ => FaultKind::Post(Post::draw(chance)),
        };
        Self {
            node: chance.index(nodes.len()),
            kind,
            lasts: chance.millis(100, 10_000),
        }
    }

    /// Lets it happen.
    pub(super) fn happen(self, cluster: &Arc<Cluster>) {
        let world = &cluster.world;
        world.count(self.name());
        world.tell(|| format!("FAULT {self:?}"));
        let process = cluster.process(self.node);
        match self.kind {
            FaultKind::Freeze => self.freeze(cluster, process),
            FaultKind::Crash(identity) => {
                *process.revival.lock() = (self.lasts / 4, identity);
                process.die();
            }
            FaultKind::Partition => {
                process.cut(true);
                self.later(cluster, move || process.cut(false));
            }
            FaultKind::Outage => {
                world.set_out(true);
                let healed = world.clone();
                self.later(cluster, move || healed.set_out(false));
            }
            FaultKind::Weather(weather) => {
                *process.weather.lock() = weather;
                self.later(cluster, move || *process.weather.lock() = Weather::default());
            }
            FaultKind::Unplug => {
                process.unplug(true);
                self.later(cluster, move || process.unplug(false));
            }
            FaultKind::Post(post) => {
                *process.post.lock() = post;
                let cluster = cluster.clone();
                self.later(&cluster.clone(), move || *process.post.lock() = cluster.climate());
            }
            FaultKind::StoreClock(millis) => world.store_time.jump(millis),
            FaultKind::Clock(millis) => process.jump(millis),
            FaultKind::Drain => {
                let program = process.program.lock().clone();
                if let Some(program) = program {
                    world.spawn(async move { program.drain(self.lasts / 2).await });
                }
            }
            FaultKind::Twin => cluster.start(self.node, Identity::Same),
            FaultKind::FrozenTwin => {
                self.freeze(cluster, process);
                cluster.start(self.node, Identity::Same);
            }
        }
    }

    fn freeze(self, cluster: &Cluster, process: Arc<Process>) {
        process.freeze(true);
        let world = cluster.world.clone();
        self.later(cluster, move || {
            world.tell(|| format!("THAW {process:?}"));
            process.freeze(false);
        });
    }

    fn later(self, cluster: &Cluster, heal: impl FnOnce() + Send + 'static) {
        cluster.world.spawn(async move {
            tokio::time::sleep(self.lasts).await;
            heal();
        });
    }

    const fn name(self) -> &'static str {
        match self.kind {
            FaultKind::Freeze => "freeze",
            FaultKind::Crash(_) => "crash",
            FaultKind::Partition => "partition",
            FaultKind::Outage => "store_outage",
            FaultKind::Weather(_) => "bad_weather",
            FaultKind::Unplug => "unplug",
            FaultKind::Post(_) => "bad_post",
            FaultKind::StoreClock(_) => "store_clock_jump",
            FaultKind::Clock(_) => "clock_jump",
            FaultKind::Drain => "drain",
            FaultKind::Twin => "twin",
            FaultKind::FrozenTwin => "frozen_twin",
        }
    }
}
