//! Who may do what: signatures, scopes, buckets of others, limits, and what errors look like.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{OTHER_KEY, OTHER_SECRET, Payload, SECRET, Wire, ask, get, put};
use gateway::{AdmissionOptions, GatewayOptions, RateLimitOptions, Rejection};

#[tokio::test]
async fn wrong_signatures_have_their_own_errors() {
    let wire = Wire::new().await;
    wire.put("/photos/k", b"x").await;
    let before = wire.state().await;
    let mut skewed = get("/photos/k");
    skewed.skew = -3600;
    let mut elsewhere = get("/photos/k");
    elsewhere.region = "mars".into();
    let mut no_region = get("/photos/k");
    no_region.region = String::new();
    for (request, status, code) in [
        (get("/photos/k").anonymous(), 403, "AccessDenied"),
        (put("/photos/k", b"y").anonymous(), 403, "AccessDenied"),
        (get("/photos/k").by("NOBODY", SECRET), 403, "InvalidAccessKeyId"),
        (put("/photos/k", b"y").by(common::KEY, "wrong"), 403, "SignatureDoesNotMatch"),
        (skewed, 403, "RequestTimeTooSkewed"),
        (elsewhere, 400, "AuthorizationHeaderMalformed"),
        (no_region, 400, "AuthorizationHeaderMalformed"),
        (put("/photos/k", b"y").unsigned("x-amz-acl", "private"), 403, "AccessDenied"),
        (put("/photos/k", b"y").unsigned("x-amz-copy-source", "/photos/j"), 403, "AccessDenied"),
        (get("/photos/k").anonymous().header("authorization", "AWS KEY:sig"), 400, "InvalidRequest"),
        (get("/photos/k").anonymous().header("authorization", "Bearer x"), 400, "InvalidArgument"),
        (get("/photos/k").query("AWSAccessKeyId=K&Signature=s&Expires=1").anonymous(), 400, "InvalidRequest"),
    ] {
        let reply = wire.send(request).await.expect(status).fails(code);
        if code == "AuthorizationHeaderMalformed" {
            assert_eq!(reply.element("Region").as_deref(), Some("us-east-1"));
        }
    }
    assert_eq!(wire.state().await, before);
    let mut auto = get("/photos/k");
    auto.region = "auto".into();
    wire.send(auto).await.expect(200);
}

#[tokio::test]
async fn presigned_urls_work_until_they_expire() {
    let wire = Wire::new().await;
    let unsigned = |ask: common::Ask| ask.payload(Payload::Unsigned);
    wire.send(unsigned(put("/photos/a b", b"x").presigned(60))).await.expect(200);
    assert_eq!(wire.send(get("/photos/a b").presigned(60)).await.expect(200).body.as_ref(), b"x");
    let mut expired = get("/photos/a b").presigned(60);
    expired.skew = -120;
    wire.send(expired).await.expect(403).fails("AccessDenied");
    // N114: a URL dated in the future is not valid yet.
    let mut early = get("/photos/a b").presigned(60);
    early.skew = 30 * 24 * 3600;
    wire.send(early).await.expect(403).fails("RequestTimeTooSkewed");
    wire.send(get("/photos/a b").presigned(604_801))
        .await
        .expect(400)
        .fails("AuthorizationQueryParametersError");

    let tampered = |change: fn(String) -> String| {
        let (mut parts, body) = get("/photos/a b").presigned(60).build().into_parts();
        parts.uri = change(parts.uri.to_string()).parse().unwrap();
        http::Request::from_parts(parts, body)
    };
    for change in [
        |uri: String| uri.replace("/photos/", "/backups/"),
        |uri: String| uri.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        |uri: String| format!("{uri}&response-content-type=text%2Fhtml"),
    ] {
        let reply = wire.gateway.call(tampered(change), "192.0.2.1:1".parse().unwrap()).await;
        assert_eq!(reply.status(), 403);
    }
}

#[tokio::test]
async fn n116_a_key_sees_its_buckets_and_no_other() {
    let wire = Wire::new().await;
    let names = wire.get("/").await.expect(200).elements("Name");
    assert_eq!(names, ["backups", "photos"]);
    let theirs = wire.send(get("/").by(OTHER_KEY, OTHER_SECRET)).await.expect(200).elements("Name");
    assert_eq!(theirs, ["other"]);
    wire.get("/other").await.expect(403).fails("AccessDenied");
    wire.get("/void").await.expect(404).fails("NoSuchBucket");
    wire.get("/void/k").await.expect(404).fails("NoSuchBucket");
    wire.send(put("/other/k", b"x")).await.expect(403);
    assert_eq!(wire.send(ask("HEAD", "/other")).await.expect(403).body.len(), 0);
    let head = wire.send(ask("HEAD", "/photos")).await.expect(200);
    assert_eq!(head.header("x-amz-bucket-region"), Some("us-east-1"));
    wire.get("/b%ad name/k").await.expect(400);
}

#[tokio::test]
async fn buckets_are_declared_not_created() {
    let wire = Wire::new().await;
    wire.send(ask("PUT", "/photos")).await.expect(200);
    let body = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    wire.send(ask("PUT", "/photos").body(body)).await.expect(200);
    wire.send(ask("PUT", "/photos").body("<x")).await.expect(400).fails("MalformedXML");
    wire.send(ask("PUT", "/other")).await.expect(409).fails("BucketAlreadyExists");
    let undeclared = wire.send(ask("PUT", "/void")).await.expect(403).fails("AccessDenied");
    assert!(undeclared.element("Message").unwrap().contains("declare"));
    wire.send(ask("DELETE", "/photos")).await.expect(403);
    wire.put("/photos/k", b"x").await;
    wire.send(ask("DELETE", "/photos")).await.expect(409).fails("BucketNotEmpty");
    let location = wire.send(get("/photos").query("location")).await.expect(200);
    assert!(location.text().contains("LocationConstraint"));
    let versioning = wire.send(get("/photos").query("versioning")).await.expect(200);
    assert!(versioning.text().contains("VersioningConfiguration") && !versioning.text().contains("Status"));
}

/// C.9.1: what is not implemented says so and changes nothing.
#[tokio::test]
async fn sub_resources_that_we_do_not_have_change_nothing() {
    let wire = Wire::new().await;
    wire.put("/photos/k", b"x").await;
    let before = wire.state().await;
    for (method, resource) in [
        ("PUT", "acl"),
        ("PUT", "retention"),
        ("PUT", "legal-hold"),
        ("GET", "acl"),
        ("GET", "torrent"),
        ("PUT", "unheardOf"),
        ("POST", "restore"),
        ("POST", "select&select-type=2"),
        ("DELETE", "annotation"),
    ] {
        wire.send(ask(method, "/photos/k").query(resource).body("<x/>"))
            .await
            .expect(501)
            .fails("NotImplemented");
    }
    for resource in ["cors", "policy", "acl", "versions", "lifecycle", "object-lock", "encryption", "website"]
    {
        wire.send(ask("PUT", "/photos").query(resource).body("<x/>")).await.expect(501);
        wire.send(ask("DELETE", "/photos").query(resource)).await.expect(501);
        wire.send(get("/photos").query(resource)).await.expect(501).fails("NotImplemented");
    }
    wire.send(ask("DELETE", "/photos/k").query("versionId=7")).await.expect(404).fails("NoSuchVersion");
    wire.send(put("/photos/k", b"y").query("versionId=7")).await.expect(400);
    wire.send(put("/photos/k", b"y").query("partNumber=1")).await.expect(400);
    wire.send(ask("PATCH", "/photos/k")).await.expect(405).fails("MethodNotAllowed");
    assert_eq!(wire.state().await, before);
}

#[tokio::test]
async fn n107_every_answer_carries_its_request_id() {
    let wire = Wire::new().await;
    let reply = wire.send(get("/photos/none").unsigned("x-request-id", "deadbeef")).await.expect(404);
    assert_eq!(reply.header("x-amz-request-id"), Some("deadbeef"));
    assert_eq!(reply.element("RequestId").as_deref(), Some("deadbeef"));
    assert_eq!(reply.element("Resource").as_deref(), Some("/photos/none"));
    assert_eq!(reply.element("HostId").as_deref(), reply.header("x-amz-id-2"));
    assert_eq!(reply.header("content-type"), Some("application/xml"));
    let reply = wire.send(get("/photos/none").unsigned("x-request-id", "not hex")).await;
    assert_eq!(reply.header("x-amz-request-id").unwrap().len(), 32);
    // An error of the layer that verifies signatures looks the same.
    let reply = wire.send(get("/photos/none").by(common::KEY, "wrong")).await.expect(403);
    assert_eq!(reply.element("RequestId").as_deref(), reply.header("x-amz-request-id"));
    let head = wire.send(ask("HEAD", "/photos/none")).await.expect(404);
    assert_eq!(head.body.len(), 0);
    let record = wire.last_record();
    assert_eq!(
        (record.operation, record.status, record.error.as_deref()),
        ("HeadObject", 404, Some("NoSuchKey"))
    );
    assert!(wire.seen.inflight.lock().unwrap().values().all(|count| *count == 0));
}

#[tokio::test]
async fn a_full_house_says_slow_down_before_it_reads_the_body() {
    let admission = AdmissionOptions { requests_max: 1, ..Default::default() };
    let wire = Wire::with(GatewayOptions { admission, ..Default::default() }).await;
    wire.put("/photos/k", b"x").await;
    let peer = "192.0.2.1:1".parse().unwrap();
    // Its place is held until its answer's body is gone.
    let held = wire.gateway.call(get("/photos/k").build(), peer).await;
    let refused = wire.send(put("/photos/j", b"data")).await.expect(503).fails("SlowDown");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(wire.last_record().bytes_in, 0);
    drop(held);
    wire.get("/photos/k").await.expect(200);
    assert_eq!(*wire.seen.rejections.lock().unwrap(), [Rejection::Full]);
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_has_its_own_rate() {
    let options = GatewayOptions {
        rate_limit: Some(RateLimitOptions {
            requests_per_sec: 0.001,
            burst: 2,
            forget_after: Duration::from_secs(60),
        }),
        trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
        ..Default::default()
    };
    let wire = Wire::with(options).await;
    let from = |ip: &str| ask("HEAD", "/photos").unsigned("x-forwarded-for", ip);
    wire.send(from("203.0.113.1")).await.expect(200);
    wire.send(from("203.0.113.1")).await.expect(200);
    let refused = wire.send(from("203.0.113.1")).await.expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    wire.send(from("203.0.113.2")).await.expect(200);
    assert_eq!(wire.last_record().remote.to_string(), "203.0.113.2");
    assert_eq!(*wire.seen.rejections.lock().unwrap(), [Rejection::RateLimited]);
}

#[tokio::test]
async fn n110_a_bucket_may_stand_in_the_host() {
    let domains = vec!["s3.example.com".to_owned()];
    let wire = Wire::with(GatewayOptions { domains, ..Default::default() }).await;
    let at = |ask: common::Ask| ask.header("host", "photos.s3.example.com");
    wire.send(at(put("/a/k", b"x"))).await.expect(200);
    wire.send(at(get("/a/k"))).await.expect(200);
    assert_eq!(wire.send(at(get("/")).query("list-type=2")).await.expect(200).elements("Key"), ["a/k"]);
    wire.get("/photos/a/k").await.expect(200);
}

/// N113: from the moment a secret is rotated the new one counts, and the old one no longer.
#[tokio::test]
async fn a_rotated_secret_counts_at_once() {
    let wire = Wire::new().await;
    wire.get("/photos").await.expect(200);
    wire.gateway.set_directory(wire.directory(&[(common::KEY, "new-secret", "photos")]));
    wire.get("/photos").await.expect(403).fails("SignatureDoesNotMatch");
    wire.send(get("/photos").by(common::KEY, "new-secret")).await.expect(200);
    wire.send(get("/backups").by(common::KEY, "new-secret")).await.expect(403).fails("AccessDenied");
    wire.send(get("/other").by(OTHER_KEY, OTHER_SECRET)).await.expect(403).fails("InvalidAccessKeyId");
}
