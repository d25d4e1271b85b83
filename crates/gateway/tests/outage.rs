//! What a client is told while the catalog is gone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Reply, Wire, ask, get};

fn is_marked(reply: &Reply) -> bool {
    reply.header("x-s3o-degraded") == Some("catalog")
}

#[tokio::test]
async fn whatever_is_decided_on_what_was_known_before_says_so() {
    let wire = Wire::new().await;
    let etag = wire.put("/photos/known", b"hello").await.etag();
    assert!(!is_marked(&wire.get("/photos/known").await.expect(200)));
    let asks = |method: &str| {
        [
            (ask(method, "/photos/known"), 200),
            (ask(method, "/photos/known").header("range", "bytes=1-2"), 206),
            (ask(method, "/photos/known").header("if-none-match", &etag), 304),
            (ask(method, "/photos/known").header("if-match", "\"other\""), 412),
            (ask(method, "/photos/known").header("range", "bytes=9-"), 416),
        ]
    };
    for degraded in [false, true] {
        wire.outage.all_fails(degraded);
        for method in ["GET", "HEAD"] {
            for (ask, status) in asks(method) {
                let reply = wire.send(ask).await.expect(status);
                assert_eq!(is_marked(&reply), degraded, "{method} {status}");
                assert_eq!(wire.last_record().degraded, degraded, "{method} {status}");
            }
        }
    }
    // Nothing was known of it, so nothing is said of it.
    let reply = wire.send(get("/photos/never-was")).await.expect(503);
    assert!(!is_marked(&reply) && !wire.last_record().degraded);
}
