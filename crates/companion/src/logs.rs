//! Logs: text for people, JSON for collectors. What libraries say at a low level may hold what nobody must see, so
//! they are heard at errors only.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

const LIBRARIES: &str = "hyper=error,hyper_util=error,rustls=error,tokio_rustls=error,mio=error";

/// Begins to log. `json`: as told, or by whether `is_terminal`.
pub fn start_logs<W>(level: &str, json: Option<bool>, is_terminal: bool, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::new(format!("{level},{LIBRARIES}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // The only error is that logging was started before.
    let _ = if json.unwrap_or(!is_terminal) {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_target(false).with_ansi(is_terminal).try_init()
    };
}
