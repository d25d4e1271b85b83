//! Limits and grants.

use types::{BackendName, BootId, LimitKind, Timestamp, Traffic};

use super::World;
use super::world::now;
use crate::{CatalogError, GrantAsk, GrantRecord, Granted, LimitKey, Refusal, Terms, Usage};

const JANUARY: u64 = 1_735_689_600_000;
const FEBRUARY: u64 = 1_738_368_000_000;

pub(crate) fn limit(period: u64) -> LimitKey {
    let backend = BackendName::parse("oci").unwrap();
    LimitKey { backend, kind: LimitKind::Requests, period: Timestamp::from_millis(period) }
}

/// Asks a limit of 100, of which 5 are kept, for clients.
fn ask(had: u64, least: u64, want: u64) -> GrantAsk {
    let terms = Terms { limit: 100, kept: 5, paced: 5 };
    GrantAsk { key: limit(JANUARY), traffic: Traffic::Client, had, least, want, terms }
}

fn maintenance(ask: GrantAsk) -> GrantAsk {
    GrantAsk { traffic: Traffic::Maintenance, ..ask }
}

async fn grant(w: &World, owner: BootId, ask: GrantAsk) -> (u64, u64) {
    let Granted { granted, room } = w.catalog.grant(owner, vec![ask]).await.unwrap()[0];
    (granted, room)
}

async fn record(w: &World, owner: BootId, numbers: (u64, u64, u64)) -> Result<(), CatalogError> {
    let (had, keeps, spent) = numbers;
    let (key, traffic) = (limit(JANUARY), Traffic::Client);
    w.catalog.record(owner, vec![GrantRecord { key, traffic, had, keeps, spent, counted: false }]).await
}

async fn used(w: &World, period: u64) -> Usage {
    w.catalog.usage(vec![limit(period)]).await.unwrap()[0]
}

/// A second instance beside the world's own.
async fn another(w: &World) -> BootId {
    let boot = w.ids.boot();
    w.catalog.join(boot, now()).await.unwrap();
    boot
}

pub(super) async fn grants_add_up_to_the_limit_and_no_further(w: World) {
    let other = another(&w).await;
    assert_eq!(grant(&w, w.boot, ask(0, 1, 60)).await, (60, 35));
    assert_eq!(grant(&w, other, ask(0, 10, 60)).await, (35, 0), "what is left, for it is enough");
    assert_eq!(grant(&w, w.boot, ask(60, 1, 1)).await, (60, 0));
    assert_eq!(used(&w, JANUARY).await.granted(), 95);
    let elsewhere = GrantAsk { key: LimitKey { kind: LimitKind::Egress, ..limit(JANUARY) }, ..ask(0, 1, 50) };
    assert_eq!(grant(&w, w.boot, elsewhere).await, (50, 45), "each limit by itself");
}

pub(super) async fn less_than_the_least_is_nothing(w: World) {
    assert_eq!(grant(&w, w.boot, ask(0, 1, 90)).await, (90, 5));
    let other = another(&w).await;
    assert_eq!(grant(&w, other, ask(0, 6, 50)).await, (0, 5));
    assert_eq!(used(&w, JANUARY).await.granted(), 90);
}

pub(super) async fn clients_leave_what_is_kept(w: World) {
    assert_eq!(grant(&w, w.boot, ask(0, 1, 100)).await, (95, 0));
    assert_eq!(grant(&w, w.boot, maintenance(ask(0, 1, 3))).await, (3, 2));
    assert_eq!(grant(&w, w.boot, maintenance(ask(3, 1, 9))).await, (5, 0));
    let usage = used(&w, JANUARY).await;
    assert_eq!((usage.granted_client, usage.granted_maintenance), (95, 5));
}

pub(super) async fn a_grant_asked_for_again_is_granted_once(w: World) {
    let first = grant(&w, w.boot, ask(0, 1, 10)).await;
    assert_eq!(grant(&w, w.boot, ask(0, 1, 10)).await, first);
    assert_eq!(grant(&w, w.boot, ask(0, 1, 90)).await, first, "whatever is asked for");
    assert_eq!(grant(&w, w.boot, ask(10, 1, 10)).await, (20, 75));
}

pub(super) async fn what_later_periods_got_counts(w: World) {
    let february = GrantAsk { key: limit(FEBRUARY), ..ask(0, 1, 70) };
    assert_eq!(grant(&w, w.boot, february).await, (70, 25));
    assert_eq!(grant(&w, w.boot, ask(0, 1, 70)).await, (25, 0), "the clock ran ahead");
    let february = GrantAsk { key: limit(FEBRUARY), ..ask(70, 1, 70) };
    assert_eq!(grant(&w, w.boot, february).await, (95, 0), "what is past does not");
}

pub(super) async fn what_is_handed_back_can_be_granted_again(w: World) {
    let other = another(&w).await;
    grant(&w, w.boot, ask(0, 1, 95)).await;
    record(&w, w.boot, (95, 95, 20)).await.unwrap();
    let usage = used(&w, JANUARY).await;
    assert_eq!((usage.granted(), usage.spent()), (95, 20));
    for _ in 0..2 {
        // The second one finds another number, and is passed over.
        record(&w, w.boot, (95, 40, 30)).await.unwrap();
    }
    let usage = used(&w, JANUARY).await;
    assert_eq!((usage.granted(), usage.spent()), (40, 30));
    assert_eq!(grant(&w, other, ask(0, 1, 99)).await, (55, 0));
    assert_eq!(grant(&w, w.boot, ask(40, 1, 1)).await, (40, 0));
}

pub(super) async fn nobody_keeps_more_than_was_granted(w: World) {
    grant(&w, w.boot, ask(0, 1, 10)).await;
    for numbers in [(10, 11, 5), (10, 5, 6)] {
        let refused = record(&w, w.boot, numbers).await.unwrap_err();
        assert_eq!(refused.refusal(), Some(&Refusal::Changed("a grant")), "{numbers:?}");
    }
    assert_eq!(used(&w, JANUARY).await.granted(), 10);
    // Where nothing limits, what was spent is written down.
    let (key, traffic) = (limit(FEBRUARY), Traffic::Maintenance);
    for spent in [7, 9] {
        let had = if spent == 7 { 0 } else { 7 };
        let one = GrantRecord { key: key.clone(), traffic, had, keeps: spent, spent, counted: true };
        w.catalog.record(w.boot, vec![one]).await.unwrap();
    }
    let usage = used(&w, FEBRUARY).await;
    assert_eq!((usage.granted_maintenance, usage.spent_maintenance), (9, 9));
}

pub(super) async fn what_the_dead_were_granted_is_lost(w: World) {
    let other = another(&w).await;
    grant(&w, other, ask(0, 1, 50)).await;
    record(&w, other, (50, 50, 8)).await.unwrap();
    assert!(w.catalog.declare_dead(other, 0, now()).await.unwrap());
    let usage = used(&w, JANUARY).await;
    assert_eq!((usage.granted(), usage.spent()), (50, 8), "it may have spent all of it");
    assert_eq!(grant(&w, w.boot, ask(0, 1, 99)).await, (45, 0));
    let refused = w.catalog.grant(other, vec![ask(50, 1, 1)]).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(&Refusal::Changed("the owner")));
    assert!(record(&w, other, (50, 8, 8)).await.is_err(), "the dead hand nothing back");
    let next = w.ids.boot();
    w.catalog.begin_boot(next, now()).await.unwrap();
    assert_eq!(used(&w, JANUARY).await.granted(), 95);
    assert_eq!(grant(&w, next, ask(0, 1, 1)).await, (0, 0));
}

pub(super) async fn no_race_exceeds_a_limit(w: World) {
    let mut running = Vec::new();
    for _ in 0..20 {
        let (w, owner) = (w.clone(), another(&w).await);
        running.push(runtime::spawn(async move {
            let mut had = 0;
            for want in [1, 2, 4, 8] {
                had = grant(&w, owner, ask(had, 1, want)).await.0;
            }
            had
        }));
    }
    let mut sum = 0;
    for task in running {
        sum += task.await.unwrap();
    }
    assert_eq!((sum, used(&w, JANUARY).await.granted()), (95, 95));
}
