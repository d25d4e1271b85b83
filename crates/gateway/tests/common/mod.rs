//! A gateway over a real engine, the SQLite catalog and memory backends; and a client that signs.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sign;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use backend::{Backend, MemoryBackend};
use bytes::Bytes;
use catalog::sqlite::Sqlite;
use catalog::suite::{Outage, Unreachable};
use catalog::{BackendSpec, Catalog, Deployment};
use engine::{Bucket, Engine, Parts, Place, Settings};
use format::PathGrammar;
use gateway::{
    Credential, DeclaredBucket, Directory, Gateway, GatewayOptions, Observer, Rejection, RequestRecord,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use runtime::{Chance, Clock, Ids};
use types::{BackendName, BucketName};

pub use sign::{Payload, crc32, encode_path, form_fields};

pub const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// Sees bucket `other` only.
pub const OTHER_KEY: &str = "OTHERKEY";
pub const OTHER_SECRET: &str = "other-secret";

/// Remembers what it was told.
#[derive(Default)]
pub struct Seen {
    pub records: Mutex<Vec<RequestRecord>>,
    pub rejections: Mutex<Vec<Rejection>>,
    pub inflight: Mutex<BTreeMap<&'static str, i64>>,
}

impl Observer for Seen {
    fn request(&self, record: &RequestRecord) {
        self.records.lock().unwrap().push(record.clone());
    }

    fn inflight(&self, method: &'static str, change: i64) {
        *self.inflight.lock().unwrap().entry(method).or_default() += change;
    }

    fn rejected(&self, rejection: Rejection) {
        self.rejections.lock().unwrap().push(rejection);
    }
}

/// A gateway with buckets `photos` and `backups` of one key, `other` of another.
pub struct Wire {
    pub gateway: Arc<Gateway>,
    pub engine: Engine,
    pub store: Arc<MemoryBackend>,
    pub seen: Arc<Seen>,
    /// What is wrong with the catalog.
    pub outage: Outage,
    buckets: Vec<DeclaredBucket>,
}

fn directory(buckets: &[DeclaredBucket], keys: &[(&str, &str, &str)]) -> Directory {
    let credentials = keys.iter().map(|(key, secret, bucket)| Credential {
        access_key: (*key).into(),
        secret: (*secret).into(),
        buckets: vec![BucketName::parse(bucket).unwrap()],
    });
    Directory::new(buckets.to_vec(), credentials.collect()).unwrap()
}

impl Wire {
    pub async fn new() -> Self {
        Self::with(GatewayOptions::default()).await
    }

    pub async fn with(options: GatewayOptions) -> Self {
        let settings = Settings { part_bytes_min: 5, object_bytes_max: Some(1 << 40), ..Settings::default() };
        let clock = Clock::system();
        let chance = Chance::from_os();
        let ids = Ids::new(clock.clone(), chance.clone());
        let sqlite = Arc::new(Sqlite::in_memory().unwrap());
        let boot = ids.boot();
        sqlite.begin_boot(boot, clock.now()).await.unwrap();
        let name = BackendName::parse("store").unwrap();
        let spec = BackendSpec { name: name.clone(), late_arrival_ms: 0 };
        let id = sqlite.sync_backends(&[spec]).await.unwrap()[0];
        let names = ["photos", "backups", "other"].map(|name| BucketName::parse(name).unwrap());
        let numbers = sqlite.sync_buckets(&names, clock.now()).await.unwrap();
        let buckets: Vec<DeclaredBucket> = names
            .iter()
            .cloned()
            .zip(numbers)
            .map(|(name, id)| DeclaredBucket {
                bucket: Bucket { id, name },
                created: clock.now(),
                multipart_uploads_max: Some(20),
            })
            .collect();
        let directory = directory(
            &buckets,
            &[(KEY, SECRET, "photos"), (KEY, SECRET, "backups"), (OTHER_KEY, OTHER_SECRET, "other")],
        );
        let store = Arc::new(MemoryBackend::new(name));
        let backend: Arc<dyn Backend> = store.clone();
        let place = Place::new(id, backend, PathGrammar::new(""));
        let outage = Outage::default();
        let catalog: Arc<dyn Catalog> = Arc::new(Unreachable::new(sqlite, outage.clone()));
        let engine =
            Engine::new(Parts { catalog, places: vec![place], boot, settings, clock: clock.clone(), ids });
        let seen = Arc::new(Seen::default());
        let observer: Arc<dyn Observer> = seen.clone();
        let gateway = Arc::new(Gateway::new(engine.clone(), directory, options, (clock, chance), observer));
        Self { gateway, engine, store, seen, outage, buckets }
    }

    /// The same buckets with other keys: id, secret, bucket.
    pub fn directory(&self, keys: &[(&str, &str, &str)]) -> Directory {
        directory(&self.buckets, keys)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, ask: Ask) -> Reply {
        let request = ask.build();
        let peer: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let (parts, body) = self.gateway.call(request, peer).await.into_parts();
        let body = body.collect().await.map(|all| all.to_bytes()).map_err(|error| error.to_string());
        Reply { status: parts.status, headers: parts.headers, body: body.unwrap() }
    }

    pub async fn put(&self, path: &str, data: &[u8]) -> Reply {
        self.send(put(path, data)).await.expect(200)
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(get(path)).await
    }

    /// What the objects of a bucket are, to show that a request changed nothing.
    pub async fn state(&self) -> String {
        let mut state = String::new();
        for bucket in ["/photos", "/backups"] {
            for resource in ["list-type=2", "uploads"] {
                state.push_str(&self.send(get(bucket).query(resource)).await.expect(200).text());
            }
        }
        state
    }

    pub fn last_record(&self) -> RequestRecord {
        self.seen.records.lock().unwrap().last().unwrap().clone()
    }
}

/// A request to be.
#[derive(Clone)]
pub struct Ask {
    pub method: Method,
    /// Not encoded.
    pub path: String,
    pub query: Vec<(String, Option<String>)>,
    pub headers: Vec<(String, String)>,
    /// Put on behind the signature.
    pub unsigned: Vec<(String, String)>,
    pub body: Bytes,
    pub payload: Payload,
    pub key: String,
    pub secret: String,
    pub region: String,
    /// Seconds that the client's clock is ahead.
    pub skew: i64,
    /// Signs the URL, valid for so many seconds.
    pub presigned: Option<u64>,
    pub anonymous: bool,
}

pub fn ask(method: &str, path: &str) -> Ask {
    Ask {
        method: method.parse().unwrap(),
        path: path.into(),
        query: Vec::new(),
        headers: Vec::new(),
        unsigned: Vec::new(),
        body: Bytes::new(),
        payload: Payload::Signed,
        key: KEY.into(),
        secret: SECRET.into(),
        region: "us-east-1".into(),
        skew: 0,
        presigned: None,
        anonymous: false,
    }
}

pub fn get(path: &str) -> Ask {
    ask("GET", path)
}

pub fn put(path: &str, data: &[u8]) -> Ask {
    ask("PUT", path).body(data)
}

impl Ask {
    /// `a=1&b` as it is written, not encoded.
    pub fn query(mut self, text: &str) -> Self {
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').map_or((pair, None), |(n, v)| (n, Some(v.to_owned())));
            self.query.push((name.to_owned(), value));
        }
        self
    }

    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.into(), Some(value.into())));
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn unsigned(mut self, name: &str, value: &str) -> Self {
        self.unsigned.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Bytes::copy_from_slice(body.as_ref());
        self
    }

    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub fn by(mut self, key: &str, secret: &str) -> Self {
        self.key = key.into();
        self.secret = secret.into();
        self
    }

    pub fn presigned(mut self, seconds: u64) -> Self {
        self.presigned = Some(seconds);
        self
    }

    pub fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    pub fn build(self) -> Request<Full<Bytes>> {
        sign::build(self)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The answer, if its status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// The answer, if it is this error.
    #[track_caller]
    pub fn fails(self, code: &str) -> Self {
        assert_eq!(self.element("Code").as_deref(), Some(code), "{} {}", self.status, self.text());
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn etag(&self) -> String {
        self.header("etag").unwrap().to_owned()
    }

    /// The text of the first element of that name, entities as they stand.
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    /// The text of all elements of that name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        text.split(&open)
            .skip(1)
            .filter_map(|rest| rest.split_once(&close))
            .map(|(t, _)| t.to_owned())
            .collect()
    }
}
