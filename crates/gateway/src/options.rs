//! The gateway's settings.

use std::time::Duration;

use crate::admission::AdmissionOptions;
use crate::rate_limit::RateLimitOptions;

/// How the gateway behaves. Each value is a setting.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Domains under which `bucket.domain` names a bucket. Path style works always.
    pub domains: Vec<String>,
    /// The region that we are. Signatures for it, `us-east-1` and `auto` are accepted.
    pub region: String,
    /// Whether clients speak TLS with us: what `Location` answers begin with.
    pub https: bool,
    /// Largest body of one PUT or part, in bytes; `None` is unlimited.
    pub object_bytes_max: Option<u64>,
    /// Largest file of a browser's POST, in bytes. It is held in memory.
    pub form_file_bytes_max: usize,
    /// How many browser POSTs may hold a file in memory at once.
    pub forms_max: usize,
    /// Bytes that all XML bodies of clients together may hold in memory.
    pub xml_budget_bytes: usize,
    /// Most header values in one request.
    pub header_values_max: usize,
    /// A client that sends no byte of its body for this long has gone away.
    pub body_idle_timeout: Duration,
    /// How many requests are admitted.
    pub admission: AdmissionOptions,
    /// How many requests a client may make; `None` is unlimited.
    pub rate_limit: Option<RateLimitOptions>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<crate::client_ip::Network>,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            region: "us-east-1".to_owned(),
            https: false,
            object_bytes_max: Some(5 << 30),
            form_file_bytes_max: 16 << 20,
            forms_max: 4,
            xml_budget_bytes: 32 << 20,
            header_values_max: 500,
            body_idle_timeout: Duration::from_secs(60),
            admission: AdmissionOptions::default(),
            rate_limit: None,
            trusted_proxies: Vec::new(),
        }
    }
}
