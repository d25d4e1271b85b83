//! The operations: each reads what the request says, calls one verb of the engine, and writes the answer.

mod attributes;
mod buckets;
mod copy;
mod delete;
mod get;
mod list;
mod multipart;
mod put;
mod tagging;
mod uploads;
mod xml_body;

pub(crate) use attributes::get_object_attributes;
pub(crate) use buckets::{
    create_bucket, delete_bucket, get_bucket_location, get_bucket_versioning, head_bucket, list_buckets,
};
pub(crate) use copy::{copy_object, upload_part_copy};
pub(crate) use delete::{delete_object, delete_objects};
pub(crate) use get::{get_object, head_object};
pub(crate) use list::{list_objects, list_objects_v2};
pub(crate) use multipart::location_of;
pub(crate) use multipart::{
    abort_multipart_upload, complete_multipart_upload, create_multipart_upload, upload_part,
};
pub(crate) use put::put_object;
pub(crate) use tagging::{delete_object_tagging, get_object_tagging, put_object_tagging};
pub(crate) use uploads::{list_multipart_uploads, list_parts};
