//! Logs on stdout: text for people, JSON for collectors.

use std::io::IsTerminal;

use config::{LogFormat, LogLevel, Server};
use tracing_subscriber::EnvFilter;

/// What libraries may say. They speak of every bad request of a client, in words that are not ours.
const LIBRARIES: &str =
    "s3s=off,hyper=error,hyper_util=error,h2=error,rustls=error,tokio_rustls=error,mio=error";

/// Starts logging. Only the first call of a process counts.
pub(crate) fn start(server: &Server) {
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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{level},{LIBRARIES}")))
        .with_writer(std::io::stdout);
    // The only error is that logging was started before.
    let _ = if text {
        builder.with_target(false).with_ansi(std::io::stdout().is_terminal()).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
}
