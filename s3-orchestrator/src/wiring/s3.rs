//! The S3 endpoint from its configuration: buckets, keys, bounds.

use config::Config;
use gateway::{
    AdmissionOptions, Credential, DeclaredBucket, Directory, DirectoryError, GatewayOptions, Network,
    RateLimitOptions,
};
use types::Timestamp;

/// The declared buckets and who may use them. A bucket counts as created when the deployment was.
pub(super) fn directory(
    config: &Config,
    ids: Vec<catalog::BucketId>,
    created: Timestamp,
) -> Result<Directory, DirectoryError> {
    let buckets = config.buckets.iter().zip(ids).map(|(bucket, id)| DeclaredBucket {
        bucket: engine::Bucket { id, name: bucket.name.clone() },
        created,
        multipart_uploads_max: (bucket.max_multipart_uploads > 0)
            .then(|| bucket.max_multipart_uploads.into()),
    });
    let credentials = config.buckets.iter().flat_map(|bucket| {
        let pairs = bucket.credentials.iter().filter_map(::config::Credential::key_pair);
        pairs.map(|(id, secret)| Credential {
            access_key: id.as_str().to_owned(),
            secret: secret.expose().to_owned(),
            buckets: vec![bucket.name.clone()],
        })
    });
    Directory::new(buckets.collect(), credentials.collect())
}

/// How the gateway behaves.
pub(super) fn options(config: &Config) -> GatewayOptions {
    let (server, limit) = (&config.server, &config.rate_limit);
    let admission = server.admission();
    let places = |bound: Option<u32>| bound.map_or(0, |places| places as usize);
    GatewayOptions {
        domains: server.domain.0.clone(),
        https: server.tls.is_some(),
        object_bytes_max: Some(server.max_object_size.bytes()),
        header_values_max: server.max_header_value_count as usize,
        body_idle_timeout: server.read_timeout,
        admission: AdmissionOptions {
            requests_max: places(admission.requests),
            reads_max: places(admission.reads),
            writes_max: places(admission.writes),
            shed_threshold: server.load_shed_threshold,
            wait: server.admission_wait,
        },
        rate_limit: limit.enabled.then_some(RateLimitOptions {
            requests_per_sec: limit.requests_per_sec,
            burst: limit.burst,
            forget_after: limit.cleanup_max_age,
        }),
        trusted_proxies: trusted_proxies(config),
        ..GatewayOptions::default()
    }
}

/// Whose `X-Forwarded-For` is believed.
pub(crate) fn trusted_proxies(config: &Config) -> Vec<Network> {
    config.rate_limit.trusted_proxies.iter().map(network).collect()
}

fn network(network: &config::Network) -> Network {
    network.to_string().parse().expect("a network of the configuration is printed as it is read")
}
