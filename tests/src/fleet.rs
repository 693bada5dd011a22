//! The processes under test: started, killed, frozen, and told to drain.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jobcore::clock::Entropy;
use jobcore::id::TaskId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long the workers' leases outlive their last heartbeat: short, so that a test sees many recoveries.
pub const LEASE: Duration = Duration::from_secs(1);

/// The time between heartbeats.
pub const HEARTBEAT: Duration = Duration::from_millis(200);

/// What was done to the processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Harm {
    /// Processes killed with SIGKILL.
    pub kills: u32,
    /// Of these, how many came back under the same id.
    pub same_ids: u32,
    /// Processes frozen with SIGSTOP for longer than their lease, and woken.
    pub long_freezes: u32,
    /// Processes frozen for less.
    pub short_freezes: u32,
}

/// Worker processes over one store.
#[derive(Debug)]
pub struct Fleet {
    program: PathBuf,
    store: String,
    journal: PathBuf,
    workers: Vec<Worker>,
    started: u32,
    /// What was done so far.
    pub harm: Harm,
}

#[derive(Debug)]
struct Worker {
    id: String,
    child: Child,
    /// After how many more steps it is woken; `None`: it isn't frozen.
    frozen: Option<u32>,
}

/// How long a step of [`Fleet::harm_one`] lasts.
pub const STEP: Duration = Duration::from_millis(250);

impl Fleet {
    /// Starts `size` processes of `program` over the store at this address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(program: &Path, store: &str, journal: &Path, size: usize) -> io::Result<Self> {
        let mut fleet = Self {
            program: program.to_owned(),
            store: store.to_owned(),
            journal: journal.to_owned(),
            workers: Vec::new(),
            started: 0,
            harm: Harm::default(),
        };
        for _ in 0..size {
            let id = fleet.new_id();
            let worker = fleet.spawn(id)?;
            fleet.workers.push(worker);
        }
        Ok(fleet)
    }

    /// One step of chance: kills, freezes or wakes a process, or does nothing.
    ///
    /// # Errors
    /// The operating system's; `BrokenPipe` if a worker ended that nobody killed.
    pub fn harm_one(&mut self, chance: &dyn Entropy) -> io::Result<()> {
        self.wake_due()?;
        self.check_alive()?;
        let random = chance.next_u64();
        let index = (random >> 8) as usize % self.workers.len();
        match random % 8 {
            0 | 1 => self.kill(index, random & (1 << 40) == 0),
            2 => self.freeze(index, 6 + (random >> 16) as u32 % 4),
            3 => self.freeze(index, 1),
            _ => Ok(()),
        }
    }

    /// Wakes whoever is frozen.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wake_all(&mut self) -> io::Result<()> {
        for worker in &mut self.workers {
            worker.frozen = worker.frozen.map(|_| 0);
        }
        self.wake_due()
    }

    /// Tells all to drain, and waits until they have ended.
    ///
    /// # Errors
    /// The operating system's.
    pub fn drain(mut self) -> io::Result<()> {
        for worker in &self.workers {
            signal(&worker.child, Signal::SIGINT)?;
        }
        for worker in &mut self.workers {
            worker.child.wait()?;
        }
        Ok(())
    }

    fn kill(&mut self, index: usize, same_id: bool) -> io::Result<()> {
        self.workers[index].child.kill()?;
        self.workers[index].child.wait()?;
        let id = if same_id {
            self.harm.same_ids += 1;
            self.workers[index].id.clone()
        } else {
            self.new_id()
        };
        self.harm.kills += 1;
        self.workers[index] = self.spawn(id)?;
        Ok(())
    }

    fn freeze(&mut self, index: usize, steps: u32) -> io::Result<()> {
        let worker = &mut self.workers[index];
        if worker.frozen.is_some() {
            return Ok(());
        }
        signal(&worker.child, Signal::SIGSTOP)?;
        worker.frozen = Some(steps);
        if STEP * steps > LEASE {
            self.harm.long_freezes += 1;
        } else {
            self.harm.short_freezes += 1;
        }
        Ok(())
    }

    fn wake_due(&mut self) -> io::Result<()> {
        for worker in &mut self.workers {
            worker.frozen = match worker.frozen {
                Some(0) => {
                    signal(&worker.child, Signal::SIGCONT)?;
                    None
                }
                Some(steps) => Some(steps - 1),
                None => None,
            };
        }
        Ok(())
    }

    /// No worker ends unless it is killed.
    ///
    /// # Errors
    /// `BrokenPipe` if one did; the operating system's.
    pub fn check_alive(&mut self) -> io::Result<()> {
        for worker in &mut self.workers {
            if let Some(status) = worker.child.try_wait()? {
                let message = format!("worker {} ended by itself: {status}", worker.id);
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, message));
            }
        }
        Ok(())
    }

    fn new_id(&mut self) -> String {
        self.started += 1;
        format!("worker-{}", self.started)
    }

    fn spawn(&self, id: String) -> io::Result<Worker> {
        let child = Command::new(&self.program)
            .args([self.store.as_ref(), self.journal.as_os_str(), id.as_ref()])
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Worker {
            id,
            child,
            frozen: None,
        })
    }
}

impl Drop for Fleet {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // It may have ended already, which is as good.
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}

fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    kill(pid, signal).map_err(io::Error::from)
}

/// The processes of shell attempts that are alive, by the task that they are told to carry out.
///
/// # Errors
/// The operating system's.
pub fn shell_children() -> io::Result<Vec<TaskId>> {
    let mut alive = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        // Processes that end meanwhile, or belong to others, can't be read.
        let Ok(environment) = std::fs::read(entry?.path().join("environ")) else {
            continue;
        };
        let task_id = environment
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(b"JOBCORE_TASK_ID="))
            .and_then(|id| TaskId::new(String::from_utf8_lossy(id)).ok());
        alive.extend(task_id);
    }
    Ok(alive)
}
