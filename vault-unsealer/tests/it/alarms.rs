//! Alarms reach a webhook, those that belong together in one piece.

use std::sync::{Arc, Mutex};

use testkit::RawServer;

use crate::unsealer::{Unsealer, hang};

#[tokio::test]
async fn alarms_come_in_batches() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&bodies);
    let hook = RawServer::start(move |mut connection| {
        let seen = Arc::clone(&seen);
        async move {
            while let Some((_, body)) = connection.read_request().await {
                seen.lock().unwrap().push(String::from_utf8(body).unwrap());
                connection.answer("200 OK", &[], b"").await;
            }
        }
    })
    .await;
    let (one, two) = (RawServer::start(hang).await, RawServer::start(hang).await);
    let text = format!(
        "log_level: debug\nlisten: 127.0.0.1:0\nalarms:\n  webhooks: [\"{}/secret-path-of-hook\"]\n  batch: 5s\nclusters:\n  \
         - nodes: [{:?}, {:?}]\n    probe_interval: 100ms\n    max_interval: 200ms\n    timeout: 200ms\n    \
         key_sources: [{{env: [S3O_NONE]}}]\n",
        hook.endpoint, one.endpoint, two.endpoint,
    );
    let unsealer = Unsealer::start("config.yaml", &text, &["secret-path-of-hook".to_owned()]).await;
    unsealer.until("alarms_total", &[], |count| count == 2).await;
    let deadline = runtime::instant_now() + std::time::Duration::from_secs(60);
    let delivered = || bodies.lock().unwrap().join("\n");
    while !(delivered().contains(&one.endpoint) && delivered().contains(&two.endpoint)) {
        assert!(runtime::instant_now() < deadline, "{}", delivered());
        runtime::sleep(std::time::Duration::from_millis(100)).await;
    }
    let first: serde_json::Value = serde_json::from_str(&bodies.lock().unwrap()[0]).unwrap();
    assert_eq!(first["source"], "vault-unsealer");
    assert_eq!(first["alarms"].as_array().unwrap().len(), 2, "{first}");
    unsealer.end().await;
}

/// What waits for its batch is told when the configuration is read anew, and when the end comes.
#[tokio::test]
async fn alarms_that_wait_are_not_lost() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&bodies);
    let hook = RawServer::start(move |mut connection| {
        let seen = Arc::clone(&seen);
        async move {
            while let Some((_, body)) = connection.read_request().await {
                seen.lock().unwrap().push(String::from_utf8(body).unwrap());
                connection.answer("200 OK", &[], b"").await;
            }
        }
    })
    .await;
    let silent = RawServer::start(hang).await;
    let text = format!(
        "listen: 127.0.0.1:0\nlog_level: debug\nalarms: {{webhooks: [{:?}], batch: 1h}}\nclusters:\n  - nodes: [{:?}]\n    \
         probe_interval: 100ms\n    max_interval: 200ms\n    timeout: 200ms\n    key_sources: [{{env: [S3O_NONE]}}]\n",
        hook.endpoint, silent.endpoint,
    );
    let mut unsealer = Unsealer::start("config.yaml", &text, &[]).await;
    unsealer.until("alarms_total", &[], |count| count == 1).await;
    assert_eq!(bodies.lock().unwrap().len(), 0, "it did not wait for its batch");
    unsealer.process.signal("HUP");
    let deadline = runtime::instant_now() + std::time::Duration::from_secs(60);
    while bodies.lock().unwrap().is_empty() {
        assert!(runtime::instant_now() < deadline, "the alarm is lost");
        runtime::sleep(std::time::Duration::from_millis(50)).await;
    }
    unsealer.until("alarms_total", &[], |count| count == 2).await;
    // What it read anew is what it goes by; a bad one changes nothing.
    let file = unsealer.process.folder().join("config.yaml");
    std::fs::write(&file, text.replace("key_sources", "key_sauces")).unwrap();
    unsealer.process.signal("HUP");
    unsealer.until_logged("the old configuration stays").await;
    unsealer.end().await;
    assert_eq!(bodies.lock().unwrap().len(), 2, "the last alarm is lost");
}
