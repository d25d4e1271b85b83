//! Uploads in parts, against SeaweedFS and moto.

use bytes::Bytes;
use s3_client::{ErrorKind, PutBody, S3Client, StoredPart, UploadPart};
use testkit::{S3Server, shared_moto, shared_seaweed};

use crate::common::{chunked, pattern, read};

const PART_BYTES: usize = 5 << 20;

async fn client_of(server: &S3Server) -> S3Client {
    S3Client::new(server.new_bucket().await).expect("the options are legal")
}

async fn upload(client: &S3Client, upload: &str, number: u32, body: PutBody) -> StoredPart {
    let part = UploadPart { key: "dir/a +b", upload, number, body };
    client.upload_part(part).await.unwrap_or_else(|error| panic!("part {number}: {error}"))
}

/// What is stored is the parts, the later of two with one number; nothing is there before the completion.
async fn parts_become_an_object(server: &S3Server) {
    let (client, key) = (client_of(server).await, "dir/a +b");
    let data = pattern(2 * PART_BYTES + 77);
    let id = client.create_multipart_upload(key).await.unwrap();
    upload(&client, &id, 1, PutBody::Bytes(pattern(PART_BYTES + 1))).await;
    let parts = [
        upload(&client, &id, 1, PutBody::Bytes(data.slice(..PART_BYTES))).await,
        upload(&client, &id, 2, chunked(&data.slice(PART_BYTES..2 * PART_BYTES), 70_001)).await,
        upload(&client, &id, 3, PutBody::Bytes(data.slice(2 * PART_BYTES..))).await,
    ];
    assert_eq!(client.head_object(key).await.unwrap_err().kind, ErrorKind::NotFound);
    let open = client.list_multipart_uploads("dir/").await.unwrap();
    assert!(open.iter().any(|open| open.upload == id && open.key == key), "{open:?}");

    let stored = client.complete_multipart_upload(key, &id, &parts).await.unwrap();
    assert!(stored.etag.is_some_and(|etag| etag.ends_with("-3")));
    let object = client.get_object(key, None).await.unwrap();
    assert!(read(object.body).await.unwrap() == data, "the object is not its parts");
}

async fn an_aborted_upload_leaves_nothing(server: &S3Server) {
    let (client, key) = (client_of(server).await, "dir/a +b");
    let id = client.create_multipart_upload(key).await.unwrap();
    let part = upload(&client, &id, 1, PutBody::Bytes(Bytes::from_static(b"x"))).await;
    client.abort_multipart_upload(key, &id).await.unwrap();
    client.abort_multipart_upload(key, &id).await.expect("what is gone is gone");
    // moto fails with 500 here, where others refuse.
    client.complete_multipart_upload(key, &id, &[part]).await.expect_err("what is gone cannot be completed");
    assert_eq!(client.head_object(key).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.list_multipart_uploads("").await.unwrap(), []);
}

/// A completion that names what is not there makes no object.
async fn a_wrong_completion_is_refused(server: &S3Server) {
    let (client, key) = (client_of(server).await, "dir/a +b");
    let id = client.create_multipart_upload(key).await.unwrap();
    upload(&client, &id, 1, PutBody::Bytes(Bytes::from_static(b"x"))).await;
    let wrong = StoredPart { number: 2, etag: "0123456789abcdef0123456789abcdef".to_owned() };
    let error = client.complete_multipart_upload(key, &id, &[wrong]).await.unwrap_err();
    assert!(error.code.as_deref().is_some_and(|code| code.starts_with("InvalidPart")), "{error}");
    assert_eq!(client.head_object(key).await.unwrap_err().kind, ErrorKind::NotFound);
}

macro_rules! on_both {
    ($($check:ident)*) => {
        mod on_seaweed {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                super::$check(super::shared_seaweed().await).await;
            }
        )*}
        mod on_moto {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                super::$check(super::shared_moto().await).await;
            }
        )*}
    };
}

on_both! {
    parts_become_an_object
    an_aborted_upload_leaves_nothing
    a_wrong_completion_is_refused
}
