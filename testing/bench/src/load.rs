//! Load: so many clients at once, each with one request after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use runtime::{Instant, instant_now};
use s3_client::{Error, PutObject, S3Client};

use crate::content::Content;
use crate::usage;

/// Bytes of a small object.
pub const SMALL_BYTES: u64 = 4 << 10;
/// Bytes of a large object.
pub const LARGE_BYTES: u64 = 64 << 20;
/// Objects to read and to list: one page.
const OBJECTS: u64 = 1_000;
/// Large objects are written over and over.
const LARGE_OBJECTS: u64 = 32;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object of 4 KiB.
    PutSmall,
    /// One of 4 KiB.
    GetSmall,
    /// What is known of one.
    Head,
    /// A page of 1,000.
    List,
    /// 64 MiB.
    PutLarge,
    /// 64 MiB.
    GetLarge,
}

impl Operation {
    /// All, in the order of the report.
    pub const ALL: [Self; 6] =
        [Self::PutSmall, Self::GetSmall, Self::Head, Self::List, Self::PutLarge, Self::GetLarge];

    /// Its name in reports and options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PutSmall => "put-4k",
            Self::GetSmall => "get-4k",
            Self::Head => "head",
            Self::List => "list-1000",
            Self::PutLarge => "put-64m",
            Self::GetLarge => "get-64m",
        }
    }

    /// Whether bytes count, rather than requests.
    #[must_use]
    pub fn is_large(self) -> bool {
        matches!(self, Self::PutLarge | Self::GetLarge)
    }
}

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in reports.
    pub name: &'static str,
    /// How to speak to it.
    pub client: S3Client,
    /// Whose CPU time and memory to count; `None` where it is this very process.
    pub process: Option<u32>,
    puts: Arc<AtomicU64>,
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// After this time.
    pub time: Duration,
    /// After so many requests in any case.
    pub requests_max: u64,
}

/// What a while of load came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Requests that were answered.
    pub requests: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// CPU time of the process, in seconds.
    pub cpu_seconds: f64,
    /// Half of the requests were quicker, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 were quicker.
    pub p99_us: f64,
    /// The most memory that the process held.
    pub peak_bytes: u64,
}

impl Target {
    /// One to measure.
    #[must_use]
    pub fn new(name: &'static str, client: S3Client, process: Option<u32>) -> Self {
        Self { name, client, process, puts: Arc::default() }
    }

    /// Puts there what will be read.
    ///
    /// # Errors
    /// Where a request fails.
    pub async fn prepare(&self, large: bool) -> Result<(), Error> {
        let puts = (0..OBJECTS).map(|index| self.put(small_key(index), small(index)));
        stream::iter(puts).buffer_unordered(16).try_collect::<()>().await?;
        if large {
            self.put(String::from("large"), Content { seed: 0, length: LARGE_BYTES }).await?;
        }
        Ok(())
    }

    /// Runs an operation over and over, so many at once.
    ///
    /// # Errors
    /// The first request that fails.
    pub async fn run(&self, operation: Operation, at_once: usize, bounds: Bounds) -> Result<Sample, Error> {
        let ticket = AtomicU64::new(0);
        let (cpu_before, begin) = (self.cpu_time(), instant_now());
        self.process.into_iter().for_each(usage::forget_peak);
        let workers =
            (0..at_once).map(|_| self.work(operation, &ticket, begin + bounds.time, bounds.requests_max));
        let latencies: Vec<Vec<u64>> = futures::future::try_join_all(workers).await?;
        let seconds = begin.elapsed().as_secs_f64();
        let cpu_seconds = self.cpu_time().saturating_sub(cpu_before).as_secs_f64();
        let mut latencies = latencies.concat();
        latencies.sort_unstable();
        let peak_bytes = self.process.map_or(0, usage::peak_bytes);
        let (p50_us, p99_us) = (percentile(&latencies, 50), percentile(&latencies, 99));
        Ok(Sample { requests: latencies.len() as u64, seconds, cpu_seconds, p50_us, p99_us, peak_bytes })
    }

    fn cpu_time(&self) -> Duration {
        self.process.map_or(Duration::ZERO, usage::cpu_time)
    }

    /// One client. Each makes at least one request.
    async fn work(
        &self,
        operation: Operation,
        ticket: &AtomicU64,
        deadline: Instant,
        requests_max: u64,
    ) -> Result<Vec<u64>, Error> {
        let mut latencies = Vec::new();
        while latencies.is_empty() || instant_now() < deadline {
            let number = ticket.fetch_add(1, Ordering::Relaxed);
            if number >= requests_max {
                break;
            }
            let begin = instant_now();
            self.once(operation, number).await?;
            latencies.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(latencies)
    }

    async fn once(&self, operation: Operation, number: u64) -> Result<(), Error> {
        match operation {
            Operation::PutSmall => {
                let number = self.puts.fetch_add(1, Ordering::Relaxed);
                self.put(format!("new/{number:09}"), small(number)).await
            }
            Operation::GetSmall => self.get(&small_key(number % OBJECTS)).await,
            Operation::Head => self.client.head_object(&small_key(number % OBJECTS)).await.map(drop),
            Operation::List => self.client.list_objects("small/", None).await.map(drop),
            Operation::PutLarge => {
                let seed = usize::try_from(number).unwrap_or(0);
                self.put(format!("over/{}", number % LARGE_OBJECTS), Content { seed, length: LARGE_BYTES })
                    .await
            }
            Operation::GetLarge => self.get("large").await,
        }
    }

    async fn put(&self, key: String, content: Content) -> Result<(), Error> {
        let put = PutObject { key: &key, body: content.put_body(), metadata: &[] };
        self.client.put_object(put).await.map(drop)
    }

    /// A download with fewer bytes than announced is an error of the client's.
    async fn get(&self, key: &str) -> Result<(), Error> {
        let object = self.client.get_object(key, None).await?;
        object.body.try_for_each(|_| std::future::ready(Ok(()))).await
    }
}

fn small_key(index: u64) -> String {
    format!("small/{index:04}")
}

fn small(number: u64) -> Content {
    Content { seed: usize::try_from(number % 61).unwrap_or(0), length: SMALL_BYTES }
}

/// Of sorted nanoseconds, in microseconds.
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |&nanoseconds| Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6)
}
