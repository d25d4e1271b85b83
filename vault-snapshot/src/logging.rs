//! Logs on stderr, so that what a command prints stays apart: text for people, JSON for collectors.

use std::io::IsTerminal;

use config::snapshot::Config;
use config::{LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;

/// What libraries may say.
const LIBRARIES: &str = "hyper=error,hyper_util=error,rustls=error,tokio_rustls=error,mio=error";

pub(crate) fn start(config: &Config) {
    let level = match config.log_level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let terminal = std::io::stderr().is_terminal();
    let text = match config.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let filter = EnvFilter::new(format!("{level},{LIBRARIES}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The only error is that logging was started before.
    let _ = if text {
        builder.with_target(false).with_ansi(terminal).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
}
