//! Alarms: told once when they begin and once when they end; to the log at once, to webhooks in batches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::sync::mpsc;

use crate::board::Board;

/// Alarms that may wait to be sent.
const WAITING_MAX: usize = 256;
/// How often a webhook is asked.
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
        last = companion::send(Method::POST, url, "application/json", body.to_owned()).await;
        if last.is_ok() {
            break;
        }
    }
    last
}
