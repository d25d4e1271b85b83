//! Logs on stdout: text for people, JSON for collectors. How much is said can be changed while the process runs.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use config::{LogFormat, LogLevel, Server};
use tracing_subscriber::EnvFilter;

/// What libraries may say. They speak of every bad request of a client, in words that are not ours.
const LIBRARIES: &str =
    "s3s=off,hyper=error,hyper_util=error,h2=error,rustls=error,tokio_rustls=error,mio=error";

/// The levels that there are.
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// How much is logged.
pub(crate) struct Level {
    present: Mutex<String>,
    set: SetFilter,
}

/// Starts logging. Only the first call of a process counts.
pub(crate) fn start(server: &Server) -> Arc<Level> {
    let level = match server.log_level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let text = match server.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stdout().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter(level)).with_writer(std::io::stdout);
    // The only error is that logging was started before.
    let set: SetFilter = if text {
        let builder =
            builder.with_target(false).with_ansi(std::io::stdout().is_terminal()).with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = builder.try_init();
        Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
    } else {
        let builder = builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = builder.try_init();
        Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
    };
    Arc::new(Level { present: Mutex::new(level.to_owned()), set })
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("{level},{LIBRARIES}"))
}

impl admin::LogLevel for Level {
    fn get(&self) -> String {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, level: &str) -> Result<(), String> {
        if !LEVELS.contains(&level) {
            return Err(format!("there is no level {level:?}: there are {}", LEVELS.join(", ")));
        }
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        (self.set)(filter(level))?;
        level.clone_into(&mut present);
        Ok(())
    }
}
