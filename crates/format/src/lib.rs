//! Stored bytes, pure: where they lie, how they are proved, what a backend's marker says.
//!
//! No IO and no async. `docs/format.md` is the specification; the tests here hold its examples.

mod blocks;
mod marker;
mod path;
pub mod shipped;

pub use blocks::{BLOCK_BYTES, BlockError, BlockHasher, BlockVerifier, align_to_blocks, blocks_of};
pub use marker::Marker;
pub use path::{INTERNAL_BUCKET, PathGrammar, ReplicaName};
