//! `/metrics` and `/health` of the daemon, and the push of a single run.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::HttpUrl;
use connect::{Connector, TlsOptions};
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::Task;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::take::Tool;
use crate::trouble::Trouble;

const CONNECTIONS_MAX: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until the task is dropped.
pub(crate) async fn start(address: &str, tool: Arc<Tool>) -> Result<Task<()>, Trouble> {
    // An address without a host is all of them.
    let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
    let listener = TcpListener::bind(&address).await;
    let listener =
        listener.map_err(|error| Trouble::lasting(format!("cannot listen on {address}: {error}")))?;
    tracing::info!("metrics on http://{}/metrics", listener.local_addr()?);
    Ok(runtime::spawn(async move {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let tool = Arc::clone(&tool);
                    runtime::spawn(async move {
                        serve(stream, &tool).await;
                        drop(place);
                    })
                    .detach();
                }
                // Out of descriptors, for one: a pause lets others end.
                Err(_) => runtime::sleep(Duration::from_millis(100)).await,
            }
        }
    }))
}

async fn serve(stream: TcpStream, tool: &Arc<Tool>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let (status, body) = match request.uri().path() {
            "/metrics" => (StatusCode::OK, tool.metrics.text(Some(tool.clock.now()))),
            "/health" => (StatusCode::OK, "ok\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "there is /metrics and /health\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(TEXT));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), answer);
    // Whatever a stranger does with its connection is not our failure.
    let _ = connection.await;
}

/// Sends the numbers of a run to a Pushgateway, in place of those of the run before.
pub(crate) async fn push(gateway: &HttpUrl, job: &str, text: String) -> Result<(), Trouble> {
    let pushing = async {
        let (authority, prefix) = split(gateway);
        let (host, port) = host_and_port(authority, gateway.is_https());
        let tls = gateway.is_https().then(TlsOptions::default);
        let connector =
            Connector::new(&host, port, tls.as_ref(), PATIENCE).map_err(|error| error.to_string())?;
        let stream = connector.connect().await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let _connection = runtime::spawn(connection);
        let request = Request::put(format!("{prefix}/metrics/job/{job}"))
            .header(HOST, authority)
            .header(CONTENT_TYPE, TEXT)
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| error.to_string())?;
        let status = sender.send_request(request).await.map_err(|error| error.to_string())?.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    };
    let outcome =
        runtime::timeout(PATIENCE, pushing).await.unwrap_or_else(|_| Err("it does not answer".to_owned()));
    outcome
        .map_err(|why| Trouble::lasting(format!("the Pushgateway {gateway} did not take the numbers: {why}")))
}

/// The authority of an address, and the path behind it.
fn split(url: &HttpUrl) -> (&str, &str) {
    let rest = url.as_str().split("://").nth(1).unwrap_or_default();
    rest.find('/').map_or((rest, ""), |at| rest.split_at(at))
}

fn host_and_port(authority: &str, tls: bool) -> (String, u16) {
    let default = if tls { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within brackets is one of an address.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(default)),
        _ => (authority, default),
    };
    (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)
}
