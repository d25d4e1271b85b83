//! Heart: where several instances share a catalog, shows that this one lives, and buries those that do not.
//! One that was declared dead itself does nothing any more: its process ends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Engine, Heartbeat, Watched};
use runtime::{Instant, Step, Worker, WorkerError};

/// How instances tell each other that they live.
#[derive(Clone)]
pub struct HeartOptions {
    /// Pause between two heartbeats.
    pub interval: Duration,
    /// Who is silent for so long is dead. Several intervals.
    pub lease: Duration,
    /// When this instance asked to join the others: before the answer.
    pub joined_at: Instant,
    /// Is told when this instance was declared dead, so long after its last heartbeat: the process has to end.
    pub on_death: Arc<dyn Fn(Duration) + Send + Sync>,
}

/// See the module.
#[derive(Clone)]
pub struct Heart {
    engine: Engine,
    options: HeartOptions,
    watched: Watched,
}

impl Heart {
    /// The one of this engine, which has joined the others.
    #[must_use]
    pub fn new(engine: Engine, options: HeartOptions) -> Self {
        engine.live_by_heartbeats(options.lease, options.joined_at);
        Self { engine, options, watched: Watched::default() }
    }

    async fn beat(&mut self) -> Result<u64, WorkerError> {
        match self.engine.beat().await? {
            Heartbeat::Alive => Ok(self.engine.bury_silent(&mut self.watched, self.options.lease).await?),
            Heartbeat::Dead { silent_for } => {
                (self.options.on_death)(silent_for);
                Ok(0)
            }
        }
    }
}

#[async_trait]
impl Worker for Heart {
    fn name(&self) -> String {
        "heart".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let buried = self.beat().await;
        if buried.is_err() {
            self.watched.begin_anew();
        }
        Ok(Step::finished(buried?))
    }
}
