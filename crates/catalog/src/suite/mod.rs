//! What every catalog promises. A database joins by one test that calls [`run_all`].

mod decisions;
mod expiry;
mod faults;
mod fleet;
mod imports;
mod instances;
mod limits;
mod moves;
mod objects;
mod outage;
mod reaping;
mod repair;
mod repeats;
mod strays;
mod uploads;
pub(crate) mod world;
mod writes;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::Catalog;
pub use faults::LosesAnswers;
pub use outage::{Outage, Unreachable};
pub(crate) use world::World;

/// A promise: its name, and what proves it.
type Case = (&'static str, fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>);

macro_rules! cases {
    ($($module:ident: $($name:ident),* $(,)?;)*) => {
        &[$($((stringify!($name), |world| Box::pin($module::$name(world)))),*),*]
    };
}

const CASES: &[Case] = cases! {
    objects: what_was_put_is_located, ranges_are_those_of_http, an_object_of_many_blobs_is_located_piece_by_piece, suspect_replicas_are_served_last, n72_a_page_is_in_the_order_of_bytes, a_page_goes_on_where_the_last_one_ended, a_listing_may_start_anywhere, n71_buckets_that_differ_in_case_are_apart, names_keep_their_numbers, the_ledger_is_read_page_by_page;
    writes: the_first_targets_with_room_are_taken, fewer_than_the_least_is_nothing, only_the_living_write, a_refused_commit_changes_nothing, a_reservation_is_refused_early, what_failed_is_doomed_and_what_never_left_is_gone, letting_go_frees_what_was_reserved, a_target_that_failed_is_replaced, an_overwrite_dooms_what_it_replaced, a_blob_without_bytes_is_a_blob, n53_deletes_answer_one_by_one, a_copy_shares_the_bytes, a_copy_sees_the_source_that_its_caller_saw, tags_change_and_nothing_else, a_clients_own_retry_is_a_success, one_of_many_conditional_writes_wins, no_race_exceeds_a_quota, readers_see_one_whole_state, only_a_blob_of_ones_own_is_committed;
    uploads: parts_become_an_object, a_part_sent_again_replaces_the_first, parts_of_several_blobs_and_of_none, an_upload_ends_once, an_aborted_upload_leaves_nothing, a_completion_keeps_its_precondition, a_bucket_has_so_many_open_uploads, a_range_becomes_a_part, a_range_is_of_the_source_that_its_caller_saw, parts_are_listed_page_by_page, uploads_are_listed_page_by_page, racing_completions_make_one_object, n57_a_completion_of_ten_thousand_parts_is_one_transaction, a_part_that_nobody_keeps_is_refused;
    reaping: what_a_reader_may_hold_is_not_given_out, a_delete_that_failed_is_tried_again, only_what_is_doomed_is_settled, a_manifest_dissolves_step_by_step, a_reader_goes_on_with_a_manifest_that_dissolves, suspicion_falls_on_live_replicas_only, records_are_forgotten_in_time;
    fleet: a_draining_backend_takes_nothing_new, n14_n16_the_last_replica_is_never_retired, n7_n138_of_racing_moves_one_wins, what_a_backend_holds_is_read_page_by_page, a_backend_is_forgotten_once_it_is_empty, what_a_lost_backend_owes_is_given_up, what_waits_to_be_deleted_is_shown;
    decisions: a_drain_is_in_the_journal_once, a_brake_is_in_the_entry_of_the_doom_that_it_answers, how_long_a_stray_is_kept_is_in_the_journal;
    expiry: n134_objects_expire_by_prefix_age_and_tags, what_changed_since_it_was_seen_does_not_expire, uploads_that_nobody_goes_on_with_are_found;
    repair: it_is_known_how_long_ago_replicas_were_proved, n64_the_most_endangered_come_first_and_a_failing_one_starves_nobody, a_short_commit_is_in_the_queue, a_change_of_the_factor_is_marked_step_by_step, files_of_the_journal_keep_their_factor, what_the_dead_wrote_last_is_marked, n130_a_round_of_proofs_comes_to_every_replica, a_suspect_replica_that_is_proved_is_live_again, the_brake_holds_deletes_when_workers_doom_too_much, the_brake_counts_clients_where_it_is_told_to_and_moves_never;
    moves: n6_a_backend_that_has_the_blob_gets_no_second_replica, a_move_of_what_was_deleted_meanwhile_leaves_nothing, a_move_keeps_to_quotas_drains_and_owners;
    imports: what_lies_on_a_backend_becomes_an_object_and_is_charged, an_import_takes_neither_a_key_nor_a_path_nor_more_than_the_quota;
    strays: a_stray_is_charged_and_waits, a_row_that_came_meanwhile_makes_no_stray, a_stray_becomes_an_object, a_stray_of_another_length_is_no_replica_of_its_blob, a_stray_of_a_known_blob_is_a_replica_of_it_once_it_is_proved, what_is_in_quarantine_becomes_a_replica_when_its_blob_is_known;
    instances: instances_live_side_by_side, a_heart_that_beats_is_not_declared_dead, the_dead_stay_dead_and_others_live_on;
    limits: grants_add_up_to_the_limit_and_no_further, less_than_the_least_is_nothing, clients_leave_what_is_kept, a_grant_asked_for_again_is_granted_once, what_later_periods_got_counts, what_is_handed_back_can_be_granted_again, nobody_keeps_more_than_was_granted, what_the_dead_were_granted_is_lost, no_race_exceeds_a_limit;
    repeats: every_change_happens_once, a_reservation_is_given_again_whatever_became_of_its_condition, lost_answers_lose_nothing;
};

/// Runs every case on a catalog of its own, which `make` makes empty; the books are proved after each.
///
/// # Panics
/// Where a promise is broken.
pub async fn run_all<F, Made>(make: F)
where
    F: Fn() -> Made,
    Made: Future<Output = Arc<dyn Catalog>>,
{
    let mut running = Vec::new();
    for (seed, (name, case)) in (0..).zip(CASES) {
        let catalog = make().await;
        // Side by side: most of the time of a case is waiting for the disk.
        let task = runtime::spawn(async move {
            let world = World::new(catalog, seed).await;
            case(world.clone()).await;
            world.audit().await;
        });
        running.push((name, task));
    }
    let mut broken = Vec::new();
    for (name, task) in running {
        if task.await.is_err() {
            broken.push(name);
        }
    }
    assert!(broken.is_empty(), "broken promises (each one's panic stands above): {broken:?}");
}
