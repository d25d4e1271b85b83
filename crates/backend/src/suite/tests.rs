//! The suite finds what is broken.

use std::sync::Arc;

use super::*;
use crate::{ErrorKind, Fault, FaultBackend, Faults, MemoryBackend, Operation};

/// Runs the suite over a backend that always does this wrong.
async fn run_broken(operation: Operation, fault: Fault) {
    run_all(async |_: &str| {
        let memory = MemoryBackend::new(types::BackendName::parse("broken").unwrap());
        let faults = Faults::none();
        faults.always(operation, fault);
        Arc::new(FaultBackend::new(Arc::new(memory), faults)) as Arc<dyn Backend>
    })
    .await;
}

#[tokio::test]
#[should_panic(expected = "bodies::sizes_round_trip: 1 bytes came back changed")]
async fn a_wrong_bit_is_found() {
    run_broken(Operation::Get, Fault::FlipBit { at: 70_000 }).await;
}

#[tokio::test]
#[should_panic(expected = "bodies::five_mebibytes_round_trip")]
async fn a_download_that_is_cut_is_found() {
    run_broken(Operation::Get, Fault::Truncate { at: 5_000_000 }).await;
}

#[tokio::test]
#[should_panic(expected = "failures::what_was_deleted_is_gone")]
async fn a_delete_that_fails_is_found() {
    run_broken(Operation::Delete, Fault::Refuse(ErrorKind::Denied)).await;
}

#[tokio::test]
#[should_panic(
    expected = "failures::a_failed_body_leaves_nothing: put fails/10/0 failed as unknown, expected bad_body"
)]
async fn blaming_the_backend_for_a_bad_body_is_found() {
    run_broken(Operation::Put, Fault::BreakAtChunk(1_000_000)).await;
}

#[tokio::test]
async fn every_case_has_a_name_of_its_own() {
    let mut names: Vec<_> = CASES.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CASES.len());
}
