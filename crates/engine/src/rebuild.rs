//! A catalog made anew from what lies on the backends: find, plan, carry out.
//!
//! `find` lists, `plan` decides (pure), `rebuild` reads and applies. `docs/shipping.md` has the rules.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use catalog::{BackendId, InternalFile, Names, Rebuilding, Rebuilt};
use format::shipped::{Header, Piece, ShippedName};
use format::{BlockHasher, shipped};
use futures::TryStreamExt;
use types::{BackendName, BucketName, ChangeId, DeploymentId, Timestamp};

use crate::Place;
use crate::newest::{Reserved, ShippedFile, read_reserved};

/// What the backends hold of catalogs.
#[derive(Debug, Clone, Default)]
pub struct FoundCatalogs {
    /// By backend, in the order of the places: what its reserved folder holds, or why it could not be read.
    pub backends: Vec<(BackendName, Result<Reserved, String>)>,
}

/// What a rebuild will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whose catalog it will be.
    pub deployment: DeploymentId,
    /// Its epoch: one higher than any that was found.
    pub epoch: u64,
    /// The snapshot that it begins with, where there is one.
    pub snapshot: Option<ShippedName>,
    /// Pages of the snapshot that were found.
    pub pages: Vec<ShippedName>,
    /// Segments, in their order.
    pub segments: Vec<ShippedName>,
    /// Where each file lies: places by their number, best first.
    places: BTreeMap<ShippedName, Vec<(usize, ShippedFile)>>,
    accept_gaps: bool,
}

/// Why there is no plan. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing of a catalog was found.
    #[error(
        "no backend that answers carries a marker of a deployment: is the configuration the one of the lost \
         catalog, and are the disks mounted?"
    )]
    Nothing,
    /// Several deployments were found.
    #[error("the backends belong to several deployments ({0}): name one with -deployment")]
    Several(String),
    /// A deployment was asked for that is not there.
    #[error("no backend that answers carries a marker of deployment {0}")]
    NotThere(DeploymentId),
    /// A backend did not answer.
    #[error(
        "backend {backend} cannot be read: {why}. What lies only there would be missing; make it available, or \
         leave it out with -without {backend}"
    )]
    Unreadable {
        /// The backend.
        backend: BackendName,
        /// Why.
        why: String,
    },
    /// Segments are missing in between.
    #[error(
        "{missing} segments are missing before {}: changes from that time would be lost. Make all backends \
         available; if they are gone for good, accept the loss with -accept-gaps", before.key()
    )]
    Gap {
        /// How many.
        missing: u64,
        /// The segment behind the gap.
        before: ShippedName,
    },
}

/// What the operator decided beforehand.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Whose catalog is wanted, where the backends belong to several deployments.
    pub deployment: Option<DeploymentId>,
    /// Backends that are left out.
    pub without: BTreeSet<BackendName>,
    /// Go on where segments are missing or cannot be read.
    pub accept_gaps: bool,
}

/// Looks at the reserved folder of each backend.
pub async fn find(places: &[Place]) -> FoundCatalogs {
    let mut found = FoundCatalogs::default();
    for place in places {
        let reserved = read_reserved(place).await.map_err(|error| error.to_string());
        found.backends.push((place.name().clone(), reserved));
    }
    found
}

/// Decides what to read, in which order.
///
/// # Errors
/// [`PlanError`], where something has to be decided or made available first.
pub fn plan(found: &FoundCatalogs, choices: &Choices) -> Result<Plan, PlanError> {
    let mut readable = Vec::new();
    for (index, (backend, reserved)) in found.backends.iter().enumerate() {
        match reserved {
            _ if choices.without.contains(backend) => {}
            Ok(reserved) => readable.push((index, reserved)),
            Err(why) => {
                return Err(PlanError::Unreadable { backend: backend.clone(), why: why.clone() });
            }
        }
    }
    let deployment = choose_deployment(&readable, choices.deployment)?;
    let ours = |reserved: &Reserved| reserved.markers.iter().any(|marker| marker.deployment == deployment);
    readable.retain(|(_, reserved)| ours(reserved));

    let mut places: BTreeMap<ShippedName, Vec<(usize, ShippedFile)>> = BTreeMap::new();
    for (index, reserved) in &readable {
        for file in &reserved.shipped {
            places.entry(file.name).or_default().push((*index, file.clone()));
        }
    }
    let markers = readable.iter().flat_map(|(_, reserved)| &reserved.markers);
    let epochs = markers.map(|marker| marker.epoch).chain(places.keys().map(|name| name.epoch));
    let epoch = epochs.max().unwrap_or(0) + 1;
    let snapshot = places.keys().filter(|name| name.piece == Piece::Complete).max().copied();
    let is_page = |name: &&ShippedName| {
        let at = |name: &ShippedName| (name.epoch, name.number);
        matches!(name.piece, Piece::Page(_)) && snapshot.is_some_and(|snapshot| at(&snapshot) == at(name))
    };
    let pages = places.keys().filter(is_page).copied().collect();
    let from = snapshot.map_or(1, |name| name.number);
    let segments = valid_segments(&places, from);
    if !choices.accept_gaps {
        check_gaps(&segments, from)?;
    }
    let accept_gaps = choices.accept_gaps;
    Ok(Plan { deployment, epoch, snapshot, pages, segments, places, accept_gaps })
}

/// The segments from a number on, in their order. Numbers go on from epoch to epoch: what a replaced catalog
/// still shipped stands under a number that a later epoch has used, and counts no more.
fn valid_segments(files: &BTreeMap<ShippedName, Vec<(usize, ShippedFile)>>, from: u64) -> Vec<ShippedName> {
    let mut first_of_later = u64::MAX;
    let mut epoch = u64::MAX;
    let mut first = u64::MAX;
    let mut segments = Vec::new();
    for name in files.keys().rev() {
        if name.epoch < epoch {
            (epoch, first_of_later) = (name.epoch, first_of_later.min(first));
        }
        first = first.min(name.number);
        if name.piece == Piece::Segment && name.number >= from && name.number < first_of_later {
            segments.push(*name);
        }
    }
    segments.sort_by_key(|name| name.number);
    segments
}

fn choose_deployment(
    readable: &[(usize, &Reserved)],
    wanted: Option<DeploymentId>,
) -> Result<DeploymentId, PlanError> {
    let markers = readable.iter().flat_map(|(_, reserved)| &reserved.markers);
    let found: BTreeSet<DeploymentId> = markers.map(|marker| marker.deployment).collect();
    match (wanted, found.first()) {
        (Some(wanted), _) if found.contains(&wanted) => Ok(wanted),
        (Some(wanted), _) => Err(PlanError::NotThere(wanted)),
        (None, None) => Err(PlanError::Nothing),
        (None, Some(only)) if found.len() == 1 => Ok(*only),
        (None, _) => {
            let names: Vec<String> = found.iter().map(DeploymentId::to_string).collect();
            Err(PlanError::Several(names.join(", ")))
        }
    }
}

fn check_gaps(segments: &[ShippedName], from: u64) -> Result<(), PlanError> {
    let mut next = from.max(1);
    for segment in segments {
        if segment.number > next {
            return Err(PlanError::Gap { missing: segment.number - next, before: *segment });
        }
        next = segment.number + 1;
    }
    Ok(())
}

impl Plan {
    /// What the rebuilt catalog is made from, as a word: another one is not gone on with.
    #[must_use]
    pub fn source(&self) -> String {
        let snapshot = self.snapshot.map_or("nothing".to_owned(), |name| name.key());
        format!("{} {} {snapshot}", self.deployment, self.epoch)
    }

    /// Requests that it costs, besides the listings that were made already.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.pages.len() + self.segments.len() + usize::from(self.snapshot.is_some())
    }
}

/// Why a rebuild stopped.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The catalog could not be written, or a line not be read.
    #[error(transparent)]
    Catalog(#[from] catalog::CatalogError),
    /// A file cannot be read anywhere.
    #[error(
        "{key} cannot be read: {why}. Begin the rebuild again, with all backends available; if what lies there of a \
         segment is damaged for good, accept the loss of its changes with -accept-gaps"
    )]
    Unreadable {
        /// Its key.
        key: String,
        /// Why, by place.
        why: String,
    },
    /// A snapshot does not have all its pages.
    #[error("the snapshot {key} has {found} of its {pages} pages: make all backends available")]
    PagesMissing {
        /// Its key.
        key: String,
        /// Pages that it should have.
        pages: u32,
        /// Pages that were found.
        found: usize,
    },
}

/// Reads what the plan names, applies it, and puts the catalog in place. `progress` is told of each file: how
/// many are done, of how many.
///
/// # Errors
/// [`RebuildError`]; begun again it goes on where it was.
pub async fn rebuild(
    places: &[Place],
    plan: &Plan,
    mut catalog: Box<dyn Rebuilding>,
    at: Timestamp,
    mut progress: impl FnMut(&ShippedName, usize, usize),
) -> Result<Rebuilt, RebuildError> {
    let (head, mut kept) = read_snapshot_head(places, plan).await?;
    let (after, snapshot) = head.as_ref().map_or((0, None), |head| (head.first, head.snapshot));
    let files = files_of(plan, head.as_ref())?;
    let applied = catalog.applied()?;
    let done = files.iter().position(|name| Some(name.key()) == applied).map_or(0, |at| at + 1);
    let mut names = BTreeMap::new();
    for (number, name) in files.iter().enumerate() {
        let (header, lines, read) = match read(places, plan, name, snapshot).await {
            Err(error @ RebuildError::Unreadable { .. })
                if plan.accept_gaps && name.piece == Piece::Segment =>
            {
                tracing::warn!("a segment is left out: {error}");
                continue;
            }
            read => read?,
        };
        for (id, backend) in &header.backends {
            names.insert(backend.clone(), BackendId(*id));
        }
        kept.extend(read);
        if number < done {
            continue;
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let after = (name.piece == Piece::Segment).then_some(after);
        catalog.apply(&name.key(), &known(&header, name)?, &lines, after)?;
        progress(name, number + 1, files.len());
    }
    let internal = internal_files(places, plan, &names, &kept);
    Ok(catalog.finish(&internal, at)?)
}

/// The last word of the snapshot, where there is one.
async fn read_snapshot_head(
    places: &[Place],
    plan: &Plan,
) -> Result<(Option<Header>, Vec<ReadFile>), RebuildError> {
    let Some(name) = plan.snapshot else { return Ok((None, Vec::new())) };
    let (header, _, files) = read(places, plan, &name, None).await?;
    Ok((Some(header), files))
}

/// The files to read, in their order. A snapshot that was begun before under the same number may have left
/// more pages than it has.
fn files_of(plan: &Plan, head: Option<&Header>) -> Result<Vec<ShippedName>, RebuildError> {
    let pages = head.and_then(|head| head.pages).unwrap_or(0);
    let is_of_it = |name: &&ShippedName| matches!(name.piece, Piece::Page(page) if page < pages);
    let found: Vec<ShippedName> = plan.pages.iter().filter(is_of_it).copied().collect();
    if found.len() != usize::try_from(pages).unwrap_or(usize::MAX) {
        let key = plan.snapshot.map(|name| name.key()).unwrap_or_default();
        return Err(RebuildError::PagesMissing { key, pages, found: found.len() });
    }
    Ok(found.into_iter().chain(plan.segments.iter().copied()).collect())
}

fn known(header: &Header, name: &ShippedName) -> Result<Names, RebuildError> {
    let bad = |error: types::NameError| RebuildError::Unreadable { key: name.key(), why: error.to_string() };
    let mut names = Names::default();
    for (id, bucket) in &header.buckets {
        names.buckets.push((catalog::BucketId(*id), BucketName::parse(bucket).map_err(bad)?));
    }
    for (id, backend) in &header.backends {
        names.backends.push((BackendId(*id), BackendName::parse(backend).map_err(bad)?));
    }
    Ok(names)
}

/// A file that was read, with the checksums of its blocks.
struct ReadFile {
    name: ShippedName,
    blob: types::BlobId,
    blocks: Vec<u32>,
}

/// How often each copy of a file is tried before it is given up: a wrong bit may have been on the way.
const ROUNDS: usize = 2;

/// Reads a file from the first place where it is whole. All that lie under one name are read where their
/// blobs differ, for each is a run of entries (a process that ended between storing a segment and noting that has its
/// run shipped again, with what came behind it); lines that stand twice change nothing. So one of them that
/// nobody can read is missing, whatever the others hold.
async fn read(
    places: &[Place],
    plan: &Plan,
    name: &ShippedName,
    snapshot: Option<ChangeId>,
) -> Result<(Header, Vec<String>, Vec<ReadFile>), RebuildError> {
    let mut by_blob: BTreeMap<types::BlobId, Vec<&(usize, ShippedFile)>> = BTreeMap::new();
    for at in plan.places.get(name).into_iter().flatten() {
        by_blob.entry(at.1.replica.blob).or_default().push(at);
    }
    let (mut header, mut lines, mut files, mut failed) = (None, Vec::new(), Vec::new(), Vec::new());
    for (blob, copies) in by_blob {
        let mut whole = None;
        for (place, file) in copies.iter().copied().cycle().take(copies.len() * ROUNDS) {
            match read_one(&places[*place], plan, file).await {
                Ok(read) => {
                    whole = Some(read);
                    break;
                }
                Err(why) => failed.push(format!("{}: {why}", places[*place].name())),
            }
        }
        match whole {
            Some((found, ..)) if is_of_another(name, &found, snapshot) => {}
            Some((found, of_file, blocks)) => {
                header = Some(found);
                lines.extend(of_file);
                files.push(ReadFile { name: *name, blob, blocks });
            }
            // A page is whole by itself: what cannot be read may be one of a snapshot that was given up.
            None if name.piece != Piece::Segment || plan.accept_gaps => {}
            None => return Err(RebuildError::Unreadable { key: name.key(), why: failed.join("; ") }),
        }
    }
    match header {
        Some(header) => Ok((header, lines, files)),
        None => Err(RebuildError::Unreadable { key: name.key(), why: failed.join("; ") }),
    }
}

/// Whether a page is of another snapshot than the one that is read.
fn is_of_another(name: &ShippedName, header: &Header, snapshot: Option<ChangeId>) -> bool {
    matches!(name.piece, Piece::Page(_)) && header.snapshot != snapshot
}

async fn read_one(
    place: &Place,
    plan: &Plan,
    file: &ShippedFile,
) -> Result<(Header, Vec<String>, Vec<u32>), String> {
    let download = place.backend.get(&file.path, None).await.map_err(|error| error.to_string())?;
    let gather = download.stream.try_fold(BytesMut::new(), async |mut all, bytes: Bytes| {
        all.extend_from_slice(&bytes);
        Ok(all)
    });
    let bytes = gather.await.map_err(|error| error.to_string())?.freeze();
    let (header, lines) = shipped::open(&bytes).map_err(|error| error.to_string())?;
    if header.deployment != plan.deployment {
        return Err(format!("it is of deployment {}", header.deployment));
    }
    let mut hasher = BlockHasher::new();
    hasher.update(&bytes);
    Ok((header, lines.into_iter().map(str::to_owned).collect(), hasher.finish()))
}

/// Every file of the reserved folders as the rebuilt catalog will know it: those that were read are kept, for
/// they are all there is until the next snapshot.
fn internal_files(
    places: &[Place],
    plan: &Plan,
    names: &BTreeMap<String, BackendId>,
    read: &[ReadFile],
) -> Vec<InternalFile> {
    let mut files = Vec::new();
    for (name, copies) in &plan.places {
        for (place, file) in copies {
            let place = &places[*place];
            let Some(backend) = names.get(place.name().as_str()) else { continue };
            let whole = read.iter().find(|read| read.name == *name && read.blob == file.replica.blob);
            let Some((_, key)) = &file.replica.object else { continue };
            files.push(InternalFile {
                key: key.clone(),
                blob: file.replica.blob,
                replica: file.replica.replica,
                backend: *backend,
                path: file.path.clone(),
                size: file.size,
                charge: place.backend.profile().charge(file.size),
                blocks: whole.map(|read| read.blocks.clone()),
            });
        }
    }
    files
}
