//! Membership: joins, gives signs of life, and joins anew when it was declared dead.

use std::sync::Arc;
use std::time::Duration;

use super::NodeState;
use super::link::Link;
use crate::clock::Clock;
use crate::config::HeartbeatThread;
use crate::engine::attempt::Ending;
use crate::error::{Error, ErrorKind, Result};
use crate::job::OnLeaseLost;
use crate::store::JoinKey;
use crate::time::Timestamp;
use crate::transport::{Address, Beat, Join, Joined, Taking};

/// How long the answer to a join is waited for before it is asked again: the first time, and at the most.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
const LONGEST_PATIENCE: Duration = Duration::from_secs(8);

/// How many unanswered beats are remembered.
const MOST_BEATS: usize = 64;

/// The membership loop.
pub(super) struct Membership {
    link: Arc<Link>,
}

impl Membership {
    pub(super) const fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// Begins, where the configuration says.
    ///
    /// # Errors
    /// `Unavailable` if the thread can't be started.
    pub(super) fn start(self) -> Result<()> {
        let link = self.link.clone();
        if link.config.heartbeat_thread == HeartbeatThread::Shared {
            link.spawn(self.run());
            return Ok(());
        }
        let refused = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "the heartbeat thread can't be started").source(error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(refused)?;
        let (killed, token) = (link.killed.clone(), link.tasks.token());
        let beat = move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = killed.cancelled() => {}
                    () = self.run() => {}
                }
            });
            drop(token);
        };
        std::thread::Builder::new()
            .name("jobcore-heartbeat".to_owned())
            .spawn(beat)
            .map_err(refused)?;
        Ok(())
    }

    async fn run(self) {
        loop {
            self.join().await;
            while self.link.standing.lock().joined {
                self.beat().await;
            }
        }
    }

    /// Asks to join until it has joined.
    async fn join(&self) {
        let link = &self.link;
        link.tell(NodeState::Joining);
        let previous = link.incarnation();
        let mut patience = FIRST_PATIENCE;
        loop {
            let sent = link.now();
            tokio::select! {
                biased;
                answer = link.transport.join(self.wish()) => match answer {
                    Ok(joined) if Some(joined.address.holder.incarnation) > previous => {
                        if self.joined(sent, joined).await {
                            return;
                        }
                    }
                    // The answer to an earlier join: ours is on its way.
                    Ok(_) => {}
                    Err(error) => link.back_off("join", &error).await,
                },
                () = link.clock.sleep_until(sent + patience) => patience = (patience * 2).min(LONGEST_PATIENCE),
            }
            self.stop_unsafe_attempts();
        }
    }

    fn wish(&self) -> Join {
        let link = &self.link;
        Join {
            executor_id: link.executor_id.clone(),
            profile: link.profile.clone(),
            key: JoinKey {
                nonce: link.nonce,
                previous: link.incarnation(),
            },
            host: link.config.host.clone(),
            port: link.config.port,
            lease_duration: link.config.lease_duration,
        }
    }

    /// Takes the new incarnation up; says whether that worked.
    async fn joined(&self, sent: Timestamp, joined: Joined) -> bool {
        let link = &self.link;
        link.clock.observe(sent, joined.now);
        if let Err(error) = link.transport.open(&joined.address).await {
            link.back_off("open", &error).await;
            return false;
        }
        let mut standing = link.standing.lock();
        standing.address = Some(joined.address);
        standing.joined = true;
        standing.beat_time = sent;
        standing.sent.clear();
        drop(standing);
        link.health.works("join");
        link.tell(NodeState::Online);
        true
    }

    /// Gives one sign of life, and waits for the next to be due.
    async fn beat(&self) {
        let link = &self.link;
        let sent = link.now();
        let beat = self.sign_of_life(sent);
        // Not even a transport that hangs may keep attempts beyond a lease that they must not outlive.
        let next = sent + link.config.heartbeat_interval;
        if let Some(beat) = beat {
            tokio::select! {
                biased;
                sent = link.transport.beat(beat) => match sent {
                    Ok(()) => link.health.works("heartbeat"),
                    Err(error) => {
                        link.health.failed("heartbeat", &error, link.now(), &*link.entropy);
                    }
                },
                () = link.clock.sleep_until(next) => {}
            }
        }
        self.stop_unsafe_attempts();
        link.ledger.lock().tidy(link.now());
        tokio::select! {
            biased;
            () = link.heartbeat.notified() => {}
            () = link.clock.sleep_until(next) => {}
        }
    }

    fn sign_of_life(&self, sent: Timestamp) -> Option<Beat> {
        let link = &self.link;
        let mut standing = link.standing.lock();
        let from: Address = standing.address.clone()?;
        standing.sequence += 1;
        let sequence = standing.sequence;
        standing.sent.insert(sequence, sent);
        while standing.sent.len() > MOST_BEATS {
            standing.sent.pop_first();
        }
        drop(standing);
        let (held, beat_time) = link.ledger.lock().held(from.holder.incarnation, link.now());
        let taking = if link.draining.is_cancelled() {
            Taking::Nothing
        } else {
            Taking::Tasks
        };
        let resources = link.resources.report(from.holder.incarnation, sent);
        Some(Beat {
            from,
            sequence,
            beat_time,
            taking,
            held: Some(held),
            resources,
        })
    }

    /// Jobs that ask for it are stopped before the lease ends, counted from when the last answered beat was sent: a
    /// quarter of the lease is left to end in order.
    fn stop_unsafe_attempts(&self) {
        let link = &self.link;
        let lease = link.config.lease_duration;
        let (beat_time, holder) = {
            let standing = link.standing.lock();
            let holder = standing.address.as_ref().map(|address| address.holder.clone());
            (standing.beat_time, holder.filter(|_| standing.joined))
        };
        link.reporter.lease_until(beat_time + lease);
        let certain = link.now() < beat_time + lease * 3 / 4;
        for running in link.running.lock().values() {
            let stop = running.job().definition.on_lease_lost == OnLeaseLost::Stop;
            let held = certain && Some(&running.fence.holder) == holder.as_ref();
            if stop && !held {
                running.end(Ending::LeaseLost, beat_time + lease);
            }
        }
    }
}
