//! What every catalog promises. A database joins by one test that calls [`run_all`].

mod objects;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::Catalog;
pub(crate) use world::World;

/// A promise: its name, and what proves it.
type Case = (&'static str, fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>);

macro_rules! cases {
    ($($module:ident: $($name:ident),* $(,)?;)*) => {
        &[$($((stringify!($name), |world| Box::pin($module::$name(world)))),*),*]
    };
}

const CASES: &[Case] = cases! {
    objects: what_was_put_is_located, ranges_are_those_of_http, an_object_of_many_blobs_is_located_piece_by_piece,
        suspect_replicas_are_served_last, a_page_is_in_the_order_of_bytes, a_page_goes_on_where_the_last_one_ended,
        a_listing_may_start_anywhere, buckets_that_differ_in_case_are_apart, names_keep_their_numbers,
        the_ledger_is_read_page_by_page;
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
    for (number, (name, case)) in CASES.iter().enumerate() {
        println!("{name}");
        let seed = u64::try_from(number).expect("there are few cases");
        let world = World::new(make().await, seed).await;
        case(world.clone()).await;
        world.audit().await;
    }
}
