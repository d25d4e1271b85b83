//! The supervisor: runs workers, and owns their time.
//!
//! A worker's step is made when its interval has passed, when something is due, or when a trigger says
//! "now". One that fails is tried again after a pause that doubles; one that panics is made anew. From
//! [`Phase::Draining`](crate::Phase::Draining) on no step begins; one under way is cut off when the
//! supervisor is dropped.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::supervised::{Command, Make, Supervised};
use crate::worker::{Report, Status, Worker};
use crate::{Chance, Clock, Shutdown, Task, Trigger};

/// Commands that may wait for one worker. Who comes later waits for a place.
const COMMANDS_MAX: usize = 8;

/// When a worker's steps are made.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Pause between two looks where nothing says that there is something to do. A twentieth of it, by
    /// chance, is added or taken, so that many processes do not look at once.
    pub interval: Duration,
    /// The first step comes within this time after the start, by chance; zero is at once.
    pub first_within: Duration,
    /// How long a trigger waits for others, so that one step does the work of many.
    pub gather: Duration,
}

impl Schedule {
    /// A first step at once, then one per interval or trigger.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self { interval, first_within: Duration::ZERO, gather: Duration::ZERO }
    }

    /// The same, with triggers that wait for others.
    #[must_use]
    pub fn gathering(self, gather: Duration) -> Self {
        Self { gather, ..self }
    }

    /// The same, with a first step some time within this.
    #[must_use]
    pub fn first_within(self, first_within: Duration) -> Self {
        Self { first_within, ..self }
    }
}

/// Runs workers until it is dropped.
#[derive(Debug)]
pub struct Supervisor {
    clock: Clock,
    chance: Chance,
    shutdown: Shutdown,
    workers: Workers,
    tasks: Vec<Task<()>>,
}

impl Supervisor {
    /// One without workers.
    #[must_use]
    pub fn new(clock: Clock, chance: Chance, shutdown: Shutdown) -> Self {
        Self { clock, chance, shutdown, workers: Workers::default(), tasks: Vec::new() }
    }

    /// Starts a worker. `make` is called once now, and again after each panic. What it gives has to have
    /// the same name each time, and no other worker may have it.
    ///
    /// The answer wakes it: let a [`Bell`](crate::Bell) know.
    pub fn add<W: Worker>(&mut self, schedule: Schedule, make: impl Fn() -> W + Send + 'static) -> Trigger {
        let make: Make = Box::new(move || Box::new(make()));
        let worker = make();
        let trigger = Trigger::default();
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let status = Arc::new(Mutex::new(Status::new(worker.name())));
        let handle = Handle { status: Arc::clone(&status), trigger: trigger.clone(), commands };
        self.workers.insert(handle);
        let supervised = Supervised {
            make,
            worker,
            schedule,
            status,
            trigger: trigger.clone(),
            commands: received,
            clock: self.clock.clone(),
            chance: self.chance.clone(),
            shutdown: self.shutdown.clone(),
        };
        self.tasks.push(crate::spawn(supervised.run()));
        trigger
    }

    /// What operators do with the workers.
    #[must_use]
    pub fn workers(&self) -> Workers {
        self.workers.clone()
    }
}

/// The workers, as operators see them. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Workers {
    handles: Arc<RwLock<Vec<Handle>>>,
}

#[derive(Debug, Clone)]
struct Handle {
    status: Arc<Mutex<Status>>,
    trigger: Trigger,
    commands: mpsc::Sender<Command>,
}

/// Why a run on demand gave no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunError {
    /// No worker has that name.
    NoSuchWorker,
    /// The process ends.
    Stopped,
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoSuchWorker => "there is no such worker",
            Self::Stopped => "the worker has stopped, for the process ends",
        })
    }
}

impl std::error::Error for RunError {}

impl Workers {
    fn insert(&self, handle: Handle) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).push(handle);
    }

    /// How each worker is doing, in the order in which they were added.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).iter().map(Handle::status).collect()
    }

    /// Wakes a worker; says whether there is one of that name. One that backs off goes on backing off.
    #[must_use]
    pub fn trigger(&self, name: &str) -> bool {
        self.find(name).map(|handle| handle.trigger.now()).is_some()
    }

    /// Makes steps now, until there is nothing left to do, one fails, or there were `steps_max`; also of a
    /// worker that backs off. A step that is under way ends first. Whoever stops waiting for the answer
    /// stops the run after the present step.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn run(&self, name: &str, steps_max: u32) -> Result<Report, RunError> {
        let handle = self.find(name).ok_or(RunError::NoSuchWorker)?;
        let (reply, answer) = oneshot::channel();
        let command = Command { steps_max, reply };
        handle.commands.send(command).await.map_err(|_| RunError::Stopped)?;
        answer.await.map_err(|_| RunError::Stopped)
    }

    fn find(&self, name: &str) -> Option<Handle> {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        handles.iter().find(|handle| handle.status().name == name).cloned()
    }
}

impl Handle {
    fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
