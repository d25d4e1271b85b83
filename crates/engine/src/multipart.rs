//! Multipart uploads. A part is written like any other body; completing moves no byte.

use std::sync::Arc;

use catalog::{CatalogError, CommitPart, Part, ReserveFor, Upload};
use types::{ETag, ObjectKey, UploadId};

use crate::completion::{self, Rules};
use crate::describe::describe;
use crate::engine::Engine;
use crate::intake::Intake;
use crate::recent::Forgetting;
use crate::write::WriteFor;
use crate::{Bucket, CompleteUpload, CreateUpload, EngineError, PutPart, Stored, StoredPart};

impl Engine {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`EngineError::TooManyUploads`].
    pub async fn create_upload(&self, request: CreateUpload) -> Result<UploadId, EngineError> {
        let shared = &self.shared;
        let upload = Upload {
            upload: shared.ids.upload(),
            bucket: request.bucket.id,
            key: request.key,
            initiated: shared.clock.now(),
            headers: request.headers,
            metadata: request.metadata,
            tags: request.tags,
            checksum_algorithm: request.checksum_algorithm.map(|algorithm| algorithm.as_str().to_owned()),
            checksum_type: request.checksum_full_object.map(|full| completion::type_name(full).to_owned()),
            client: request.client,
        };
        let create = catalog::CreateUpload {
            change: shared.ids.change(),
            upload,
            bucket_name: request.bucket.name,
            open_max: request.open_max,
        };
        shared.repeat(|| shared.catalog.create_upload(create.clone())).await?;
        Ok(create.upload.upload)
    }

    /// An open upload.
    ///
    /// # Errors
    /// [`EngineError::NoSuchUpload`] also where it belongs to another bucket or key.
    pub async fn find_upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<Upload, EngineError> {
        self.shared.catalog.find_upload(upload, bucket.id, key).await?.ok_or(EngineError::NoSuchUpload)
    }

    /// Uploads a part: reserve, stream, commit. A part of that number from before is replaced.
    ///
    /// # Errors
    /// [`EngineError::NoSuchUpload`], and those of [`Self::put_object`].
    pub async fn put_part(&self, request: PutPart) -> Result<StoredPart, EngineError> {
        let PutPart { bucket, key, upload, number, body } = request;
        let shared = &self.shared;
        let size = body.length;
        shared.check_size(size)?;
        let purpose = ReserveFor::Part { upload, bucket: bucket.id, key: key.clone() };
        let says = describe(&bucket.name, &key, &catalog::ObjectHeaders::default(), &Vec::new());
        let write = WriteFor { bucket: &bucket, key: &key, purpose, says };
        let written = shared.write_body(write, Intake::new(body, &shared.hashers)).await?;

        let part = Part {
            number,
            size,
            etag: ETag::of_md5(written.proof.md5),
            modified: shared.clock.now(),
            checksums: written.proof.checksums,
        };
        let commit = CommitPart {
            change: shared.ids.change(),
            owner: shared.boot,
            upload,
            bucket: bucket.id,
            key,
            part,
            blobs: written.blobs,
            manifest: shared.ids.manifest(),
        };
        match shared.repeat(|| shared.catalog.commit_part(commit.clone())).await {
            Ok(()) => {
                written.held.committed();
                shared.reap.ring();
                shared.call_for_repair(&commit.blobs);
                let Part { etag, modified, checksums, .. } = commit.part;
                Ok(StoredPart { etag, modified, checksums, backends: written.backends })
            }
            Err(error) => {
                written.held.let_go().await;
                Err(error.into())
            }
        }
    }

    /// Completes an upload in one transaction. Repeating it with the same parts gives the same answer.
    ///
    /// # Errors
    /// [`EngineError::Completion`] for parts that do not fit, [`EngineError::NoSuchUpload`],
    /// [`EngineError::PreconditionFailed`]; the upload stays open.
    pub async fn complete_upload(&self, request: CompleteUpload) -> Result<Stored, EngineError> {
        let shared = &self.shared;
        let rules = Rules {
            part_bytes_min: shared.settings.part_bytes_min,
            object_bytes_max: shared.settings.object_bytes_limit(),
            at: shared.clock.now(),
        };
        let complete = catalog::CompleteUpload {
            change: shared.ids.change(),
            at: rules.at,
            upload: request.upload,
            bucket: request.bucket.id,
            key: request.key.clone(),
            precondition: request.precondition.clone(),
            manifest: shared.ids.manifest(),
            fingerprint: completion::fingerprint(&request.parts),
            decide: Arc::new(move |upload, parts| completion::decide(&rules, &request, upload, parts)),
        };
        let _forgetting = Forgetting::new(&shared.recent, complete.bucket, vec![complete.key.clone()]);
        let answer = shared.repeat(|| shared.catalog.complete_upload(complete.clone())).await;
        shared.reap.ring();
        let state = answer?.state;
        let (size, etag, modified) = (state.size, state.etag, state.modified);
        Ok(Stored { size, etag, modified, checksums: state.checksums, backends: Vec::new() })
    }

    /// Gives an upload up; its parts are doomed.
    ///
    /// # Errors
    /// [`EngineError::NoSuchUpload`].
    pub async fn abort_upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<(), EngineError> {
        let shared = &self.shared;
        let abort = catalog::AbortUpload {
            change: shared.ids.change(),
            at: shared.clock.now(),
            upload,
            bucket: bucket.id,
            key: key.clone(),
        };
        let answer: Result<(), CatalogError> =
            shared.repeat(|| shared.catalog.abort_upload(abort.clone())).await;
        shared.reap.ring();
        Ok(answer?)
    }
}
