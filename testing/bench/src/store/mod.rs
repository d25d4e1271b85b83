//! An S3 server in memory: fast, and asks for no signature.
//!
//! It does what the S3 driver asks of a provider: put, get with ranges, head, delete, delete many, list,
//! copy within a bucket. Equal pieces of bodies are kept once, so that it can hold terabytes of
//! [`Content`](crate::content::Content); reads return the true bytes.

mod answer;
mod objects;
mod xml;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3_client::{ClientOptions, Credentials};
use tokio::net::{TcpListener, TcpStream};

use self::objects::Objects;
pub use self::objects::{Object, Pieces};

/// Largest read of a connection, in bytes.
const READ_BYTES_MAX: usize = 512 * 1024;

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct Store {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    objects: Arc<Objects>,
    _task: runtime::Task<()>,
}

impl Store {
    /// Starts one on the present runtime. Buckets are there as soon as they are named.
    ///
    /// # Panics
    /// Where the machine has no free port.
    pub async fn start() -> Self {
        Self::start_slow(Duration::ZERO).await
    }

    /// Starts one that pauses before it takes the next MiB of a body.
    ///
    /// # Panics
    /// Where the machine has no free port.
    pub async fn start_slow(pause: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("the machine has a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let objects = Arc::new(Objects::new(pause));
        let task = runtime::spawn(accept(listener, Arc::clone(&objects)));
        Self { endpoint, objects, _task: task }
    }

    /// How to speak to a bucket of it.
    #[must_use]
    pub fn options(&self, bucket: &str) -> ClientOptions {
        let credentials = Credentials {
            access_key_id: "store".to_owned(),
            secret_access_key: "store".to_owned(),
            session_token: None,
        };
        ClientOptions::new(&self.endpoint, bucket, credentials)
    }

    /// What it would bill so far: requests, bytes of objects read, bytes of objects written.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        let counts = &self.objects.counts;
        [&counts.requests, &counts.bytes_out, &counts.bytes_in].map(|count| count.load(Ordering::SeqCst))
    }

    /// What lies in a bucket, in the order of the keys.
    #[must_use]
    pub fn objects(&self, bucket: &str) -> Vec<(String, Object)> {
        self.objects.list(bucket, "", "", usize::MAX)
    }
}

async fn accept(listener: TcpListener, objects: Arc<Objects>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => running.push(runtime::spawn(serve(stream, Arc::clone(&objects)))),
                // Out of file descriptors, perhaps: as good as no server.
                Err(_) => return,
            },
            Some(_) = running.next() => {}
        }
    }
}

async fn serve(stream: TcpStream, objects: Arc<Objects>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let objects = Arc::clone(&objects);
        async move {
            objects.counts.requests.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(answer::answer(&objects, request).await)
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.max_buf_size(READ_BYTES_MAX);
    // A client that goes away in the middle is no news.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use s3_client::{PutObject, S3Client};
    use types::ByteRange;

    use super::*;
    use crate::content::Content;

    async fn client() -> (Store, S3Client) {
        let store = Store::start().await;
        let client = S3Client::new(store.options("b")).unwrap();
        (store, client)
    }

    async fn put(client: &S3Client, key: &str, content: Content) {
        let metadata = [("k".to_owned(), "v".to_owned())];
        client.put_object(PutObject { key, body: content.put_body(), metadata: &metadata }).await.unwrap();
    }

    async fn get(client: &S3Client, key: &str, range: Option<ByteRange>) -> Vec<u8> {
        let object = client.get_object(key, range).await.unwrap();
        let chunks: Vec<_> = object.body.try_collect().await.unwrap();
        chunks.concat()
    }

    #[tokio::test]
    async fn what_is_put_is_read_back() {
        let (store, client) = client().await;
        for (seed, length) in [(1, 0), (2, 4096), (3, (2 << 20) + 5)] {
            let content = Content { seed, length };
            let key = format!("a key/{seed} ü+");
            put(&client, &key, content).await;
            assert!(content.equals([get(&client, &key, None).await.into()]));
            let info = client.head_object(&key).await.unwrap();
            assert_eq!((info.size, info.metadata.len()), (length, 1));
        }
        let all = get(&client, "a key/3 ü+", None).await;
        let across = ByteRange::new((1 << 20) - 3, 7);
        assert_eq!(get(&client, "a key/3 ü+", Some(across)).await, &all[(1 << 20) - 3..(1 << 20) + 4]);
        client.copy_object("a key/3 ü+", "copy").await.unwrap();
        assert_eq!(get(&client, "copy", None).await, all);
        assert_eq!(store.objects("b").len(), 4);
    }

    #[tokio::test]
    async fn listings_have_pages_and_deletes_free() {
        let (store, client) = client().await;
        for index in 0..1_003 {
            put(&client, &format!("p/<{index:04}>&"), Content { seed: 1, length: 3 }).await;
        }
        put(&client, "q", Content { seed: 1, length: 3 }).await;
        let first = client.list_objects("p/", None).await.unwrap();
        let second = client.list_objects("p/", first.next.as_deref()).await.unwrap();
        assert_eq!((first.objects.len(), second.objects.len(), second.next), (1_000, 3, None));
        assert_eq!(second.objects[0].key, "p/<1000>&");
        let keys: Vec<&str> = first.objects.iter().map(|object| object.key.as_str()).collect();
        assert!(client.delete_objects(&keys).await.unwrap().iter().all(Result::is_ok));
        client.delete_object("q").await.unwrap();
        assert_eq!(store.objects("b").len(), 3);
        assert!(client.get_object("q", None).await.is_err());
        client.head_bucket().await.unwrap();
        assert_eq!(client.get_bucket_versioning().await.unwrap(), s3_client::Versioning::Off);
    }

    #[tokio::test]
    async fn equal_pieces_are_kept_once() {
        let (store, client) = client().await;
        for key in ["one", "two"] {
            put(&client, key, Content { seed: 1, length: 1 << 30 }).await;
        }
        let objects = store.objects("b");
        assert!(objects.iter().all(|(_, object)| Content { seed: 1, length: 1 << 30 }.equals(object.pieces.iter().cloned())));
        let mut kept: Vec<_> =
            objects.iter().flat_map(|(_, object)| object.pieces.iter().map(|piece| piece.as_ptr())).collect();
        kept.sort_unstable();
        kept.dedup();
        assert_eq!(kept.len(), 61);
    }
}
