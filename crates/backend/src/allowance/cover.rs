//! Cover: what was taken out of hand for one attempt, in each period that it is charged to.

use std::sync::Arc;

use runtime::mutation;
use types::{LimitKind, Traffic};

use super::{Allowance, Needs, Present, Purse, Shortage};
use crate::{BackendError, Operation};

/// What was taken out of one purse. What is left of it when it is dropped goes back.
#[derive(Debug)]
pub struct Piece {
    purse: Arc<Purse>,
    traffic: Traffic,
    left: Needs,
}

impl Piece {
    /// Holds what was taken out of a purse already.
    #[must_use]
    pub fn taken(purse: Arc<Purse>, traffic: Traffic, needs: Needs) -> Self {
        Self { purse, traffic, left: needs }
    }

    fn join(&mut self, mut other: Self) {
        self.left = self.left.plus(std::mem::take(&mut other.left));
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.purse.give_back(self.traffic, self.left);
    }
}

/// The cover of an attempt. What is not spent when it is dropped goes back into hand.
pub struct Cover {
    allowance: Arc<Allowance>,
    present: Arc<Present>,
    traffic: Traffic,
    pieces: Vec<Piece>,
}

impl Cover {
    pub(super) async fn take(
        allowance: &Arc<Allowance>,
        present: Arc<Present>,
        traffic: Traffic,
        needs: Needs,
    ) -> Result<Self, Shortage> {
        let pieces = Vec::with_capacity(present.purses.len());
        let mut cover = Self { allowance: Arc::clone(allowance), present, traffic, pieces };
        for purse in &cover.present.purses {
            let piece = take(&cover.allowance, purse, traffic, needs).await?;
            cover.pieces.push(piece);
        }
        Ok(cover)
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self, kind: LimitKind) -> u64 {
        self.pieces.first().map_or(0, |piece| piece.left.of(kind))
    }

    /// So much was used: it does not go back.
    pub fn spend(&mut self, needs: Needs) {
        for piece in &mut self.pieces {
            piece.left = piece.left.minus(needs);
        }
    }

    /// So much is certainly not used: it goes back at once.
    pub fn give_back(&mut self, needs: Needs) {
        for piece in &mut self.pieces {
            let kept = piece.left.minus(needs);
            piece.purse.give_back(piece.traffic, piece.left.minus(kept));
            piece.left = kept;
        }
    }

    /// Covers more, and moves on to the present periods where these have changed: whatever is left, and the
    /// request itself, is charged to a new one too.
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`](crate::ErrorKind::LimitReached); what was covered stays so.
    pub async fn extend(&mut self, operation: Operation, more: Needs) -> Result<(), BackendError> {
        let extended = self.extend_all(more).await;
        extended.map_err(|shortage| self.allowance.error(operation, shortage))
    }

    async fn extend_all(&mut self, more: Needs) -> Result<(), Shortage> {
        self.move_on().await?;
        if more == Needs::default() {
            return Ok(());
        }
        let mut gained = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            gained.push(take(&self.allowance, &piece.purse, self.traffic, more).await?);
        }
        for (piece, more) in self.pieces.iter_mut().zip(gained) {
            piece.join(more);
        }
        Ok(())
    }

    async fn move_on(&mut self) -> Result<(), Shortage> {
        let present = self.allowance.current().await?;
        if Arc::ptr_eq(&present, &self.present) || mutation::is_on("cover.moves-on") {
            return Ok(());
        }
        let left = self.pieces.first().map(|piece| piece.left).unwrap_or_default();
        let mut gained = Vec::new();
        for purse in &present.purses {
            if !self.pieces.iter().any(|piece| Arc::ptr_eq(&piece.purse, purse)) {
                let mut piece = take(&self.allowance, purse, self.traffic, left.plus(Needs::REQUEST)).await?;
                piece.left = piece.left.minus(Needs::REQUEST);
                gained.push(piece);
            }
        }
        self.pieces.retain(|piece| present.purses.iter().any(|purse| Arc::ptr_eq(&piece.purse, purse)));
        self.pieces.extend(gained);
        self.present = present;
        Ok(())
    }
}

impl std::fmt::Debug for Cover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.pieces.iter().map(|piece| piece.left)).finish()
    }
}

async fn take(
    allowance: &Allowance,
    purse: &Arc<Purse>,
    traffic: Traffic,
    needs: Needs,
) -> Result<Piece, Shortage> {
    if purse.draw(traffic, needs) {
        return Ok(Piece::taken(Arc::clone(purse), traffic, needs));
    }
    allowance.more(purse, traffic, needs).await
}
