//! Browser uploads with a policy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Ask, Wire, ask, form_fields};

fn form(fields: &[(String, String)], file: &[u8]) -> Ask {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    body.extend_from_slice(b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cat.txt\"\r\nContent-Type: text/cat\r\n\r\n");
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--XX--\r\n");
    ask("POST", "/photos").anonymous().header("content-type", "multipart/form-data; boundary=XX").body(body)
}

const CONDITIONS: &str = r#"{"bucket":"photos"},["starts-with","$key","u/"],["content-length-range",1,20]"#;

fn signed(extra: &[(&str, &str)]) -> Vec<(String, String)> {
    let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let key = std::iter::once(("key".to_owned(), "u/${filename}".to_owned()));
    key.chain(form_fields(&ask("POST", "/photos"), CONDITIONS, 60)).chain(extra).collect()
}

#[tokio::test]
async fn a_file_is_stored_under_its_policy() {
    let wire = Wire::new().await;
    let reply = wire.send(form(&signed(&[]), b"meow")).await.expect(204);
    assert_eq!(reply.header("location"), Some("http://localhost:9000/photos/u/cat.txt"));
    let stored = wire.get("/photos/u/cat.txt").await.expect(200);
    assert_eq!((stored.body.as_ref(), stored.header("content-type")), (b"meow".as_slice(), Some("text/cat")));
    assert_eq!(reply.etag(), stored.etag());
    let record = wire.seen.records.lock().unwrap()[0].clone();
    assert_eq!((record.operation, record.access_key.as_deref()), ("PostObject", Some(common::KEY)));
}

#[tokio::test]
async fn a_form_outside_of_its_policy_stores_nothing() {
    let wire = Wire::new().await;
    let before = wire.state().await;
    let replaced = |name: &str, value: &str| {
        let mut fields = signed(&[]);
        fields.iter_mut().find(|(n, _)| n == name).unwrap().1 = value.into();
        fields
    };
    for (fields, file, status, code) in [
        (signed(&[]), [b'x'; 21].as_slice(), 400, "EntityTooLarge"),
        (signed(&[]), b"".as_slice(), 400, "EntityTooSmall"),
        (signed(&[("acl", "private")]), b"x", 403, "AccessDenied"),
        (signed(&[("x-amz-meta-a", "b")]), b"x", 403, "AccessDenied"),
        (replaced("key", "v/x"), b"x", 403, "AccessDenied"),
        (replaced("x-amz-signature", &"0".repeat(64)), b"x", 403, "SignatureDoesNotMatch"),
        (replaced("x-amz-algorithm", "AWS"), b"x", 400, "InvalidArgument"),
        (replaced("x-amz-date", "20200101T000000Z"), b"x", 400, "InvalidArgument"),
        (vec![("key".into(), "u/x".into())], b"x", 403, "AccessDenied"),
        (
            vec![("AWSAccessKeyId".into(), "K".into()), ("signature".into(), "s".into())],
            b"x",
            400,
            "InvalidRequest",
        ),
    ] {
        wire.send(form(&fields, file)).await.expect(status).fails(code);
    }
    let expired: Vec<_> = [("key".to_owned(), "u/x".to_owned())]
        .into_iter()
        .chain(form_fields(&ask("POST", "/photos"), CONDITIONS, -60))
        .collect();
    wire.send(form(&expired, b"x")).await.expect(403).fails("AccessDenied");
    let no_boundary =
        ask("POST", "/photos").anonymous().header("content-type", "multipart/form-data").body("x");
    wire.send(no_boundary).await.expect(400).fails("MalformedPOSTRequest");
    assert_eq!(wire.state().await, before);
}

#[tokio::test]
async fn the_answer_is_the_one_asked_for() {
    let wire = Wire::new().await;
    let conditions = format!(
        "{CONDITIONS},[\"starts-with\",\"$success_action_status\",\"\"],[\"starts-with\",\"$success_action_redirect\",\"\"]"
    );
    let with = |name: &str, value: &str| {
        let mut fields = form_fields(&ask("POST", "/photos"), &conditions, 60);
        fields.push(("key".into(), "u/k".into()));
        fields.push((name.into(), value.into()));
        form(&fields, b"x")
    };
    wire.send(with("success_action_status", "200")).await.expect(200);
    wire.send(with("success_action_status", "999")).await.expect(204);
    let created = wire.send(with("success_action_status", "201")).await.expect(201);
    assert_eq!(
        (created.element("Bucket").as_deref(), created.element("Key").as_deref()),
        (Some("photos"), Some("u/k"))
    );
    let redirect = wire.send(with("success_action_redirect", "http://example.com/done")).await.expect(303);
    assert!(
        redirect
            .header("location")
            .unwrap()
            .starts_with("http://example.com/done?bucket=photos&key=u%2Fk&etag=")
    );
}
