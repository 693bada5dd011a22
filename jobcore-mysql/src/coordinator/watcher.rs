//! Looks for news for all who watch or wait on this node, by one statement, and tells them.

use std::sync::Arc;
use std::time::Duration;

use jobcore::Result;
use jobcore::coordinator::{ConfigValue, Member};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::lease::Sweep;
use super::lines::Lines;
use super::pace::Pace;
use super::seat::Kind;
use super::subjects::{Reply, Subjects};
use super::view::{Look, Read};
use crate::database::Work;

/// How soon it looks again after a change, and when there is none for a few seconds.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// What somebody wants to hear of.
#[derive(Debug)]
pub(crate) enum Request {
    /// The members of a group.
    Group(String, Reply<Vec<Member>>),
    /// A configuration value.
    Key(String, Reply<Option<ConfigValue>>),
    /// That a leadership or lock isn't taken.
    Free(Kind, String, oneshot::Sender<()>),
}

/// Looks while somebody watches or waits, and rests else.
#[derive(Debug)]
pub(crate) struct Watcher {
    work: Work,
    requests: mpsc::Receiver<Request>,
    /// This node changed something.
    news: Arc<Notify>,
    closed: watch::Receiver<bool>,
    groups: Subjects<Vec<Member>>,
    keys: Subjects<Option<ConfigValue>>,
    lines: Lines,
    /// What everybody has been told of; `None` at first.
    revision: Option<i64>,
    failing: bool,
}

impl Watcher {
    pub(crate) fn new(
        work: Work,
        requests: mpsc::Receiver<Request>,
        news: Arc<Notify>,
        closed: watch::Receiver<bool>,
    ) -> Self {
        Self {
            work,
            requests,
            news,
            closed,
            groups: Subjects::default(),
            keys: Subjects::default(),
            lines: Lines::default(),
            revision: None,
            failing: false,
        }
    }

    /// Goes on until the coordinator is closed or dropped. Then all watches end.
    pub(crate) async fn run(mut self) {
        let mut pace = Pace::new(SHORTEST, LONGEST);
        let mut rest = None;
        while self.rest(rest).await {
            while let Ok(request) = self.requests.try_recv() {
                self.add(request);
            }
            self.prune();
            if self.is_idle() {
                rest = None;
                continue;
            }
            match self.look().await {
                Ok(changed) => {
                    self.failing = false;
                    if changed || self.lines.is_unsettled() {
                        pace.quicken();
                    }
                }
                Err(_) if self.work.is_closed() => return,
                Err(error) => self.fail(&error),
            }
            rest = Some(pace.rest());
        }
    }

    /// Rests so long, or until there is something to do; `false` when there never will be.
    async fn rest(&mut self, rest: Option<Duration>) -> bool {
        let closed = async { drop(self.closed.wait_for(|closed| *closed).await) };
        let rested = async {
            match rest {
                Some(rest) => tokio::time::sleep(rest).await,
                None => std::future::pending().await,
            }
        };
        let request = tokio::select! {
            biased;
            () = closed => return false,
            request = self.requests.recv() => request,
            () = self.news.notified() => return true,
            () = rested => return true,
        };
        match request {
            Some(request) => {
                self.add(request);
                true
            }
            None => false,
        }
    }

    fn add(&mut self, request: Request) {
        match request {
            Request::Group(name, reply) => self.groups.add(name, reply),
            Request::Key(name, reply) => self.keys.add(name, reply),
            Request::Free(kind, name, reply) => self.lines.add(kind, name, reply),
        }
    }

    fn prune(&mut self) {
        self.groups.prune();
        self.keys.prune();
        self.lines.prune();
    }

    fn is_idle(&self) -> bool {
        self.groups.is_empty() && self.keys.is_empty() && self.lines.is_empty()
    }

    /// Looks for news; `true` if there was any.
    async fn look(&mut self) -> Result<bool> {
        let mut seen = self.work.carry_out(&Look).await?;
        if seen.expired {
            self.work.carry_out(&Sweep).await?;
            seen = self.work.carry_out(&Look).await?;
        }
        // Not only a later one: after a fail-over to a server that lags behind it is an earlier one.
        let changed = self.revision != Some(seen.revision);
        let asked = self.groups.has_new() || self.keys.has_new() || self.lines.is_unsettled();
        if changed || asked {
            // What is read is as new as the revision, or newer: then the next look reads it again.
            let view = self.work.carry_out(&self.watched()).await?;
            let values = view.values.into_iter().map(|(key, value)| (key, Some(value)));
            self.groups.publish(view.groups);
            self.keys.publish(values.collect());
            self.lines.call(&view.taken);
            self.revision = Some(seen.revision);
        }
        Ok(changed)
    }

    fn watched(&self) -> Read {
        Read {
            groups: self.groups.names(),
            keys: self.keys.names(),
            seats: self.lines.seats(),
        }
    }

    /// Who watches already goes on with what it has; who waits for a first value is told.
    fn fail(&mut self, error: &jobcore::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "can't see what changed; trying again");
        }
        self.groups.fail(error);
        self.keys.fail(error);
    }
}
