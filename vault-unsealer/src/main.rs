//! Unseals the nodes of Vault and OpenBao clusters, with shares that it fetches when it needs them.
//!
//! Read `run` below, then `node.rs` (one node), `attempt.rs` (which shares are sent) and, in
//! `crates/companion`, `sources.rs` (where they come from). The process serves nobody but `/metrics` and `/health`.

mod alarms;
mod attempt;
mod board;
mod brake;
mod check;
mod cli;
mod config;
mod node;
mod pace;
mod seal;
mod watch;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use companion::Page;
use runtime::{Clock, Task};
use tokio::signal::unix::{SignalKind, signal};

use alarms::Alarms;
use board::Board;
use cli::{Arguments, Command};
use config::{Config, Overrides};

/// How long the end waits for webhooks to take the last alarms.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// Wipes everything that is freed: shares pass through buffers of libraries too.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    let arguments = match cli::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    match arguments.command {
        Command::Help => print!("{}", cli::HELP),
        Command::Version => println!("vault-unsealer {}", env!("CARGO_PKG_VERSION")),
        Command::Run | Command::Once | Command::Check => return start(&arguments),
    }
    ExitCode::SUCCESS
}

fn start(arguments: &Arguments) -> ExitCode {
    let config = match load(arguments) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("error: {} cannot be used:", arguments.file.display());
            problems.iter().for_each(|problem| eprintln!("  {problem}"));
            return ExitCode::FAILURE;
        }
    };
    // Before the first share is fetched, and before there is a second thread.
    let undone = companion::harden(config.lock_memory);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the operating system grants an event queue at the start");
    if arguments.command == Command::Check {
        let (report, is_well) = runtime.block_on(check::check(&config));
        print!("{report}");
        return if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let is_terminal = std::io::stdout().is_terminal();
    companion::start_logs(config.log_level, config.log_json, is_terminal, std::io::stdout);
    undone.iter().chain(&config.warnings).for_each(|warning| tracing::warn!("{warning}"));
    let once = arguments.command == Command::Once;
    runtime.block_on(async { if once { unseal_once(config).await } else { run(config, arguments).await } })
}

/// Watches and unseals until it is told to end.
async fn run(config: Config, arguments: &Arguments) -> ExitCode {
    let board = Arc::new(Board::new(Clock::system()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut reload)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        eprintln!("error: the operating system lets nobody listen for signals");
        return ExitCode::FAILURE;
    };
    let listen = config.listen;
    let _pages = match serve(listen, &board).await {
        Ok(pages) => pages,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut watching = watch(config, &board);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => match load(arguments) {
                Ok(config) => {
                    if config.listen != listen {
                        tracing::warn!("listen changes with a restart only");
                    }
                    // The old ones end first: two must not unseal the same node. What they raised is still told.
                    drop(watching.clusters);
                    watching.deliver.detach();
                    board.clear();
                    tracing::info!("the configuration was read anew; brakes are released");
                    watching = watch(config, &board);
                }
                Err(problems) => tracing::error!("the old configuration stays: {}", problems.join("; ")),
            },
        }
    }
    tracing::info!("ending");
    drop(watching.clusters);
    // Whoever does not take an alarm now is not waited for much longer.
    let _ = runtime::timeout(LAST_WORDS, watching.deliver).await;
    ExitCode::SUCCESS
}

/// Unseals what is sealed now.
async fn unseal_once(mut config: Config) -> ExitCode {
    let board = Arc::new(Board::new(Clock::system()));
    let (alarms, deliver) =
        Alarms::new(Arc::clone(&board), std::mem::take(&mut config.webhooks), Duration::ZERO);
    let deliver = runtime::spawn(deliver);
    let clusters = std::mem::take(&mut config.clusters);
    let each =
        clusters.into_iter().map(|cluster| watch::once(watch::shared(&config, cluster, &board, &alarms)));
    let open = futures::future::join_all(each).await;
    // What was raised is sent before the end.
    drop(alarms);
    let _ = deliver.await;
    if open.into_iter().all(|open| open) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What runs until the end, or until the configuration is read anew.
struct Watching {
    clusters: Vec<Task<()>>,
    /// Ends by itself, once nobody can raise an alarm any more and all are told.
    deliver: Task<()>,
}

/// A task for each cluster, and one for the alarms.
fn watch(mut config: Config, board: &Arc<Board>) -> Watching {
    let webhooks = std::mem::take(&mut config.webhooks);
    let (alarms, deliver) = Alarms::new(Arc::clone(board), webhooks, config.alarm_batch);
    let clusters = std::mem::take(&mut config.clusters).into_iter().map(|cluster| {
        let shared = watch::shared(&config, cluster, board, &alarms);
        runtime::spawn(watch::cluster(shared))
    });
    Watching { clusters: clusters.collect(), deliver: runtime::spawn(deliver) }
}

async fn serve(listen: Option<SocketAddr>, board: &Arc<Board>) -> Result<Option<Task<()>>, String> {
    let Some(address) = listen else { return Ok(None) };
    let board = Arc::clone(board);
    let answer = move |path: &str| match path {
        "/metrics" => Some(Page::metrics(board.metrics())),
        "/health" => Some(Page::status(200, "ok")),
        "/health/ready" if board.is_ready() => Some(Page::status(200, "ready")),
        "/health/ready" => Some(Page::status(503, "not ready")),
        _ => None,
    };
    companion::listen(address, answer).await.map(Some)
}

fn load(arguments: &Arguments) -> Result<Config, Vec<String>> {
    config::load(&arguments.file, Overrides { allow_readable_files: arguments.allow_readable_files })
}
