//! The wire: the way between schedulers and remote executors, on which messages are lost, late, repeated, out of order
//! and brought to the wrong door.

mod executor_end;
mod scheduler_end;
mod strays;

use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::Clock;
use jobcore::memory::MemoryTransport;
use jobcore::transport::{ExecutorTransport, Transport};
use jobcore::{Error, ErrorKind, Result};

use self::executor_end::ExecutorEnd;
pub(super) use self::executor_end::real;
use self::strays::Strays;
use super::chance::Chance;
use super::process::Process;
use super::world::World;

/// How likely a message that a process sends goes wrong, in 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Post {
    /// Never arrives, though the sender was told that it is on its way.
    pub(super) lost: u64,
    /// Arrives long after what was sent later.
    pub(super) late: u64,
    /// Arrives twice, the second time late.
    pub(super) repeated: u64,
    /// Arrives, and the sender is told that nobody knows.
    pub(super) unconfirmed: u64,
    /// Arrives at another executor as well.
    pub(super) astray: u64,
}

impl Post {
    pub(super) fn draw(chance: &Chance) -> Self {
        Self {
            lost: *chance.pick(&[0, 100, 300]),
            late: *chance.pick(&[0, 100, 300, 700]),
            repeated: *chance.pick(&[0, 50, 300]),
            unconfirmed: *chance.pick(&[0, 50, 200]),
            astray: *chance.pick(&[0, 200, 700]),
        }
    }
}

/// Where all ends meet.
pub(super) struct Wire {
    place: MemoryTransport,
    strays: Strays,
}

impl Wire {
    /// A broker has a clock of its own.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            place: MemoryTransport::new(clock),
            strays: Strays::default(),
        }
    }

    /// A scheduler's end.
    pub(super) fn scheduler(world: &Arc<World>, process: &Arc<Process>) -> Arc<dyn Transport> {
        let inner = world.wire.place.scheduler();
        Arc::new(End::new(world, process, inner))
    }

    /// An executor's end.
    pub(super) fn executor(world: &Arc<World>, process: &Arc<Process>) -> Arc<dyn ExecutorTransport> {
        let inner = world.wire.place.executor();
        let strays = world.wire.strays.door(process.caller);
        Arc::new(ExecutorEnd::new(End::new(world, process, inner), strays))
    }
}

/// A process's end of the wire.
struct End<T: ?Sized> {
    world: Arc<World>,
    process: Arc<Process>,
    inner: Arc<T>,
}

/// What becomes of a message.
enum Fate {
    Delivered,
    Lost,
    Late(Duration),
    Repeated(Duration),
    Unconfirmed,
}

impl<T: ?Sized + Send + Sync + 'static> End<T> {
    fn new(world: &Arc<World>, process: &Arc<Process>, inner: Arc<T>) -> Self {
        Self {
            world: world.clone(),
            process: process.clone(),
            inner,
        }
    }

    fn fate(&self) -> Fate {
        let post = *self.process.post.lock();
        let chance = &self.world.chance;
        // Longer than the time in which a task may be on its way.
        let delay = || chance.millis(1, 7_000);
        let (kind, fate) = if chance.happens(post.lost) {
            ("lost_message", Fate::Lost)
        } else if chance.happens(post.late) {
            ("late_message", Fate::Late(delay()))
        } else if chance.happens(post.repeated) {
            ("repeated_message", Fate::Repeated(delay()))
        } else if chance.happens(post.unconfirmed) {
            ("unconfirmed_message", Fate::Unconfirmed)
        } else {
            return Fate::Delivered;
        };
        self.world.count(kind);
        fate
    }

    /// Sends messages: `deliver` carries them to the other end, perhaps when the sender is long gone.
    async fn send<F>(&self, deliver: impl Fn(Arc<T>) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.process.runs().await;
        self.travel().await;
        if self.process.is_unplugged() {
            return Err(self.cut_off().await);
        }
        let sent = match self.fate() {
            Fate::Delivered => deliver(self.inner.clone()).await,
            Fate::Lost => Ok(()),
            Fate::Late(delay) => {
                self.later(delay, deliver(self.inner.clone()));
                Ok(())
            }
            Fate::Repeated(delay) => {
                self.later(delay, deliver(self.inner.clone()));
                deliver(self.inner.clone()).await
            }
            Fate::Unconfirmed => {
                deliver(self.inner.clone()).await?;
                Err(unconfirmed())
            }
        };
        self.process.runs().await;
        sent
    }

    fn later(&self, delay: Duration, deliver: impl Future<Output = Result<()>> + Send + 'static) {
        self.world.spawn(async move {
            tokio::time::sleep(delay).await;
            // Nobody is told any more; what doesn't arrive is lost.
            let _ = deliver.await;
        });
    }

    /// Receives messages. What arrives while the process is cut off is lost to it.
    async fn receive<A>(&self, wait: impl Future<Output = Result<A>>) -> Result<A> {
        self.process.runs().await;
        if self.process.is_unplugged() {
            return Err(self.cut_off().await);
        }
        let received = wait.await;
        self.process.runs().await;
        if self.process.is_unplugged() {
            return Err(self.cut_off().await);
        }
        received
    }

    async fn travel(&self) {
        let millis = self.world.chance.between(0, 5).saturating_sub(3);
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    async fn cut_off(&self) -> Error {
        tokio::time::sleep(self.world.chance.millis(20, 400)).await;
        self.process.runs().await;
        Error::new(ErrorKind::Unavailable, "simulated: nobody can be reached").backend("simulated")
    }
}

fn unconfirmed() -> Error {
    Error::new(ErrorKind::Indeterminate, "simulated: the confirmation was lost").backend("simulated")
}
