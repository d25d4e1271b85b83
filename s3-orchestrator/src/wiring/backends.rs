//! Backends from their configuration: opened, decorated, attached.
//!
//! One that was attached before and does not answer now is no reason not to serve: it joins when it does.
//! One that was never attached is, for nothing is written to what may be somebody else's.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ::config::{Backend as BackendConfig, BackendCircuitBreaker, Config, S3Store, Store};
use backend::{
    Allowance, AttachError, Backend, BackendError, CircuitBreaker, Claim, ClientOptions, Credentials,
    DirectoryBackend, DirectoryOptions, ErrorKind, Meter, Needs, Operation, PoolOptions, Retry, RetryOptions,
    S3Backend, S3Options, Timeout, TimeoutOptions, Timeouts, attach, read_markers,
};
use catalog::{BackendId, Identity};
use engine::Place;
use format::{Marker, PathGrammar};
use runtime::{Breaker, BreakerOptions, Chance, Task};
use types::{BackendName, Traffic};

use super::standby::Standby;
use super::{Frozen, StartError};
use crate::metrics::{BackendMetrics, BreakerMetrics};

/// Pause between two tries to attach a backend that did not answer.
const TRY_EVERY: Duration = Duration::from_secs(15);
/// How soon a backend that is not left alone is believed to be back.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);
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
    /// Where breakers are followed.
    pub breakers: Arc<BreakerMetrics>,
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

impl Opened {
    /// Behind one breaker: whichever finds a backend gone, it is gone for both. Outermost, and around what waits
    /// for its backend too.
    fn guarded_by(self, breaker: &Arc<Breaker>) -> Self {
        let guarded = |backend| Arc::new(CircuitBreaker::new(backend, Arc::clone(breaker)));
        Self { client: guarded(self.client), maintenance: guarded(self.maintenance) }
    }
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
            let breaker = self.breaker(&backend.name, &config.backend_circuit_breaker);
            runtime::spawn(async move { opener.open(wanted, breaker).await })
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

    /// A catalog that knows no backend is new, or it replaces one that was lost: then the backends carry the
    /// marker of another deployment. That is found out before anything is marked as ours.
    pub(super) async fn refuse_lost_catalog(
        &self,
        config: &Config,
        allowances: &[Arc<Allowance>],
    ) -> Result<(), StartError> {
        if !self.known.is_empty() {
            return Ok(());
        }
        for (backend, allowance) in config.backends.iter().zip(allowances) {
            // Whatever else is wrong with it shows when it is attached.
            let opened = driver(backend, self.patience, true, Some(allowance)).await;
            let Ok((driver, Ok(()))) = opened else { continue };
            let meter = Meter::new(driver, self.metrics.of(&backend.name));
            let meter = Arc::new(meter.covered_by(Arc::clone(allowance), Traffic::Maintenance));
            let bounded = Timeout::new(meter, timeouts(backend, self.patience));
            let Ok(markers) = read_markers(&bounded, &PathGrammar::new(&backend.prefix)).await else {
                continue;
            };
            if let Some(marker) =
                markers.into_iter().find(|found| found.deployment != self.identity.deployment)
            {
                return Err(Frozen(lost(config, backend, &marker)).into());
            }
        }
        Ok(())
    }

    async fn open(
        self: Arc<Self>,
        wanted: Wanted,
        breaker: Arc<Breaker>,
    ) -> Result<(Opened, Option<Task<()>>), StartError> {
        let config = &wanted.config;
        let known = self.known.contains(&config.name);
        match self.try_open(&wanted).await {
            Ok(opened) => Ok((opened.guarded_by(&breaker), None)),
            Err(error @ (AttachError::Backend(_) | AttachError::Missing { .. })) if known => {
                tracing::error!(backend.name = %config.name, "serving without it until it can be attached: {error}");
                let standby = || Arc::new(Standby::new(config.name.clone(), config.late_arrival_bound));
                let (client, maintenance) = (standby(), standby());
                let waiting = [Arc::clone(&client), Arc::clone(&maintenance)];
                breaker.trip(None);
                let opened = Opened { client, maintenance }.guarded_by(&breaker);
                let task = runtime::spawn(self.keep_trying(wanted, waiting, breaker));
                Ok((opened, Some(task)))
            }
            Err(error @ AttachError::OlderCatalog { .. }) => Err(Frozen(error.to_string()).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// A backend that is not left alone when it fails has a breaker all the same: for how long it has been gone
    /// is asked elsewhere too.
    fn breaker(&self, name: &BackendName, settings: &BackendCircuitBreaker) -> Arc<Breaker> {
        let open_for = if settings.enabled { settings.open_timeout } else { LOOK_AGAIN_AFTER };
        let options = BreakerOptions {
            failures_max: settings.failure_threshold,
            open_for,
            refuses: settings.enabled,
            ..BreakerOptions::default()
        };
        let watch = Arc::clone(&self.breakers) as Arc<dyn runtime::BreakerWatch>;
        let breaker = Breaker::new(name.as_str(), options, self.chance.clone(), watch);
        self.breakers.follow(&breaker);
        breaker
    }

    async fn keep_trying(
        self: Arc<Self>,
        wanted: Wanted,
        [client, maintenance]: [Arc<Standby>; 2],
        breaker: Arc<Breaker>,
    ) {
        let config = &wanted.config;
        loop {
            runtime::sleep(TRY_EVERY).await;
            match self.try_open(&wanted).await {
                Ok(opened) => {
                    tracing::info!(backend.name = %config.name, "it is attached now");
                    client.set(opened.client);
                    maintenance.set(opened.maintenance);
                    return breaker.expect_back();
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
        // A directory that is known and missing is a disk that is not mounted.
        let (driver, probed) = driver(config, self.patience, !known, Some(allowance)).await?;
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

    /// The meter is innermost, so that each attempt is one count, and the retry outermost.
    fn decorate(&self, driver: Arc<dyn Backend>, wanted: &Wanted, traffic: Traffic) -> Arc<dyn Backend> {
        let meter = Meter::new(driver, self.metrics.of(&wanted.config.name));
        let metered = Arc::new(meter.covered_by(Arc::clone(&wanted.allowance), traffic));
        let bounded = Arc::new(Timeout::new(metered, timeouts(&wanted.config, self.patience)));
        Arc::new(Retry::new(bounded, RetryOptions::default(), self.chance.clone()))
    }
}

/// Looks whether a bucket is there and what it can do.
async fn probe(driver: &S3Backend, allowance: Option<&Arc<Allowance>>) -> Result<(), BackendError> {
    if let Some(allowance) = allowance {
        let needs = Needs::requests(S3Backend::PROBE_REQUESTS);
        allowance.cover(Traffic::Maintenance, Operation::Head, needs).await?.spend(needs);
    }
    driver.probe().await
}

fn is_limit(error: &BackendError) -> bool {
    matches!(error.kind, ErrorKind::LimitReached { .. })
}

/// A driver, and whether it answered. `create` makes a directory that is not there.
async fn driver(
    config: &BackendConfig,
    patience: Duration,
    create: bool,
    allowance: Option<&Arc<Allowance>>,
) -> Result<(Arc<dyn Backend>, Result<(), BackendError>), BackendError> {
    Ok(match &config.store {
        Store::Directory(store) => {
            let options = DirectoryOptions {
                create,
                late_arrival_bound: config.late_arrival_bound,
                billable_bytes_min: config.min_billable_bytes.bytes(),
                ..DirectoryOptions::new(&store.path)
            };
            (Arc::new(DirectoryBackend::open(config.name.clone(), options).await?), Ok(()))
        }
        Store::S3(store) => {
            let driver = S3Backend::new(config.name.clone(), s3_options(config, store, patience))?;
            let probed = probe(&driver, allowance).await;
            (Arc::new(driver), probed)
        }
    })
}

fn s3_options(config: &BackendConfig, store: &S3Store, patience: Duration) -> S3Options {
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
            stall: patience,
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

fn lost(config: &Config, backend: &BackendConfig, marker: &Marker) -> String {
    format!(
        "the catalog {} is new, and backend {} belongs to deployment {}, where its name is {}: if that is this \
         deployment and its catalog was lost, put the catalog back, or run `s3-orchestrator rebuild` to make one \
         from what lies on the backends; if it is another deployment, use another bucket, directory or prefix; \
         if that deployment is gone for good, remove {}{}",
        config.database.path.display(),
        backend.name,
        marker.deployment,
        marker.backend,
        PathGrammar::new(&backend.prefix).reserved(),
        marker.path()
    )
}

fn timeouts(config: &BackendConfig, patience: Duration) -> TimeoutOptions {
    let rate_bytes_min = config.min_bytes_per_sec.bytes();
    TimeoutOptions { answer: patience, stall: patience.min(STALL_MAX), rate_bytes_min }
}

/// A backend for a rebuild: not attached, so nothing is made or marked; one that does not answer says so
/// when it is asked.
pub(super) async fn open_unattached(
    config: &BackendConfig,
    all: &Config,
    chance: &Chance,
) -> Result<Arc<dyn Backend>, StartError> {
    let patience = all.server.backend_timeout;
    // Whoever wrote here is gone: nothing is waited for.
    let config = &BackendConfig { late_arrival_bound: Duration::ZERO, ..config.clone() };
    let opened = driver(config, patience, false, None).await;
    match opened.and_then(|(driver, probed)| probed.map(|()| driver)) {
        Ok(driver) => {
            let bounded = Arc::new(Timeout::new(driver, timeouts(config, patience)));
            Ok(Arc::new(Retry::new(bounded, RetryOptions::default(), chance.clone())))
        }
        Err(error) => {
            eprintln!("backend {}: {error}", config.name);
            Ok(Arc::new(Standby::new(config.name.clone(), config.late_arrival_bound)))
        }
    }
}

/// The backends as a rebuild uses them: there is no catalog yet that could grant anything.
pub(super) fn uncounted_places(
    config: &Config,
    backends: Vec<Arc<dyn Backend>>,
    ids: Vec<BackendId>,
) -> Vec<Place> {
    let unlimited = |backend: &Arc<dyn Backend>| Arc::new(Allowance::unlimited(backend.name().clone()));
    let allowances: Vec<_> = backends.iter().map(unlimited).collect();
    let opened = |backend: Arc<dyn Backend>| Opened { client: Arc::clone(&backend), maintenance: backend };
    places(config, backends.into_iter().map(opened).collect(), ids, &allowances)
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
