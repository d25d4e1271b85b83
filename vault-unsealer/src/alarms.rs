//! Alarms: told once when they begin and once when they end; to the log at once, to webhooks in batches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use connect::{Connector, TlsOptions};
use http::{Request, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use crate::board::Board;

/// Alarms that may wait to be sent.
const WAITING_MAX: usize = 256;
/// For a webhook to answer, and how often it is asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const TRIES_MAX: u32 = 3;

/// Raises alarms.
#[derive(Debug)]
pub(crate) struct Alarms {
    board: Arc<Board>,
    active: Mutex<BTreeMap<String, String>>,
    sender: mpsc::Sender<String>,
}

impl Alarms {
    /// Alarms, and what delivers them for as long as it is polled. It ends when the alarms are dropped.
    pub(crate) fn new(
        board: Arc<Board>,
        webhooks: Vec<String>,
        batch: Duration,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let deliver = deliver(receiver, webhooks, batch, Arc::clone(&board));
        (Arc::new(Self { board, active: Mutex::default(), sender }), deliver)
    }

    /// Says that something is wrong, unless that was said already.
    pub(crate) fn raise(&self, key: &str, text: &str) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.insert(key.to_owned(), text.to_owned()).is_none() {
            tracing::error!("ALARM: {text}");
            self.board.alarm(false);
            self.send(format!("ALARM: {text}"));
        }
    }

    /// Says that it is over, if it was said that it is wrong.
    pub(crate) fn clear(&self, key: &str) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = active.remove(key) {
            tracing::info!("over: {text}");
            self.send(format!("over: {text}"));
        }
    }

    fn send(&self, text: String) {
        if self.sender.try_send(text).is_err() {
            self.board.alarm(true);
        }
    }
}

async fn deliver(
    mut receiver: mpsc::Receiver<String>,
    webhooks: Vec<String>,
    batch: Duration,
    board: Arc<Board>,
) {
    while let Some(first) = receiver.recv().await {
        let mut texts = vec![first];
        // What belongs together comes together: three nodes are sealed at once.
        let _ = runtime::timeout(batch, async {
            while let Some(text) = receiver.recv().await {
                texts.push(text);
            }
        })
        .await;
        let body = serde_json::json!({
            "source": "vault-unsealer",
            "text": texts.join("\n"),
            "alarms": texts,
        });
        for (index, url) in webhooks.iter().enumerate() {
            // Its URL may hold a secret, so it is known by its number.
            if let Err(why) = insist(url, &body.to_string()).await {
                tracing::warn!("webhook {} did not take {} alarms: {why}", index + 1, texts.len());
                texts.iter().for_each(|_| board.alarm(true));
            }
        }
    }
}

async fn insist(url: &str, body: &str) -> Result<(), String> {
    let mut last = Ok(());
    for attempt in 0..TRIES_MAX {
        if attempt > 0 {
            runtime::sleep(Duration::from_secs(1 << attempt)).await;
        }
        let posted = runtime::timeout(ANSWER_WITHIN, post(url, body)).await;
        last = posted.unwrap_or_else(|runtime::Elapsed| Err(format!("no answer within {ANSWER_WITHIN:?}")));
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Refuses what cannot be a webhook. It does not quote it.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    target(url).map(|_| ())
}

fn target(url: &str) -> Result<(Connector, Uri, String), String> {
    let uri: Uri = url.parse().map_err(|_| "a webhook is no URL")?;
    let tls = match uri.scheme_str() {
        Some("https") => Some(TlsOptions::default()),
        Some("http") => None,
        _ => return Err("a webhook does not begin with https:// or http://".to_owned()),
    };
    let host = uri.host().ok_or("a webhook names no host")?;
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let connector =
        Connector::new(bare, port, tls.as_ref(), ANSWER_WITHIN).map_err(|error| error.to_string())?;
    Ok((connector, uri, authority))
}

async fn post(url: &str, body: &str) -> Result<(), String> {
    let (connector, uri, host) = target(url)?;
    let stream = connector.connect().await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let _task = runtime::spawn(connection);
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|_| "its URL is no legal request")?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status())) }
}
