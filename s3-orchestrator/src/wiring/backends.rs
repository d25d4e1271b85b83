//! Backends from their configuration: opened, decorated, attached.
//!
//! One that was attached before and does not answer now is no reason not to serve: it joins when it does.
//! One that was never attached is, for nothing is written to what may be somebody else's.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ::config::{Backend as BackendConfig, Config, S3Store, Store};
use backend::{
    Allowance, AttachError, Backend, BackendError, Claim, ClientOptions, Credentials, DirectoryBackend,
    DirectoryOptions, ErrorKind, Meter, Needs, Operation, PoolOptions, Retry, RetryOptions, S3Backend,
    S3Options, Timeout, TimeoutOptions, Timeouts, attach,
};
use catalog::{BackendId, Identity};
use engine::Place;
use format::PathGrammar;
use runtime::{Chance, Task};
use types::{BackendName, Traffic};

use super::StartError;
use super::standby::Standby;
use crate::metrics::BackendMetrics;

/// Pause between two tries to attach a backend that did not answer.
const TRY_EVERY: Duration = Duration::from_secs(15);
/// A body is waited for this long at most, whatever the configuration allows for an answer.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What opening a backend takes.
pub(super) struct Opener {
    /// Whose backends they are.
    pub identity: Identity,
    /// Backends that were attached before.
    pub known: HashSet<BackendName>,
    /// For waits between retries.
    pub chance: Chance,
    /// Where attempts are counted.
    pub metrics: Arc<BackendMetrics>,
    /// `server.backend_timeout`.
    pub patience: Duration,
}

/// A backend that is to be opened, and what may be done with it.
struct Wanted {
    config: BackendConfig,
    allowance: Arc<Allowance>,
}

/// A backend with its decorators, twice: requests of clients and our own draw on shares of their own.
pub(super) struct Opened {
    client: Arc<dyn Backend>,
    maintenance: Arc<dyn Backend>,
}

impl Opener {
    /// Opens all backends at once, in the order of the configuration. The tasks wait for those that did not
    /// answer.
    pub(super) async fn open_all(
        self: Arc<Self>,
        config: &Config,
        allowances: &[Arc<Allowance>],
    ) -> Result<(Vec<Opened>, Vec<Task<()>>), StartError> {
        let open = |(backend, allowance): (&BackendConfig, &Arc<Allowance>)| {
            let opener = Arc::clone(&self);
            let wanted = Wanted { config: backend.clone(), allowance: Arc::clone(allowance) };
            runtime::spawn(async move { opener.open(wanted).await })
        };
        let opening: Vec<_> = config.backends.iter().zip(allowances).map(open).collect();
        let (mut backends, mut waiting) = (Vec::new(), Vec::new());
        for opened in opening {
            let (backend, task) = opened.await??;
            backends.push(backend);
            waiting.extend(task);
        }
        Ok((backends, waiting))
    }

    async fn open(self: Arc<Self>, wanted: Wanted) -> Result<(Opened, Option<Task<()>>), StartError> {
        let config = &wanted.config;
        let known = self.known.contains(&config.name);
        match self.try_open(&wanted).await {
            Ok(backend) => Ok((backend, None)),
            Err(error @ (AttachError::Backend(_) | AttachError::Missing { .. })) if known => {
                tracing::error!(backend.name = %config.name, "serving without it until it can be attached: {error}");
                let standby = || Arc::new(Standby::new(config.name.clone(), config.late_arrival_bound));
                let (client, maintenance) = (standby(), standby());
                let waiting = [Arc::clone(&client), Arc::clone(&maintenance)];
                let task = runtime::spawn(self.keep_trying(wanted, waiting));
                Ok((Opened { client, maintenance }, Some(task)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn keep_trying(self: Arc<Self>, wanted: Wanted, [client, maintenance]: [Arc<Standby>; 2]) {
        let config = &wanted.config;
        loop {
            runtime::sleep(TRY_EVERY).await;
            match self.try_open(&wanted).await {
                Ok(opened) => {
                    tracing::info!(backend.name = %config.name, "it is attached now");
                    client.set(opened.client);
                    return maintenance.set(opened.maintenance);
                }
                Err(error) => {
                    tracing::warn!(backend.name = %config.name, "it cannot be attached yet: {error}")
                }
            }
        }
    }

    async fn try_open(&self, wanted: &Wanted) -> Result<Opened, AttachError> {
        let Wanted { config, allowance } = wanted;
        let known = self.known.contains(&config.name);
        let mut probed = Ok(());
        let driver: Arc<dyn Backend> = match &config.store {
            Store::Directory(store) => {
                // A directory that is known and missing is a disk that is not mounted.
                let options = DirectoryOptions {
                    create: !known,
                    late_arrival_bound: config.late_arrival_bound,
                    billable_bytes_min: config.min_billable_bytes.bytes(),
                    ..DirectoryOptions::new(&store.path)
                };
                Arc::new(DirectoryBackend::open(config.name.clone(), options).await?)
            }
            Store::S3(store) => {
                let driver = S3Backend::new(config.name.clone(), self.s3_options(config, store))?;
                probed = probe(&driver, allowance).await;
                Arc::new(driver)
            }
        };
        if !driver.profile().delete_frees {
            let message = "the bucket keeps versions, so deletes free no bytes: switch its versioning off, or \
                           use another bucket";
            return Err(BackendError::new(&config.name, "attach", ErrorKind::Unsupported, message).into());
        }
        let decorate = |traffic| self.decorate(Arc::clone(&driver), wanted, traffic);
        let opened =
            Opened { client: decorate(Traffic::Client), maintenance: decorate(Traffic::Maintenance) };
        let Identity { deployment, epoch } = self.identity;
        let claim = Claim { deployment, epoch, known, adopt: false };
        let attached = match probed {
            Ok(()) => {
                attach(&*opened.maintenance, &PathGrammar::new(&config.prefix), &claim).await.map(|_| ())
            }
            Err(error) => Err(error.into()),
        };
        match attached {
            Err(AttachError::Backend(error)) if known && is_limit(&error) => {
                // A process that restarts over and over must not shut its clients out.
                tracing::warn!(backend.name = %config.name, "taken as attached, as it was before, without a look: {error}");
                Ok(opened)
            }
            attached => attached.map(|()| opened),
        }
    }

    fn s3_options(&self, config: &BackendConfig, store: &S3Store) -> S3Options {
        let credentials = Credentials {
            access_key_id: store.access_key_id.as_ref().map_or_else(String::new, |id| id.as_str().to_owned()),
            secret_access_key: store
                .secret_access_key
                .as_ref()
                .map_or_else(String::new, |s| s.expose().to_owned()),
            session_token: None,
        };
        let http = &store.http;
        let client = ClientOptions {
            region: store.region.clone(),
            path_style: store.force_path_style,
            unsigned_payload: store.unsigned_payload.then_some(true),
            timeouts: Timeouts {
                response_header: http.response_header_timeout,
                stall: self.patience,
                ..Timeouts::default()
            },
            pool: PoolOptions {
                connections_max: http.max_conns_per_host as usize,
                idle_max: http.max_idle_conns.min(http.max_idle_conns_per_host) as usize,
                ..PoolOptions::default()
            },
            ..ClientOptions::new(store.endpoint.as_str(), &store.bucket, credentials)
        };
        S3Options {
            late_arrival_bound: config.late_arrival_bound,
            billable_bytes_min: config.min_billable_bytes.bytes(),
            ..S3Options::new(client)
        }
    }

    /// The meter is innermost, so that each attempt is one count, and the retry outermost.
    fn decorate(&self, driver: Arc<dyn Backend>, wanted: &Wanted, traffic: Traffic) -> Arc<dyn Backend> {
        let meter = Meter::new(driver, self.metrics.of(&wanted.config.name));
        let metered = Arc::new(meter.covered_by(Arc::clone(&wanted.allowance), traffic));
        let options = TimeoutOptions {
            answer: self.patience,
            stall: self.patience.min(STALL_MAX),
            ..TimeoutOptions::default()
        };
        let bounded = Arc::new(Timeout::new(metered, options));
        Arc::new(Retry::new(bounded, RetryOptions::default(), self.chance.clone()))
    }
}

/// Looks whether a bucket is there and what it can do.
async fn probe(driver: &S3Backend, allowance: &Arc<Allowance>) -> Result<(), BackendError> {
    let needs = Needs::requests(S3Backend::PROBE_REQUESTS);
    allowance.cover(Traffic::Maintenance, Operation::Head, needs).await?.spend(needs);
    driver.probe().await
}

fn is_limit(error: &BackendError) -> bool {
    matches!(error.kind, ErrorKind::LimitReached { .. })
}

/// The backends as the engine uses them.
pub(super) fn places(
    config: &Config,
    opened: Vec<Opened>,
    ids: Vec<BackendId>,
    allowances: &[Arc<Allowance>],
) -> Vec<Place> {
    let place =
        |(((config, opened), id), allowance): (((&BackendConfig, Opened), _), &Arc<Allowance>)| Place {
            id,
            backend: opened.client,
            maintenance: opened.maintenance,
            allowance: Arc::clone(allowance),
            grammar: PathGrammar::new(&config.prefix),
            quota: config.quota(),
            object_bytes_max: config.object_size_max(),
        };
    config.backends.iter().zip(opened).zip(ids).zip(allowances).map(place).collect()
}
