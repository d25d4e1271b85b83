//! Which backends are worth asking: what their breakers know, and how a request finds out that one is back.
//!
//! Nothing is probed while nobody asks. A request that meets a backend whose pause is over has its marker
//! listed: that is the one request that the breaker lets through, and it costs no client an upload. The
//! request itself goes on with other backends meanwhile, or waits for the answer where there are none.

use std::sync::Arc;
use std::time::Duration;

use catalog::BackendId;
use futures::future::join_all;
use runtime::{Instant, Readiness};

use crate::engine::{Engine, Shared};

/// How long a backend may take to show that it is back.
const SHOWS_WITHIN: Duration = Duration::from_secs(10);

/// What listing its marker tells of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerSeen {
    /// It is the one that we know.
    There,
    /// Something answers, but not the backend that we know.
    Missing,
    /// It does not say.
    NoAnswer,
}

impl Engine {
    /// Since when a backend is gone, as its breaker has learnt from real requests: when it first opened.
    /// `None` where it answers, is not known, or has no breaker.
    #[must_use]
    pub fn gone_since(&self, backend: BackendId) -> Option<Instant> {
        let (_, place) = self.shared.place(backend)?;
        place.backend.breaker()?.gone_since()
    }
}

impl Engine {
    /// The backends that have been gone for so long, in configuration order.
    #[must_use]
    pub fn gone_for(&self, long: Duration) -> Vec<BackendId> {
        let now = runtime::instant_now();
        let gone = |id: &BackendId| self.gone_since(*id).is_some_and(|since| now - since >= long);
        self.places().iter().map(|place| place.id).filter(gone).collect()
    }
}

impl Shared {
    /// Whether a request to this backend would pass.
    pub(crate) fn readiness(&self, place: usize) -> Readiness {
        let breaker = self.places.get(place).and_then(|place| place.backend.breaker());
        breaker.map_or(Readiness::Ready, |breaker| breaker.readiness())
    }

    /// A backend was given up because it was too slow while others were not. Its request is dropped, so nobody
    /// else tells its breaker.
    pub(crate) fn stalled(&self, place: usize) {
        self.health.failed(place);
        if let Some(breaker) = self.places[place].backend.breaker() {
            breaker.blame();
        }
    }

    /// Finds out whether backends whose pause is over are back. Where `enough` others are ready, nobody waits
    /// for that.
    pub(crate) async fn find_out_for_write(self: &Arc<Self>, enough: u32) {
        let with = |wanted| (0..self.places.len()).filter(move |place| self.readiness(*place) == wanted);
        let due: Vec<usize> = with(Readiness::Due).collect();
        if due.is_empty() {
            return;
        }
        let ready =
            with(Readiness::Ready).filter(|place| self.places[*place].backend.profile().put_bytes_max > 0);
        if ready.count() >= usize::try_from(enough).unwrap_or(usize::MAX) {
            due.into_iter().for_each(|place| self.find_out_aside(place));
        } else {
            join_all(due.into_iter().map(|place| self.find_out(place))).await;
        }
    }

    /// Finds out while the request goes on without it.
    pub(crate) fn find_out_aside(self: &Arc<Self>, place: usize) {
        let shared = Arc::clone(self);
        runtime::spawn(async move { shared.find_out(place).await }).detach();
    }

    /// Finds out whether a backend is back. The breaker lets one through, however many ask.
    pub(crate) async fn find_out(&self, place: usize) {
        let Some(breaker) = self.places[place].backend.breaker() else { return };
        if breaker.readiness() != Readiness::Due {
            return;
        }
        let since = breaker.gone_since();
        match runtime::timeout(SHOWS_WITHIN, self.marker(place)).await {
            Ok(MarkerSeen::There) => self.health.is_back(place),
            // The breaker was told of the failure.
            Ok(MarkerSeen::NoAnswer) => {}
            Ok(MarkerSeen::Missing) | Err(runtime::Elapsed) => breaker.trip(since),
        }
    }

    pub(crate) async fn marker(&self, place: usize) -> MarkerSeen {
        let place = &self.places[place];
        let folder = format!("{}{}", place.grammar.reserved(), format::Marker::FOLDER);
        match place.maintenance.list(&folder, None).await {
            Ok(page) if page.entries.is_empty() => MarkerSeen::Missing,
            Ok(_) => MarkerSeen::There,
            Err(_) => MarkerSeen::NoAnswer,
        }
    }
}
