//! Shipping: the journal as segments, and now and then everything as a snapshot, on the backends.
//!
//! A segment is stored first and its entries are marked afterwards: a crash in between ships them twice,
//! which changes nothing. `docs/shipping.md` has the rules; when a step is made is the worker's affair.

use catalog::{Names, SnapshotCursor};
use format::shipped::{self, Header, Piece, ShippedName};
use runtime::mutation;
use types::{BackendName, ChangeId, ObjectKey, Timestamp};

use crate::engine::Engine;
use crate::placement::whole_bytes_max;
use crate::{Bucket, EngineError};

/// About so many bytes go into one segment or one page of a snapshot, and at most so many entries.
const FILE_BYTES: u64 = 1 << 20;
const SEGMENT_ENTRIES: u32 = 10_000;
/// By how much a header and a seal may grow once their numbers are known.
const NUMBERS_BYTES: u64 = 64;

/// What of the journal lies on the backends, as the catalog knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf {
    /// The epoch of the catalog.
    pub epoch: u64,
    /// The number of the next segment.
    pub next: u64,
    /// The newest complete snapshot of this epoch.
    pub snapshot: Option<u64>,
    /// Bytes of its pages.
    pub snapshot_bytes: u64,
    /// Segments from its number on.
    pub segments: u64,
    /// Bytes of these.
    pub segment_bytes: u64,
}

/// A snapshot is made once the segments since the last one outweigh it and have so many bytes, or are so many.
const SNAPSHOT_AFTER_BYTES: u64 = 64 << 20;
const SNAPSHOT_AFTER_SEGMENTS: u64 = 500;

impl Shelf {
    /// A segment was shipped.
    pub fn add(&mut self, segment: &Segment) {
        self.next += 1;
        self.segments += 1;
        self.segment_bytes += segment.bytes;
    }

    /// Whether a snapshot should be made. A rebuilt catalog makes one with its first segment, so that what it
    /// was rebuilt from is not needed any more; for others the journal from its first entry on is enough.
    #[must_use]
    pub fn snapshot_is_due(&self) -> bool {
        let is_first = self.snapshot.is_none() && self.epoch > 1 && self.segments > 0;
        let is_heavy = self.segment_bytes > self.snapshot_bytes.max(SNAPSHOT_AFTER_BYTES);
        is_first || is_heavy || self.segments >= SNAPSHOT_AFTER_SEGMENTS
    }
}

/// A segment that was shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Bytes.
    pub bytes: u64,
    /// Number of its last change.
    pub last: u64,
    /// Whether there is more to ship.
    pub more: bool,
    /// Where it lies.
    pub backends: Vec<BackendName>,
}

/// A snapshot that is being made. One that is dropped is begun anew under another number; its pages go with
/// the next trim.
#[derive(Debug, Clone)]
pub struct Snapshot {
    id: ChangeId,
    number: u64,
    first: u64,
    pages: u32,
    bytes: u64,
    next: Option<SnapshotCursor>,
    /// Number of the last change before its last page was read.
    last: u64,
}

impl Snapshot {
    /// Whether all pages are stored.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.next.is_none()
    }
}

impl Engine {
    /// What lies on the backends.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn shelf(&self) -> Result<Shelf, EngineError> {
        let epoch = self.shared.catalog.identity().await?.epoch;
        let files: Vec<(ShippedName, u64)> = self
            .list_internal("")
            .await?
            .into_iter()
            .filter_map(|object| Some((ShippedName::parse(object.key.as_str())?, object.size)))
            .collect();
        Ok(shelf(epoch, &files))
    }

    /// Ships the oldest entries as segment `number`; `None` where there is nothing to ship.
    ///
    /// # Errors
    /// Where a backend or the catalog fails: the entries are shipped the next time.
    pub async fn ship_segment(&self, number: u64) -> Result<Option<Segment>, EngineError> {
        let shared = &self.shared;
        shared.mark_dooms().await?;
        let mut header = self.header(number).await?;
        let unshipped =
            shared.catalog.unshipped(SEGMENT_ENTRIES, self.lines_bytes_max(&header).await?).await?;
        let (Some(first), Some(last)) = (unshipped.lines.first(), unshipped.lines.last()) else {
            return Ok(None);
        };
        let (first, last) = (first.seq, last.seq);
        (header.first, header.last) = (first, last);
        let changes = unshipped.lines.iter().map(|line| line.change).collect::<Vec<_>>();
        let lines: Vec<String> = unshipped.lines.into_iter().map(|line| line.text).collect();
        if mutation::is_on("ship.stored-first") {
            shared.repeat(|| shared.catalog.mark_shipped(changes.clone())).await?;
        }
        let stored = self.put_shipped(&header, Piece::Segment, &lines).await.inspect_err(|error| {
            if matches!(error, EngineError::OutOfSpace { .. }) {
                shared.segments_have_no_room();
            }
        })?;
        // Before it lets anything be deleted.
        shared.proof_is_over(&stored.1);
        shared.repeat(|| shared.catalog.mark_shipped(changes.clone())).await?;
        shared.changes_are_shipped(last);
        Ok(Some(Segment { bytes: stored.0, last, more: unshipped.more, backends: stored.1 }))
    }

    /// Begins a snapshot: whatever changes from now on is in the segments from `number` on.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn begin_snapshot(&self, number: u64) -> Result<Snapshot, EngineError> {
        let first = self.shared.catalog.last_sequence().await?;
        let (id, next) = (self.shared.ids.change(), Some(SnapshotCursor::start()));
        Ok(Snapshot { id, number, first, pages: 0, bytes: 0, next, last: first })
    }

    /// Stores the next page of a snapshot.
    ///
    /// # Errors
    /// Where a backend or the catalog fails: then the same page is stored the next time.
    pub async fn snapshot_page(&self, snapshot: &mut Snapshot) -> Result<(), EngineError> {
        let Some(from) = snapshot.next.clone() else { return Ok(()) };
        let (first, id) = (snapshot.first, Some(snapshot.id));
        let header = Header { first, snapshot: id, ..self.header(snapshot.number).await? };
        let page = self.shared.catalog.snapshot_page(from, self.lines_bytes_max(&header).await?).await?;
        let (bytes, _) = self.put_shipped(&header, Piece::Page(snapshot.pages), &page.lines).await?;
        snapshot.bytes += bytes;
        snapshot.pages += 1;
        snapshot.next = page.next;
        if snapshot.is_read() {
            snapshot.last = self.shared.catalog.last_sequence().await?;
        }
        Ok(())
    }

    /// Completes a snapshot whose pages are stored, and deletes what it makes superfluous. Says whether it
    /// could: only once everything that was changed before its last page was read is shipped.
    ///
    /// # Errors
    /// Where a backend or the catalog fails.
    pub async fn complete_snapshot(&self, snapshot: &Snapshot) -> Result<bool, EngineError> {
        let unshipped = self.shared.catalog.unshipped(1, 1).await?;
        if !snapshot.is_read() || unshipped.lines.first().is_some_and(|line| line.seq <= snapshot.last) {
            return Ok(false);
        }
        let (first, last, pages) = (snapshot.first, snapshot.last, Some(snapshot.pages));
        let id = Some(snapshot.id);
        let header = Header { first, last, pages, snapshot: id, ..self.header(snapshot.number).await? };
        self.put_shipped(&header, Piece::Complete, &[]).await?;
        self.trim_shipped(snapshot.number).await?;
        Ok(true)
    }

    /// Deletes what is older than a complete snapshot of this epoch.
    async fn trim_shipped(&self, number: u64) -> Result<(), EngineError> {
        let epoch = self.shared.catalog.identity().await?.epoch;
        let superfluous = |key: &ObjectKey| {
            ShippedName::parse(key.as_str()).is_some_and(|name| match name.piece {
                Piece::Segment => name.number < number,
                Piece::Page(_) | Piece::Complete => (name.epoch, name.number) != (epoch, number),
            })
        };
        let keys = self.list_internal("").await?.into_iter().map(|object| object.key);
        self.delete_internal(keys.filter(superfluous).collect()).await
    }

    /// When the oldest entry that is not shipped was made.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn unshipped_since(&self) -> Result<Option<Timestamp>, EngineError> {
        let oldest = self.shared.catalog.unshipped(1, 1).await?.lines.into_iter().next();
        Ok(oldest.map(|line| line.change.timestamp()))
    }

    async fn header(&self, number: u64) -> Result<Header, EngineError> {
        let identity = self.shared.catalog.identity().await?;
        let Names { buckets, backends } = self.shared.catalog.names().await?;
        Ok(Header {
            buckets: buckets.into_iter().map(|(id, name)| (id.0, name.as_str().to_owned())).collect(),
            backends: backends.into_iter().map(|(id, name)| (id.0, name.as_str().to_owned())).collect(),
            ..Header::new(identity.deployment, identity.epoch, number)
        })
    }

    /// How many bytes of lines a file with this header may have: it is one blob, and should find as many backends
    /// that take it as any file of ours. A single line that is longer has fewer, or has to wait for one.
    async fn lines_bytes_max(&self, header: &Header) -> Result<u64, EngineError> {
        let candidates = self.shared.candidates().await?;
        let whole = whole_bytes_max(&candidates, self.shared.factor_of(&Bucket::internal()));
        let around = shipped::seal(header, &[]).len() as u64 + NUMBERS_BYTES;
        Ok(whole.map_or(FILE_BYTES, |most| most.saturating_sub(around).min(FILE_BYTES)))
    }

    async fn put_shipped(
        &self,
        header: &Header,
        piece: Piece,
        lines: &[String],
    ) -> Result<(u64, Vec<BackendName>), EngineError> {
        let name = ShippedName { epoch: header.epoch, number: header.number, piece };
        let stored = self.put_internal(&name.key(), shipped::seal(header, lines)).await?;
        Ok((stored.size, stored.backends))
    }
}

/// Pure: what the files add up to.
fn shelf(epoch: u64, files: &[(ShippedName, u64)]) -> Shelf {
    let complete = files.iter().filter(|(name, _)| name.piece == Piece::Complete && name.epoch == epoch);
    let snapshot = complete.map(|(name, _)| name.number).max();
    let of_snapshot = |name: &ShippedName| {
        matches!(name.piece, Piece::Page(_)) && name.epoch == epoch && Some(name.number) == snapshot
    };
    let behind =
        |name: &ShippedName| name.piece == Piece::Segment && name.number >= snapshot.unwrap_or_default();
    let sum = |wanted: &dyn Fn(&ShippedName) -> bool| {
        files.iter().filter(|(name, _)| wanted(name)).map(|(_, size)| size).sum()
    };
    Shelf {
        epoch,
        next: files
            .iter()
            .map(|(name, _)| name.number + u64::from(name.piece == Piece::Segment))
            .max()
            .unwrap_or(1),
        snapshot,
        snapshot_bytes: sum(&of_snapshot),
        segments: files.iter().filter(|(name, _)| behind(name)).count() as u64,
        segment_bytes: sum(&behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(epoch: u64, number: u64, piece: Piece, size: u64) -> (ShippedName, u64) {
        (ShippedName { epoch, number, piece }, size)
    }

    #[test]
    fn numbers_go_on_behind_whatever_lies_there() {
        assert_eq!(shelf(1, &[]).next, 1);
        assert_eq!(shelf(2, &[file(1, 7, Piece::Segment, 5)]).next, 8, "also of an epoch before");
        assert_eq!(shelf(1, &[file(1, 7, Piece::Complete, 5)]).next, 7, "segment 7 was not made yet");
    }

    #[test]
    fn a_snapshot_is_due_when_the_segments_outweigh_it() {
        let check = |epoch, snapshot: Option<u64>, segments, segment_bytes, snapshot_bytes, due| {
            let shelf = Shelf { epoch, next: 1, snapshot, snapshot_bytes, segments, segment_bytes };
            assert_eq!(shelf.snapshot_is_due(), due, "{shelf:?}");
        };
        check(1, None, 0, 0, 0, false);
        check(1, None, 9, SNAPSHOT_AFTER_BYTES, 0, false);
        check(1, None, 9, SNAPSHOT_AFTER_BYTES + 1, 0, true);
        check(1, Some(3), 9, SNAPSHOT_AFTER_BYTES + 1, SNAPSHOT_AFTER_BYTES * 2, false);
        check(1, None, SNAPSHOT_AFTER_SEGMENTS, 1, 0, true);
        check(2, None, 1, 1, 0, true);
        check(2, Some(3), 1, 1, 0, false);
    }

    #[test]
    fn segments_count_from_the_newest_complete_snapshot_on() {
        let files = [
            file(1, 3, Piece::Segment, 10),
            file(1, 4, Piece::Page(0), 100),
            file(1, 4, Piece::Page(1), 50),
            file(1, 4, Piece::Complete, 1),
            file(1, 4, Piece::Segment, 20),
            file(1, 5, Piece::Segment, 30),
            file(1, 6, Piece::Page(0), 999),
        ];
        let expected = Shelf {
            epoch: 1,
            next: 6,
            snapshot: Some(4),
            snapshot_bytes: 150,
            segments: 2,
            segment_bytes: 50,
        };
        assert_eq!(shelf(1, &files), expected);
    }
}
