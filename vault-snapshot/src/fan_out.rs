//! One stream to several destinations at once. One that fails, or takes no byte for too long, is let go; the others
//! never notice. Each has a task and a queue of its own, and the stream goes as fast as the slowest that is in time.

use std::time::Duration;

use bytes::Bytes;
use runtime::Task;
use tokio::sync::mpsc;

use crate::place::{Destination, Upload};
use crate::trouble::Trouble;

/// Chunks that a destination may be behind.
const DEPTH: usize = 8;

enum Order {
    Write(Bytes),
    Finish,
}

/// A destination while something is stored there.
struct Lane {
    name: String,
    orders: Option<mpsc::Sender<Order>>,
    task: Option<Task<Result<(), Trouble>>>,
    failure: Option<Trouble>,
}

pub(crate) struct FanOut {
    lanes: Vec<Lane>,
    stall: Duration,
}

impl FanOut {
    /// Begins a file of this name at each of the destinations.
    pub(crate) fn begin(destinations: &[Destination], file: &str, stall: Duration) -> Self {
        let lanes = destinations.iter().map(|destination| {
            let (orders, inbox) = mpsc::channel(DEPTH);
            let (place, file) = (destination.place.clone(), file.to_owned());
            let task = runtime::spawn(async move { store(place.begin(&file).await?, inbox).await });
            Lane { name: destination.name.clone(), orders: Some(orders), task: Some(task), failure: None }
        });
        Self { lanes: lanes.collect(), stall }
    }

    /// Gives a chunk to all who still take one.
    pub(crate) async fn write(&mut self, chunk: &Bytes) -> Result<(), Trouble> {
        for lane in &mut self.lanes {
            lane.order(Order::Write(chunk.clone()), self.stall).await;
        }
        if self.lanes.iter().any(|lane| lane.orders.is_some()) {
            return Ok(());
        }
        let failures = self.lanes.iter().filter_map(|lane| Some((&lane.name, lane.failure.as_ref()?)));
        let failures: Vec<String> = failures.map(|(name, failure)| format!("{name}: {failure}")).collect();
        Err(Trouble::lasting(format!("no destination takes it: {}", failures.join("; "))))
    }

    /// Names the file everywhere. Gives each destination's outcome, in their order.
    pub(crate) async fn finish(mut self) -> Vec<Result<(), Trouble>> {
        for lane in &mut self.lanes {
            lane.order(Order::Finish, self.stall).await;
            // Each goes on by itself from here.
            lane.orders = None;
        }
        let mut outcomes = Vec::new();
        for mut lane in self.lanes {
            let outcome = lane.outcome().await;
            outcomes.push(lane.failure.map_or(outcome, Err));
        }
        outcomes
    }

    /// Leaves nothing anywhere.
    pub(crate) async fn abort(mut self) {
        for lane in &mut self.lanes {
            lane.orders = None;
        }
        for mut lane in self.lanes {
            // One that hangs is left to the sweep.
            let _ = runtime::timeout(self.stall, lane.outcome()).await;
        }
    }
}

impl Lane {
    async fn order(&mut self, order: Order, stall: Duration) {
        let Some(orders) = &self.orders else { return };
        let failure = match runtime::timeout(stall, orders.send(order)).await {
            Ok(Ok(())) => return,
            Ok(Err(_)) => self.outcome().await.err().unwrap_or_else(|| Trouble::lasting("it ended early")),
            Err(runtime::Elapsed) => Trouble::lasting(format!("it took no byte for {stall:?}")),
        };
        tracing::warn!(destination = self.name, "the others go on without it: {failure}");
        self.orders = None;
        self.failure = Some(failure);
    }

    async fn outcome(&mut self) -> Result<(), Trouble> {
        let Some(task) = self.task.take() else { return Ok(()) };
        task.await.unwrap_or_else(|error| Err(Trouble::lasting(format!("it broke down: {error}"))))
    }
}

/// Stores what is ordered. Orders that end without a finish are an abort.
async fn store(mut upload: Box<dyn Upload>, mut orders: mpsc::Receiver<Order>) -> Result<(), Trouble> {
    loop {
        match orders.recv().await {
            Some(Order::Write(chunk)) => {
                if let Err(trouble) = upload.write(chunk).await {
                    upload.abort().await;
                    return Err(trouble);
                }
            }
            Some(Order::Finish) => return upload.finish().await,
            None => {
                upload.abort().await;
                return Err(Trouble::lasting("the snapshot was given up"));
            }
        }
    }
}
