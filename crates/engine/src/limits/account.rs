//! The account of one grant: what the catalog knows of it, and what has become of it here.

use std::sync::Arc;

use backend::{Hand, Purse, UNLIMITED};
use catalog::{GrantAsk, GrantRecord, LimitKey, Terms};
use runtime::{Instant, mutation};
use types::{LimitKind, Traffic};

use super::grant::{self, Outlook};

/// One grant of ours.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) key: LimitKey,
    pub(super) traffic: Traffic,
    purse: Arc<Purse>,
    limit: Option<u64>,
    /// What the catalog has granted, where there is a limit; else what was written down.
    granted: u64,
    /// What was written down as spent.
    recorded: u64,
    /// When we last asked, and what was spent by then.
    asked: (Instant, u64),
    /// When something was last seen to be spent, and what had been by then.
    moved: (Instant, u64),
    refused: bool,
}

impl Account {
    pub(super) fn new(key: LimitKey, traffic: Traffic, purse: Arc<Purse>, limit: Option<u64>) -> Self {
        let now = runtime::instant_now();
        let (asked, moved) = ((now, 0), (now, 0));
        Self { key, traffic, purse, limit, granted: 0, recorded: 0, asked, moved, refused: false }
    }

    pub(super) fn kind(&self) -> LimitKind {
        self.key.kind
    }

    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub(super) fn purse(&self) -> &Arc<Purse> {
        &self.purse
    }

    pub(super) fn hand(&self) -> &Hand {
        self.purse.hand(self.traffic, self.key.kind)
    }

    /// What was drawn and has not come back.
    pub(super) fn spent(&self) -> u64 {
        let granted = self.limit.map_or(UNLIMITED, |_| self.granted);
        granted.saturating_sub(self.hand().free())
    }

    /// What was spent and not written down.
    pub(super) fn unrecorded(&self) -> u64 {
        self.spent().saturating_sub(self.recorded)
    }

    /// The wish for what waiting attempts need: all of it `needs`, the smallest of them `least`.
    pub(super) fn ask(&mut self, needs: u64, least: u64, terms: Terms) -> GrantAsk {
        let now = runtime::instant_now();
        let spent = self.spent().saturating_add(needs);
        let lately = (spent.saturating_sub(self.asked.1), now.duration_since(self.asked.0));
        let left = self.hand().room().unwrap_or_else(|| terms.limit.saturating_sub(self.granted));
        let outlook = Outlook { limit: terms.limit, left, spent, lately };
        let want = needs.saturating_add(outlook.ahead());
        self.asked = (now, spent);
        GrantAsk { key: self.key.clone(), traffic: self.traffic, had: self.granted, least, want, terms }
    }

    /// The catalog's answer; gives what is new. That is not in hand yet: whoever waited comes first.
    #[must_use]
    pub(super) fn granted(&mut self, granted: u64, room: u64) -> u64 {
        let new = granted.saturating_sub(self.granted);
        self.granted = granted;
        self.hand().set_room(Some(room));
        new
    }

    /// What is to be written down, where anything is; with what was taken out of hand to be handed back.
    pub(super) fn record(&mut self, hand_back: bool) -> Option<(GrantRecord, u64)> {
        let back = match self.limit {
            Some(_) if hand_back && mutation::is_on("hand.emptied") => self.hand().free(),
            Some(_) if hand_back => self.hand().empty(),
            _ => 0,
        };
        let had = self.granted;
        let keeps = self.limit.map_or_else(|| self.spent(), |_| had - back);
        let spent = if back > 0 { keeps } else { self.spent() };
        if back == 0 && spent == self.recorded && (self.limit.is_some() || keeps == had) {
            return None;
        }
        let counted = self.limit.is_none();
        let record = GrantRecord { key: self.key.clone(), traffic: self.traffic, had, keeps, spent, counted };
        Some((record, back))
    }

    /// The record is in the catalog, or may be.
    pub(super) fn recorded(&mut self, record: &GrantRecord, back: u64) {
        self.granted = record.keeps;
        self.recorded = record.spent;
        if let Some(room) = self.hand().room().filter(|_| back > 0) {
            self.hand().set_room(Some(room.saturating_add(back)));
        }
    }

    /// Whether what is in hand has lain idle for long enough to be handed back.
    pub(super) fn is_idle(&mut self) -> bool {
        let (now, spent) = (runtime::instant_now(), self.spent());
        if spent != self.moved.1 {
            self.moved = (now, spent);
        }
        let Some(limit) = self.limit else { return false };
        let left = self.hand().room().unwrap_or(limit);
        self.hand().free() > 0 && now.duration_since(self.moved.0) >= grant::horizon(limit, left)
    }

    /// Whether so large a part of the limit is used that people want to know it exactly.
    pub(super) fn is_near(&self, threshold: f64) -> bool {
        let (Some(limit), Some(room)) = (self.limit, self.hand().room()) else { return false };
        #[expect(clippy::cast_precision_loss, reason = "a part of a limit is no exact number")]
        let used = 1.0 - room as f64 / limit.max(1) as f64;
        used >= threshold
    }

    /// Somebody needed more than there was.
    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether somebody did lately.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// There may be room again.
    pub(super) fn open(&mut self) {
        if std::mem::take(&mut self.refused) {
            self.hand().set_room(None);
        }
    }
}
