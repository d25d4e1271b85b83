//! A bucket. A snapshot's length is not known beforehand, so it is uploaded in parts; the completion names it.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use config::snapshot::S3Target;
use futures::{StreamExt, TryStreamExt};
use s3_client::{
    ClientOptions, Credentials, Error, ErrorKind, PutBody, PutObject, S3Client, StoredPart, Timeouts,
    UploadPart,
};
use snapshot::Chunks;
use types::Timestamp;

use crate::place::{File, Place, Upload};

/// Bytes of a part, and so the memory that a bucket needs. Ten thousand of them are 156 GiB.
const PART_BYTES: usize = 16 * 1024 * 1024;
/// How often a part is sent before its destination is given up.
const SENDS_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);
/// Records and pointers are a hundredth of this.
const SMALL_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Bucket {
    client: S3Client,
    prefix: String,
}

impl Bucket {
    /// `stall`: for how long the provider may take or give no byte.
    pub(crate) fn new(target: &S3Target, stall: Duration) -> io::Result<Self> {
        let credentials = Credentials {
            access_key_id: target.access_key_id.as_str().to_owned(),
            secret_access_key: target.secret_access_key.expose().to_owned(),
            session_token: None,
        };
        let extra_ca_pem = target.ca_file.as_ref().map(std::fs::read).transpose()?;
        let client = S3Client::new(ClientOptions {
            region: target.region.clone(),
            path_style: target.force_path_style,
            extra_ca_pem,
            timeouts: Timeouts { stall, response_header: stall, ..Timeouts::default() },
            user_agent: concat!("vault-snapshot/", env!("CARGO_PKG_VERSION")).into(),
            ..ClientOptions::new(target.endpoint.as_str(), &target.bucket, credentials)
        })
        .map_err(failed)?;
        Ok(Self { client, prefix: target.prefix.clone() })
    }

    fn key(&self, file: &str) -> String {
        format!("{}{file}", self.prefix)
    }
}

#[async_trait]
impl Place for Bucket {
    async fn list(&self, prefix: &str) -> io::Result<Vec<File>> {
        let (mut files, mut token) = (Vec::new(), None);
        loop {
            let page = self.client.list_objects(&self.key(prefix), token.as_deref()).await.map_err(failed)?;
            files.extend(page.objects.into_iter().filter_map(|object| {
                let name = object.key.strip_prefix(&self.prefix)?.to_owned();
                Some(File { name, size: object.size })
            }));
            token = page.next;
            if token.is_none() {
                return Ok(files);
            }
        }
    }

    async fn begin(&self, file: &str) -> io::Result<Box<dyn Upload>> {
        let (client, key) = (self.client.clone(), self.key(file));
        let upload = client.create_multipart_upload(&key).await.map_err(failed)?;
        Ok(Box::new(Parts { client, key, upload, pending: Vec::new(), parts: Vec::new() }))
    }

    async fn read(&self, file: &str) -> io::Result<Chunks> {
        let object = self.client.get_object(&self.key(file), None).await.map_err(failed)?;
        Ok(Box::pin(object.body.map_err(failed)))
    }

    async fn read_small(&self, file: &str) -> io::Result<Option<Vec<u8>>> {
        let mut object = match self.client.get_object(&self.key(file), None).await {
            Ok(object) => object,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut text = Vec::new();
        while let Some(chunk) = object.body.next().await {
            text.extend_from_slice(&chunk.map_err(failed)?);
            if text.len() > SMALL_BYTES_MAX {
                return Err(io::Error::other(format!("{file} is longer than {SMALL_BYTES_MAX} bytes")));
            }
        }
        Ok(Some(text))
    }

    async fn write_small(&self, file: &str, text: Vec<u8>) -> io::Result<()> {
        let put = PutObject { key: &self.key(file), body: PutBody::Bytes(text.into()), metadata: &[] };
        self.client.put_object(put).await.map(drop).map_err(failed)
    }

    async fn remove(&self, file: &str) -> io::Result<()> {
        self.client.delete_object(&self.key(file)).await.map(drop).map_err(failed)
    }

    async fn sweep(&self, prefix: &str, before: Timestamp) -> io::Result<()> {
        for open in self.client.list_multipart_uploads(&self.key(prefix)).await.map_err(failed)? {
            if open.begun.is_some_and(|begun| begun < before) {
                tracing::info!(key = open.key, "aborting an upload that a run left half done");
                self.client.abort_multipart_upload(&open.key, &open.upload).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}

struct Parts {
    client: S3Client,
    key: String,
    upload: String,
    pending: Vec<u8>,
    parts: Vec<StoredPart>,
}

impl Parts {
    /// Sends what is pending as a part, again where it may help: a part that is sent twice is one part.
    async fn send(&mut self) -> io::Result<()> {
        let body = Bytes::from(std::mem::take(&mut self.pending));
        let number = u32::try_from(self.parts.len() + 1).expect("a server ends the upload long before");
        let mut sends = 1;
        loop {
            let body = PutBody::Bytes(body.clone());
            let part = UploadPart { key: &self.key, upload: &self.upload, number, body };
            match self.client.upload_part(part).await {
                Ok(part) => {
                    self.parts.push(part);
                    return Ok(());
                }
                Err(error) if sends < SENDS_MAX && may_pass(error.kind) => {
                    tracing::warn!(part = number, "sending a part again: {error}");
                }
                Err(error) => return Err(failed(error)),
            }
            runtime::sleep(PAUSE * sends).await;
            sends += 1;
        }
    }
}

fn failed(error: Error) -> io::Error {
    io::Error::other(error)
}

fn may_pass(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Throttled { .. } | ErrorKind::ServerFault | ErrorKind::NoAnswer)
}

#[async_trait]
impl Upload for Parts {
    async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        let mut chunk = &chunk[..];
        while !chunk.is_empty() {
            if self.pending.capacity() == 0 {
                self.pending.reserve_exact(PART_BYTES);
            }
            let (now, later) = chunk.split_at(chunk.len().min(PART_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            chunk = later;
            if self.pending.len() == PART_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> io::Result<()> {
        let sent = if self.pending.is_empty() && !self.parts.is_empty() { Ok(()) } else { self.send().await };
        let completed = match sent {
            Ok(()) => {
                let done = self.client.complete_multipart_upload(&self.key, &self.upload, &self.parts).await;
                match done {
                    Ok(_) => return Ok(()),
                    // The answer was lost: it may have been done, and reading it back will tell.
                    Err(error) if !error.nothing_happened() => {
                        if self.client.head_object(&self.key).await.is_ok() {
                            return Ok(());
                        }
                        Err(failed(error))
                    }
                    Err(error) => Err(failed(error)),
                }
            }
            Err(error) => Err(error),
        };
        self.abort().await;
        completed
    }

    async fn abort(self: Box<Self>) {
        if let Err(error) = self.client.abort_multipart_upload(&self.key, &self.upload).await {
            tracing::warn!(key = self.key, "the parts of an aborted upload may still lie there: {error}");
        }
    }
}
