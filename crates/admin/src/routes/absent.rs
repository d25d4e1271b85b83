//! Routes of the Go program that are not here: each says why, and what to use in its place.

use http::StatusCode;

use crate::answer::Refused;

/// The first segment of a route, and what is said of it.
const ABSENT: &[(&str, &str)] = &[
    ("cleanup-dlq", "no delete is ever given up, so there is no queue of such: see `cleanup-queue`"),
    ("usage-reconcile", "usage is exact, for bytes are charged in the transaction that names them"),
    ("reload-status", "a configuration is read at the start of the process: this release does not reload it"),
    ("rotate-encryption-key", "this release does not encrypt"),
    ("encrypt-existing", "this release does not encrypt"),
    ("decrypt-existing", "this release does not encrypt"),
    ("compress-existing", "this release does not compress"),
    ("decompress-existing", "this release does not compress"),
    ("cache", "this release keeps no bodies of objects in memory"),
    ("logs", "this release keeps no log in memory: it is on the standard output of the process"),
    ("object-scrub", "`scrub` proves replicas in rounds that come to each one"),
    ("objects", "objects are read and written over S3"),
    ("provisioning", "buckets and credentials are those of the configuration"),
    ("buckets", "buckets and credentials are those of the configuration"),
    ("users", "buckets and credentials are those of the configuration"),
    ("credentials", "buckets and credentials are those of the configuration"),
    ("grants", "buckets and credentials are those of the configuration"),
    ("trace", "this release records no trace"),
];

/// The answer to a route that is known and not here.
pub(crate) fn refusal(segments: &[&str]) -> Option<Refused> {
    let (_, why) = ABSENT.iter().find(|(name, _)| segments.first() == Some(name))?;
    Some(Refused::new(StatusCode::NOT_IMPLEMENTED, *why))
}
