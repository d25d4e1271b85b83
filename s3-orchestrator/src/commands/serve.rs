//! `serve`: from a configuration to a listener, and to its end.
//!
//! The listener opens first, so that `/health` answers while the rest is put together; the process is ready
//! when that is done. The end goes through phases: not ready but serving, draining, stopped.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use config::{Config, Problem};
use runtime::{Phase, Shutdown, Task};
use tokio::net::TcpListener;

use crate::admin::AdminDoor;
use crate::cli::fail;
use crate::front::Front;
use crate::health::Health;
use crate::metrics::{Metrics, MetricsPage};
use crate::server::{self, Limits};
use crate::signals::{self, Ending};
use crate::tls::Tls;
use crate::wiring::{self, Background, Frozen, House, StartError};
use crate::{logging, memory};

/// An orchestrator kills after thirty seconds; by then everything has to be over.
const END_WITHIN: Duration = Duration::from_secs(28);
/// What the drain gets even where the pause before it took longer.
const DRAIN_LEAST: Duration = Duration::from_secs(5);
/// How long the catalog may take to finish what it is writing.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Serves until a signal.
pub(crate) fn run(path: &Path) -> ExitCode {
    let loaded = match Config::load(path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            let count = problems.0.len();
            return fail(&format!(
                "{} has {count} problem{}",
                path.display(),
                if count == 1 { "" } else { "s" }
            ));
        }
    };
    let missing = loaded.config.not_built();
    if !missing.is_empty() {
        for missing in &missing {
            eprintln!("{}: {missing}", path.display());
        }
        return fail(&format!("{} asks for what this release does not have", path.display()));
    }
    run_config(&loaded.config, &loaded.warnings, |_| {})
}

/// Serves a configuration that can be served. `ready` is told the address once requests are answered.
pub(crate) fn run_config(config: &Config, warnings: &[Problem], ready: impl FnOnce(&str)) -> ExitCode {
    let level = logging::start(&config.server);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start threads: {error}")),
    };
    let ended = runtime.block_on(serve(config, level, ready));
    // Whatever still blocks a thread must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn serve(
    config: &Config,
    level: Arc<logging::Level>,
    ready: impl FnOnce(&str),
) -> Result<(), StartError> {
    let mut ending = Ending::listen()?;
    let open = Open::listen(config).await?;
    let building = async {
        let House { gateway, engine, admin, background, catalog } =
            wiring::build(config, &open.metrics, &open.shutdown, level).await?;
        open.health.watch(catalog);
        open.health.ask_frozen(move || engine.frozen());
        open.front.open(gateway, admin);
        tracing::info!(addr = open.address, "ready");
        ready(&open.address);
        Ok::<_, StartError>(background)
    };
    let background = tokio::select! {
        built = building => match built {
            Ok(background) => background,
            Err(error) => {
                let frozen = error.downcast::<Frozen>()?;
                return stay_frozen(&open, &frozen.0, &mut ending).await;
            }
        },
        (name, _) = ending.received() => {
            tracing::info!("{name} during the start: nothing is under way, ending");
            return Ok(());
        }
    };
    let (name, _) = ending.received().await;
    let _at_once = ending.next_ends_at_once();
    open.end(config, background, name).await;
    Ok(())
}

/// Serves nothing but its health and metrics, which say why, until a signal ends it.
async fn stay_frozen(open: &Open, reason: &str, ending: &mut Ending) -> Result<(), StartError> {
    tracing::error!("frozen, nothing is served: {reason}");
    open.metrics.journal.freeze();
    let reason: Arc<str> = reason.into();
    open.health.ask_frozen(move || Some(Arc::clone(&reason)));
    let (name, _) = ending.received().await;
    tracing::info!("{name}: nothing is under way, ending");
    Ok(())
}

/// What is open from the first moment on.
struct Open {
    address: String,
    shutdown: Shutdown,
    health: Arc<Health>,
    front: Arc<Front>,
    metrics: Arc<Metrics>,
    listeners: Vec<Task<()>>,
    _reloads: Task<()>,
}

impl Open {
    async fn listen(config: &Config) -> Result<Self, StartError> {
        let tls = config.server.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        let shutdown = Shutdown::new();
        let metrics = Arc::new(Metrics::new());
        let settings = &config.telemetry.metrics;
        let page = settings.enabled.then(|| MetricsPage::new(&settings.path, Arc::clone(&metrics)));
        let apart = match (&page, &settings.listen) {
            (Some(page), Some(_)) => metrics_listener(config).await?.map(|listener| (page.clone(), listener)),
            _ => None,
        };
        let beside = page.filter(|_| settings.listen.is_none());
        let health = Arc::new(Health::new(shutdown.clone()));
        let (door, domains) = (AdminDoor::of(config), config.server.domain.0.clone());
        let front = Arc::new(Front::new(Arc::clone(&health), beside, door, domains));
        let listener = server::bind(&config.server.listen_addr).await?;
        let address = listener.local_addr()?.to_string();
        let limits = Limits::of(&config.server);
        let reloads = reloads(tls.clone())?;
        tracing::info!(
            addr = address,
            tls = tls.is_some(),
            version = crate::commands::version::VERSION,
            memory_budget_bytes = memory::budget_bytes(&config.server),
            "listening"
        );
        let main = server::serve(listener, tls, Arc::clone(&front), limits.clone(), shutdown.clone());
        let mut listeners = vec![runtime::spawn(main)];
        if let Some((page, listener)) = apart {
            let served = server::serve(listener, None, Arc::new(page), limits, shutdown.clone());
            listeners.push(runtime::spawn(served));
        }
        Ok(Self { address, shutdown, health, front, metrics, listeners, _reloads: reloads })
    }

    /// The phases of the end, each bounded.
    async fn end(self, config: &Config, mut background: Background, signal: &str) {
        let delay = config.server.shutdown_delay;
        tracing::info!("{signal}: not ready any more, serving for another {delay:?}");
        self.shutdown.advance(Phase::NotReady);
        runtime::sleep(delay).await;
        let drain_within = END_WITHIN.saturating_sub(delay + CLOSE_WITHIN).max(DRAIN_LEAST);
        tracing::info!("draining: requests under way have {drain_within:?} to end");
        self.shutdown.advance(Phase::Draining);
        let drained = async {
            for listener in self.listeners {
                // A listener that panicked has nothing left to wait for.
                let _ = listener.await;
            }
        };
        if runtime::timeout(drain_within, drained).await.is_err() {
            tracing::warn!("requests were still under way and are cut off");
        }
        self.shutdown.advance(Phase::Stopped);
        background.stop().await;
        match runtime::timeout(CLOSE_WITHIN, background.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the catalog's log stays beside its file: {error}"),
            Err(_) => tracing::warn!("the catalog did not finish in time"),
        }
        tracing::info!("ended");
    }
}

async fn metrics_listener(config: &Config) -> Result<Option<TcpListener>, StartError> {
    let settings = &config.telemetry.metrics;
    let Some(address) = &settings.listen else { return Ok(None) };
    match server::bind(address).await {
        Ok(listener) => {
            let addr = listener.local_addr()?.to_string();
            tracing::info!(addr, "metrics have a listener of their own");
            Ok(Some(listener))
        }
        Err(error) if settings.require_listener => Err(format!("telemetry.metrics.listen: {error}").into()),
        Err(error) => {
            tracing::warn!("serving without metrics: {error}");
            Ok(None)
        }
    }
}

/// Reloads what can be reloaded when SIGHUP says so, and the certificate also when its files change.
fn reloads(tls: Option<Arc<Tls>>) -> Result<Task<()>, StartError> {
    let mut hangups = signals::reloads()?;
    Ok(runtime::spawn(async move {
        let watched = tls.clone();
        let watch = async move {
            match watched {
                Some(tls) => tls.watch_files().await,
                None => std::future::pending().await,
            }
        };
        let reload = async move {
            while hangups.recv().await.is_some() {
                if let Some(tls) = &tls {
                    tls.reload();
                }
                tracing::warn!(
                    "SIGHUP reloads the TLS certificate; other changes of the configuration need a restart"
                );
            }
        };
        tokio::join!(watch, reload);
    }))
}
