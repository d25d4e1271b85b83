//! One stream to several destinations at once. One that fails, or takes no byte for too long, is let go; the others
//! never notice. Each has a task and a queue of its own, and the stream goes as fast as the slowest that is in time.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use runtime::Task;
use tokio::sync::mpsc;

use crate::destination::Destination;
use crate::place::Upload;

/// Chunks that a destination may be behind.
const DEPTH: usize = 8;
/// So many times as long as for one byte is waited for the last of them, and for the name.
const STALLS_TO_FINISH: u32 = 10;

enum Order {
    Write(Bytes),
    Finish,
}

/// A destination while something is stored there.
struct Lane {
    name: String,
    orders: Option<mpsc::Sender<Order>>,
    task: Option<Task<io::Result<()>>>,
    failure: Option<io::Error>,
}

/// The stream while it goes to all destinations that still take it.
pub struct FanOut {
    lanes: Vec<Lane>,
    stall: Duration,
}

impl FanOut {
    /// Begins a file of this name at each of the destinations.
    pub fn begin(destinations: &[Destination], file: &str, stall: Duration) -> Self {
        let lanes = destinations.iter().map(|destination| {
            let (orders, inbox) = mpsc::channel(DEPTH);
            let (place, file) = (destination.place.clone(), file.to_owned());
            let task = runtime::spawn(async move { store(place.begin(&file).await?, inbox).await });
            Lane { name: destination.name.clone(), orders: Some(orders), task: Some(task), failure: None }
        });
        Self { lanes: lanes.collect(), stall }
    }

    /// Gives a chunk to all who still take one.
    ///
    /// # Errors
    /// Where nobody does.
    pub async fn write(&mut self, chunk: &Bytes) -> io::Result<()> {
        for lane in &mut self.lanes {
            lane.order(Order::Write(chunk.clone()), self.stall).await;
        }
        if self.lanes.iter().any(|lane| lane.orders.is_some()) {
            return Ok(());
        }
        let failures = self.lanes.iter().filter_map(|lane| Some((&lane.name, lane.failure.as_ref()?)));
        let failures: Vec<String> = failures.map(|(name, failure)| format!("{name}: {failure}")).collect();
        Err(io::Error::other(format!("no destination takes it: {}", failures.join("; "))))
    }

    /// Names the file everywhere. Gives each destination's outcome, in their order.
    pub async fn finish(mut self) -> Vec<io::Result<()>> {
        for lane in &mut self.lanes {
            lane.order(Order::Finish, self.stall).await;
            // Each goes on by itself from here.
            lane.orders = None;
        }
        let mut outcomes = Vec::new();
        let bound = self.stall * STALLS_TO_FINISH;
        for mut lane in self.lanes {
            // One that was let go is waited for no more; what it has left is swept.
            outcomes.push(match lane.failure.take() {
                Some(failure) => Err(failure),
                None => runtime::timeout(bound, lane.outcome()).await.unwrap_or_else(|_| Err(late(bound))),
            });
        }
        outcomes
    }

    /// Leaves nothing anywhere.
    pub async fn abort(mut self) {
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
            Ok(Err(_)) => self.outcome().await.err().unwrap_or_else(|| io::Error::other("it ended early")),
            Err(runtime::Elapsed) => late(stall),
        };
        tracing::warn!(destination = self.name, "the others go on without it: {failure}");
        self.orders = None;
        self.failure = Some(failure);
    }

    async fn outcome(&mut self) -> io::Result<()> {
        let Some(task) = self.task.take() else { return Ok(()) };
        task.await.unwrap_or_else(|error| Err(io::Error::other(format!("it broke down: {error}"))))
    }
}

fn late(stall: Duration) -> io::Error {
    io::Error::other(format!("it took no byte for {stall:?}"))
}

/// Stores what is ordered. Orders that end without a finish are an abort.
async fn store(mut upload: Box<dyn Upload>, mut orders: mpsc::Receiver<Order>) -> io::Result<()> {
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
                return Err(io::Error::other("the snapshot was given up"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use config::snapshot::Retention;
    use snapshot::Chunks;
    use types::Timestamp;

    use super::*;
    use crate::place::{File, Place};

    /// A place in memory. (The clock of these tests is paused, and a disk does not wait for it.)
    #[derive(Clone)]
    enum Kept {
        /// It takes nothing.
        StandsStill,
        /// It takes everything, and then stands still.
        NeverNames,
        /// It keeps what it gets.
        Here(Arc<Mutex<Vec<u8>>>),
    }

    #[async_trait]
    impl Place for Kept {
        async fn list(&self, _: &str) -> io::Result<Vec<File>> {
            Ok(Vec::new())
        }
        async fn begin(&self, _: &str) -> io::Result<Box<dyn Upload>> {
            Ok(Box::new(self.clone()))
        }
        async fn read(&self, _: &str) -> io::Result<Chunks> {
            std::future::pending().await
        }
        async fn read_small(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
            std::future::pending().await
        }
        async fn write_small(&self, _: &str, _: Vec<u8>) -> io::Result<()> {
            std::future::pending().await
        }
        async fn remove(&self, _: &str) -> io::Result<()> {
            std::future::pending().await
        }
        async fn sweep(&self, _: &str, _: Timestamp) -> io::Result<()> {
            std::future::pending().await
        }
    }

    #[async_trait]
    impl Upload for Kept {
        async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
            match self {
                Self::StandsStill => std::future::pending().await,
                Self::NeverNames => Ok(()),
                Self::Here(bytes) => {
                    bytes.lock().unwrap().extend_from_slice(&chunk);
                    Ok(())
                }
            }
        }
        async fn finish(self: Box<Self>) -> io::Result<()> {
            if matches!(*self, Self::Here(_)) { Ok(()) } else { std::future::pending().await }
        }
        async fn abort(self: Box<Self>) {
            std::future::pending().await
        }
    }

    fn destination(name: &str, place: Arc<dyn Place>) -> Destination {
        let retention =
            Retention { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, within: None };
        Destination { name: name.to_owned(), retention, place }
    }

    /// A minute is a minute of the paused clock.
    #[tokio::test(start_paused = true)]
    async fn one_that_stands_still_is_let_go_and_the_others_go_on() {
        for (still, bound) in [(Kept::StandsStill, 60), (Kept::NeverNames, 600)] {
            let here = Arc::new(Mutex::new(Vec::new()));
            let all = [
                destination("still", Arc::new(still)),
                destination("here", Arc::new(Kept::Here(Arc::clone(&here)))),
            ];
            let mut fan_out = FanOut::begin(&all, "file", Duration::from_secs(60));
            let start = runtime::instant_now();
            for _ in 0..3 * DEPTH {
                fan_out.write(&Bytes::from_static(b"chunk")).await.unwrap();
            }
            let outcomes = fan_out.finish().await;
            assert!(outcomes[1].is_ok() && here.lock().unwrap().len() == 15 * DEPTH);
            let failure = outcomes[0].as_ref().unwrap_err().to_string();
            assert!(failure.contains("took no byte"), "{failure}");
            assert!(start.elapsed() < Duration::from_secs(bound + 1), "{:?}", start.elapsed());
        }
    }

    /// Where nobody is left, there is no use in going on; and the end of it waits for nobody for ever.
    #[tokio::test(start_paused = true)]
    async fn the_last_one_that_stands_still_ends_it() {
        let alone = [destination("still", Arc::new(Kept::StandsStill))];
        let mut fan_out = FanOut::begin(&alone, "file", Duration::from_secs(60));
        let mut outcome = Ok(());
        for _ in 0..3 * DEPTH {
            outcome = fan_out.write(&Bytes::from_static(b"chunk")).await;
        }
        assert!(outcome.unwrap_err().to_string().contains("still: it took no byte"));
        fan_out.abort().await;
    }
}
