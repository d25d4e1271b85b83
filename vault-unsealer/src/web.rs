//! `/metrics`, `/health` and `/health/ready`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::board::Board;

/// Connections served at once, and for how long each.
const CONNECTIONS_MAX: usize = 64;
const CONNECTION_LASTS: Duration = Duration::from_secs(30);

/// Serves for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, board: Arc<Board>) {
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
        let board = Arc::clone(&board);
        let connection = async move {
            let service = service_fn(|request| std::future::ready(answer(&board, &request)));
            let mut http = hyper::server::conn::http1::Builder::new();
            let serving = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // Whoever went away in the middle is nobody's concern.
            let _ = runtime::timeout(CONNECTION_LASTS, serving).await;
            drop(place);
        };
        runtime::spawn(connection).detach();
    }
}

fn answer(board: &Board, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match request.uri().path() {
        "/metrics" => (200, "text/plain; version=0.0.4; charset=utf-8", board.metrics()),
        "/health" => (200, "application/json", "{\"status\":\"ok\"}".to_owned()),
        "/health/ready" if board.is_ready() => (200, "application/json", "{\"status\":\"ready\"}".to_owned()),
        "/health/ready" => (503, "application/json", "{\"status\":\"not ready\"}".to_owned()),
        _ => (404, "text/plain", "there is /metrics, /health and /health/ready\n".to_owned()),
    };
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
    Ok(response.body(Full::new(body.into())).expect("status and header are legal"))
}
