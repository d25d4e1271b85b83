//! One request to somebody who wants to be told: a webhook, a Pushgateway. Their addresses may hold secrets, so no
//! error quotes them.

use std::time::Duration;

use bytes::Bytes;
use connect::{Connector, TlsOptions};
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;

/// For an answer, everything together.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Refuses what cannot be told anything.
///
/// # Errors
/// Says what is wrong with the address.
pub fn check_url(url: &str) -> Result<(), String> {
    target(url).map(|_| ())
}

/// Sends this, once.
///
/// # Errors
/// Where it was not taken, in time.
pub async fn send(method: Method, url: &str, kind: &'static str, body: String) -> Result<(), String> {
    let sent = runtime::timeout(ANSWER_WITHIN, exchange(method, url, kind, body)).await;
    sent.unwrap_or_else(|runtime::Elapsed| Err(format!("no answer within {ANSWER_WITHIN:?}")))
}

fn target(url: &str) -> Result<(Connector, Uri, String), String> {
    let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
    let tls = match uri.scheme_str() {
        Some("https") => Some(TlsOptions::default()),
        Some("http") => None,
        _ => return Err("it does not begin with https:// or http://".to_owned()),
    };
    let host = uri.host().ok_or("it names no host")?;
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let connector =
        Connector::new(bare, port, tls.as_ref(), ANSWER_WITHIN).map_err(|error| error.to_string())?;
    Ok((connector, uri, authority))
}

async fn exchange(method: Method, url: &str, kind: &'static str, body: String) -> Result<(), String> {
    let (connector, uri, host) = target(url)?;
    let stream = connector.connect().await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let _connection = runtime::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| "its URL is no legal request")?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status())) }
}
