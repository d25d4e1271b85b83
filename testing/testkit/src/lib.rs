//! Real servers for tests: each on ports of its own, with data of its own, gone when the test is.
//!
//! Their programs come from PyPI by way of `tools/test-env`; the product's own is the one that cargo built
//! beside the test. One that is missing is an error that names the command to get it, never a skipped test.

mod bao;
mod certificate;
mod disk;
mod faketime;
mod jwt;
mod orchestrator;
mod ports;
mod process;
mod proxy;
mod raw;
mod s3;
mod tools;
mod watchdog;
pub mod wire;

pub use bao::{Bao, BaoCluster};
pub use disk::SmallDisk;
pub use faketime::MovedClock;
pub use jwt::JwtIssuer;
pub use orchestrator::{ConfigBuilder, Orchestrator};
pub use ports::free_ports;
pub use process::{Process, ProcessOptions};
pub use proxy::{Fault, FaultProxy};
pub use raw::{RawConnection, RawServer, content_length};
pub use s3::{Moto, S3Server, Seaweed, shared_moto, shared_seaweed};
pub use tools::{node_modules, system_path, system_tool, tool, workspace};
