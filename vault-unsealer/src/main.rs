//! Unseals the nodes of Vault and OpenBao clusters, with shares that it fetches when it needs them.
//!
//! Read `run` below, then `node.rs` (one node), `attempt.rs` (which shares are sent) and `sources.rs` (where
//! they come from). The process serves nobody but `/metrics` and `/health`.

mod alarms;
mod attempt;
mod board;
mod brake;
mod check;
mod cli;
mod config;
mod harden;
mod node;
mod pace;
mod seal;
mod shares;
mod sources;
mod watch;
mod web;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use runtime::{Clock, Task};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use alarms::Alarms;
use board::Board;
use cli::{Arguments, Command};
use config::{Config, Overrides};

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
    let undone = harden::harden(config.lock_memory);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the operating system grants an event queue at the start");
    if arguments.command == Command::Check {
        let (report, is_well) = runtime.block_on(check::check(&config));
        print!("{report}");
        return if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    start_logging(&config);
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
    let _web = match serve(listen, &board).await {
        Ok(web) => web,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut _tasks = watch(config, &board);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(()) = next(&mut reload) => match load(arguments) {
                Ok(config) => {
                    if config.listen != listen {
                        tracing::warn!("listen changes with a restart only");
                    }
                    // The old ones end first: two must not unseal the same node.
                    drop(std::mem::take(&mut _tasks));
                    board.clear();
                    tracing::info!("the configuration was read anew; brakes are released");
                    _tasks = watch(config, &board);
                }
                Err(problems) => tracing::error!("the old configuration stays: {}", problems.join("; ")),
            },
        }
    }
    tracing::info!("ending");
    ExitCode::SUCCESS
}

async fn next(signal: &mut Signal) -> Option<()> {
    signal.recv().await
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

/// A task for each cluster, and one for the alarms.
fn watch(mut config: Config, board: &Arc<Board>) -> Vec<Task<()>> {
    let webhooks = std::mem::take(&mut config.webhooks);
    let (alarms, deliver) = Alarms::new(Arc::clone(board), webhooks, config.alarm_batch);
    let mut tasks = vec![runtime::spawn(deliver)];
    for cluster in std::mem::take(&mut config.clusters) {
        let shared = watch::shared(&config, cluster, board, &alarms);
        tasks.push(runtime::spawn(watch::cluster(shared)));
    }
    tasks
}

async fn serve(listen: Option<std::net::SocketAddr>, board: &Arc<Board>) -> Result<Option<Task<()>>, String> {
    let Some(address) = listen else { return Ok(None) };
    let listener =
        tokio::net::TcpListener::bind(address).await.map_err(|error| format!("listen {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tracing::info!(addr = %address, "listening");
    Ok(Some(runtime::spawn(web::serve(listener, Arc::clone(board)))))
}

fn load(arguments: &Arguments) -> Result<Config, Vec<String>> {
    config::load(&arguments.file, Overrides { allow_readable_files: arguments.allow_readable_files })
}

fn start_logging(config: &Config) {
    let level = config.log_level;
    let filter = EnvFilter::new(format!("{level},hyper=error,hyper_util=error,rustls=error,mio=error"));
    let is_terminal = std::io::stdout().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stdout);
    // The only error is that logging was started before.
    let _ = if config.log_json.unwrap_or(!is_terminal) {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_target(false).with_ansi(is_terminal).try_init()
    };
}
