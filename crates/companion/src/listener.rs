//! The one thing that a companion serves: small pages, such as `/metrics` and `/health`, to whoever asks.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::Task;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::Semaphore;

/// Connections served at once, and for how long each.
const CONNECTIONS_MAX: usize = 64;
const CONNECTION_LASTS: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Page {
    /// 200, or what else it is.
    pub status: u16,
    /// The type of its content.
    pub kind: &'static str,
    /// Its content.
    pub body: String,
}

impl Page {
    /// Numbers, as [`crate::Exposition`] writes them.
    #[must_use]
    pub fn metrics(body: String) -> Self {
        Self { status: 200, kind: crate::exposition::KIND, body }
    }

    /// A state in one word.
    #[must_use]
    pub fn status(status: u16, word: &str) -> Self {
        Self { status, kind: "application/json", body: format!("{{\"status\":\"{word}\"}}") }
    }
}

/// Serves these pages until the task is dropped. `answer` gets the path; where it knows none, that is a 404.
///
/// # Errors
/// Where the address cannot be had.
pub async fn listen(
    address: impl ToSocketAddrs + Display,
    answer: impl Fn(&str) -> Option<Page> + Send + Sync + 'static,
) -> Result<Task<()>, String> {
    let listener = TcpListener::bind(&address).await;
    let listener = listener.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tracing::info!(addr = %address, "listening");
    Ok(runtime::spawn(serve(listener, Arc::new(answer))))
}

async fn serve(listener: TcpListener, answer: Arc<impl Fn(&str) -> Option<Page> + Send + Sync + 'static>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("a connection was not accepted: {error}");
                runtime::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let answer = Arc::clone(&answer);
        let connection = async move {
            let service = service_fn(|request: Request<Incoming>| {
                std::future::ready(Ok::<_, Infallible>(response(answer(request.uri().path()))))
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            let serving = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // Whoever went away in the middle is nobody's concern.
            let _ = runtime::timeout(CONNECTION_LASTS, serving).await;
            drop(place);
        };
        runtime::spawn(connection).detach();
    }
}

fn response(page: Option<Page>) -> Response<Full<Bytes>> {
    let nothing = || Page { status: 404, kind: "text/plain", body: "there is no such page\n".to_owned() };
    let page = page.unwrap_or_else(nothing);
    let response = Response::builder().status(page.status).header(header::CONTENT_TYPE, page.kind);
    response.body(Full::new(page.body.into())).expect("status and header are legal")
}
