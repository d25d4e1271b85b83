//! The file format of `age` (`age-encryption.org/v1`), for public keys of the kind X25519: as much of it as it
//! takes to encrypt a stream for some recipients, and to open it again.
//!
//! Pure and pushed: bytes go in, bytes come out, nothing waits, and memory does not depend on the length. What is
//! written here any `age` can open, and the other way round.
//!
//! [`Opener`] gives out a chunk only once it is proved. What it has given out is the beginning of the plaintext;
//! that it is all of it, only [`Opener::finish`] says.

mod bech32;
mod header;
mod keys;
mod stream;

pub use header::OpenError;
pub use keys::{Identity, KeyError, Recipient};
pub use stream::{Opener, Sealer};
