//! `compression`, `integrity` and `cache`.

use std::time::Duration;

use crate::report::Place;
use crate::scalar::choice;
use crate::section::{or, section};
use crate::units::ByteSize;

choice! {
    /// How hard bytes are compressed.
    pub enum CompressionLevel ("fastest, default, better or best") {
        /// Least work.
        Fastest = "fastest",
        /// A good bargain.
        Default = "default",
        /// More work, fewer bytes.
        Better = "better",
        /// Most work, fewest bytes.
        Best = "best",
    }
}

section! {
    /// Compression of stored bytes with zstd.
    pub struct Compression {
        /// Whether new blobs are compressed.
        pub enabled: bool = or(false),
        /// fastest, default, better or best.
        pub level: CompressionLevel = or(CompressionLevel::Default),
        /// Bytes compressed as one piece, 16 KiB to 64 MiB. A range costs whole pieces.
        pub chunk_size: ByteSize = or(ByteSize::mib(1)),
        /// Smaller objects are stored as they are.
        pub min_size: ByteSize = or(ByteSize(4096)),
        /// Objects that do not shrink to this share are stored as they are.
        pub min_ratio: f64 = or(0.95),
    }
}

section! {
    /// Verifying what lies on the backends.
    pub struct Integrity {
        /// Whether replicas at rest are read and proved from time to time, see scrubber_interval. Costs egress.
        pub enabled: bool = or(false),
        /// Verify each body that is read.
        pub verify_on_read: bool = or(false),
        /// Verify each replica that is made.
        pub verify_on_replicate: bool = or(false),
        /// Pause between two runs over replicas at rest; 0 is never.
        pub scrubber_interval: Duration = or(Duration::ZERO),
        /// Replicas verified in one run.
        pub scrubber_batch_size: u32 = or(100_u32),
        /// Replicas written or verified more recently are left out; 0 leaves none out.
        pub scrubber_min_age: Duration = or(Duration::from_secs(24 * 3600)),
    }
}

section! {
    /// Keeping bodies in memory.
    pub struct Cache {
        /// Whether bodies are kept.
        pub enabled: bool = or(false),
        /// Bytes of all kept bodies.
        pub max_size: ByteSize = or(ByteSize::mib(256)),
        /// Largest body that is kept.
        pub max_object_size: ByteSize = or(ByteSize::mib(10).min(max_size)),
        /// How long a body is kept.
        pub ttl: Duration = or(Duration::from_secs(300)),
    }
}

impl Compression {
    pub(crate) fn check(&self, at: &Place<'_>) {
        if !((16 << 10)..=(64 << 20)).contains(&self.chunk_size.0) {
            at.key("chunk_size").refuse("must lie between 16KB and 64MB");
        }
        if self.min_ratio <= 0.0 || self.min_ratio > 1.0 {
            at.key("min_ratio").refuse("must be above 0 and at most 1");
        }
    }
}

impl Integrity {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("scrubber_batch_size").at_least(self.scrubber_batch_size, 1);
    }
}

impl Cache {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("max_size").at_least(self.max_size.0, 1);
        at.key("max_object_size").at_least(self.max_object_size.0, 1);
        at.key("ttl").above_zero(self.ttl);
        if self.max_object_size > self.max_size && at.sound(&["max_object_size", "max_size"]) {
            at.key("max_object_size").refuse("must not be above max_size");
        }
    }
}
