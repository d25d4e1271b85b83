//! Attaching: a backend belongs to one deployment, under one name, and says so by a marker.
//!
//! Two deployments on one bucket would take each other's bytes for strays. So nobody writes to a backend
//! before its marker is there and no other is, and nobody removes a marker but its own.

use std::time::Duration;

use bytes::Bytes;
use format::{Marker, PathGrammar};
use types::{BackendName, DeploymentId, ReplicaPath};

use crate::{Backend, BackendError, Body, ErrorKind, PutOptions};

/// How often a marker is looked for again where two deployments attach at once.
const LOOKS_MAX: u32 = 10;
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Longest listing of markers. There are one or two.
const MARKER_PAGES_MAX: u32 = 100;

/// What an installation says of itself when it attaches a backend.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The installation.
    pub deployment: DeploymentId,
    /// Its epoch.
    pub epoch: u64,
    /// The catalog remembers having attached this backend: a marker must be there already. Where it is not,
    /// a disk is not mounted or a bucket was emptied.
    pub known: bool,
    /// Take a backend on which objects of our grammar lie without a marker. What lies there counts as strays.
    pub adopt: bool,
}

/// A backend that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// What the backend carries now.
    pub marker: Marker,
    /// Where.
    pub path: ReplicaPath,
    /// Whether it was put just now.
    pub first_time: bool,
}

/// Why a backend cannot be attached. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The backend did not answer well.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// It carries the marker of another deployment.
    #[error(
        "backend {backend} belongs to deployment {}, where its name is {}: use another bucket, directory or \
         prefix; or, if that deployment is gone for good, remove {path} and start again", owner.deployment,
        owner.backend
    )]
    Foreign {
        /// The backend that was to be attached.
        backend: BackendName,
        /// Whose it is.
        owner: Marker,
        /// Where that is written.
        path: String,
    },
    /// It carries the marker of another backend of this deployment.
    #[error(
        "backend {backend} is this deployment's backend {}: give it that name back, or use another bucket, \
         directory or prefix", owner.backend
    )]
    OtherName {
        /// The backend that was to be attached.
        backend: BackendName,
        /// What it is.
        owner: Marker,
    },
    /// It was attached by a later epoch of this deployment.
    #[error(
        "backend {backend} was attached in epoch {found} of this deployment, and this catalog is of epoch \
         {epoch}: it is an older copy; use the newest one, or rebuild"
    )]
    OlderCatalog {
        /// The backend that was to be attached.
        backend: BackendName,
        /// The epoch on the backend.
        found: u64,
        /// The epoch of the catalog.
        epoch: u64,
    },
    /// It should carry our marker and does not.
    #[error(
        "backend {backend} was attached before and has lost its marker: is its disk mounted, is it the same \
         bucket and prefix? expected {path}"
    )]
    Missing {
        /// The backend that was to be attached.
        backend: BackendName,
        /// Where the marker was.
        path: String,
    },
    /// Objects of our grammar lie there, and nothing says whose they are.
    #[error(
        "backend {backend} holds objects of an s3-orchestrator ({path} is one) but no marker: use another \
         bucket, directory or prefix, or adopt what lies there"
    )]
    Occupied {
        /// The backend that was to be attached.
        backend: BackendName,
        /// One of the objects.
        path: String,
    },
}

/// Makes sure that a backend is ours, and marks it where it is new.
///
/// # Errors
/// Where it is another's, or may be. Nothing was changed then.
pub async fn attach(
    backend: &dyn Backend,
    grammar: &PathGrammar,
    claim: &Claim,
) -> Result<Attached, AttachError> {
    let attaching = Attaching { backend, grammar, claim };
    let (ours, others) = attaching.markers().await?;
    let carried = attaching.highest_epoch(&ours)?.is_some();
    if let Some(other) = others.into_iter().next() {
        // Who lost a race and crashed may have left its marker; one that the catalog knows as its own stands.
        if other.deployment == claim.deployment || !(carried && claim.known) {
            return Err(attaching.foreign(other));
        }
        tracing::warn!(backend.name = %backend.name(), "deployment {} left a marker here too", other.deployment);
    }
    if carried {
        return attaching.renew(ours).await;
    }
    if claim.known {
        return Err(attaching.missing());
    }
    attaching.refuse_occupied().await?;
    attaching.put_marker().await?;
    attaching.contend().await?;
    Ok(attaching.attached(true)?)
}

impl Attached {
    /// Whether the marker is still there: if it is not, the backend itself is missing, whatever it answers.
    ///
    /// # Errors
    /// Where the backend does not say.
    pub async fn is_present(&self, backend: &dyn Backend) -> Result<bool, BackendError> {
        match backend.head(&self.path).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The markers that lie on a backend, of whatever deployment.
///
/// # Errors
/// Where it does not answer.
pub async fn read_markers(backend: &dyn Backend, grammar: &PathGrammar) -> Result<Vec<Marker>, BackendError> {
    let reserved = grammar.reserved();
    let folder = format!("{reserved}{}", Marker::FOLDER);
    let (mut found, mut cursor) = (Vec::new(), None);
    for _ in 0..MARKER_PAGES_MAX {
        let page = backend.list(&folder, cursor.as_deref()).await?;
        let paths = page.entries.iter().filter_map(|entry| entry.path.as_str().strip_prefix(&reserved));
        found.extend(paths.filter_map(Marker::parse));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
    let message = format!("more than {MARKER_PAGES_MAX} pages lie under {folder}");
    Err(BackendError::new(backend.name(), "attach", ErrorKind::Unsupported, message))
}

struct Attaching<'a> {
    backend: &'a dyn Backend,
    grammar: &'a PathGrammar,
    claim: &'a Claim,
}

impl Attaching<'_> {
    fn marker(&self) -> Marker {
        Marker {
            deployment: self.claim.deployment,
            backend: self.backend.name().clone(),
            epoch: self.claim.epoch,
        }
    }

    fn path_of(&self, marker: &Marker) -> String {
        format!("{}{}", self.grammar.reserved(), marker.path())
    }

    fn replica_path(&self, marker: &Marker) -> Result<ReplicaPath, BackendError> {
        ReplicaPath::parse(&self.path_of(marker)).map_err(|error| {
            BackendError::new(self.backend.name(), "attach", ErrorKind::Unsupported, error.to_string())
        })
    }

    fn attached(&self, first_time: bool) -> Result<Attached, BackendError> {
        let marker = self.marker();
        Ok(Attached { path: self.replica_path(&marker)?, marker, first_time })
    }

    /// The markers that are there: ours, of any epoch, and others'.
    async fn markers(&self) -> Result<(Vec<Marker>, Vec<Marker>), BackendError> {
        let mine = self.marker();
        let is_mine =
            |marker: &Marker| marker.deployment == mine.deployment && marker.backend == mine.backend;
        Ok(read_markers(self.backend, self.grammar).await?.into_iter().partition(is_mine))
    }

    fn highest_epoch(&self, ours: &[Marker]) -> Result<Option<u64>, AttachError> {
        let found = ours.iter().map(|marker| marker.epoch).max();
        match found.filter(|found| *found > self.claim.epoch) {
            Some(found) => {
                let (backend, epoch) = (self.backend.name().clone(), self.claim.epoch);
                Err(AttachError::OlderCatalog { backend, found, epoch })
            }
            None => Ok(found),
        }
    }

    /// Carries our marker of this epoch on, and takes down those of epochs before.
    async fn renew(&self, ours: Vec<Marker>) -> Result<Attached, AttachError> {
        let mine = self.marker();
        if !ours.contains(&mine) {
            self.put_marker().await?;
        }
        for old in ours.iter().filter(|marker| **marker != mine) {
            self.backend.delete(&self.replica_path(old)?).await?;
        }
        Ok(self.attached(false)?)
    }

    fn foreign(&self, owner: Marker) -> AttachError {
        let backend = self.backend.name().clone();
        if owner.deployment == self.claim.deployment {
            return AttachError::OtherName { backend, owner };
        }
        AttachError::Foreign { backend, path: self.path_of(&owner), owner }
    }

    fn missing(&self) -> AttachError {
        AttachError::Missing { backend: self.backend.name().clone(), path: self.path_of(&self.marker()) }
    }

    /// Looks at the first page: whoever used this backend before has left something there.
    async fn refuse_occupied(&self) -> Result<(), AttachError> {
        if self.claim.adopt {
            return Ok(());
        }
        let page = self.backend.list(self.grammar.prefix(), None).await?;
        match page.entries.iter().find(|entry| self.grammar.parse(entry.path.as_str()).is_some()) {
            Some(entry) => Err(AttachError::Occupied {
                backend: self.backend.name().clone(),
                path: entry.path.as_str().to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Where the answer is lost, the next look decides.
    async fn put_marker(&self) -> Result<(), BackendError> {
        let marker = self.marker();
        let text = format!(
            "This place belongs to s3-orchestrator deployment {}, where it is backend {} (epoch {}).\n\
             Do not remove this file: without it, the deployment takes the backend for missing.\n",
            marker.deployment, marker.backend, marker.epoch
        );
        let body = Body::from_bytes(Bytes::from(text));
        match self.backend.put(&self.replica_path(&marker)?, body, PutOptions::default()).await {
            Err(error) if error.kind != ErrorKind::Unknown => Err(error),
            _ => Ok(()),
        }
    }

    /// Our marker was put; another may have been at the same time.
    ///
    /// Who finds only its own has won, for all who come later find it. Of those who find several, all but the
    /// lowest withdraw; the lowest waits for that, and withdraws as well where another stays: that one may
    /// have found itself alone.
    async fn contend(&self) -> Result<(), AttachError> {
        let mine = self.marker();
        for look in 1..=LOOKS_MAX {
            let (ours, others) = self.markers().await?;
            if !ours.contains(&mine) {
                let message = "the marker was put and is not listed";
                return Err(BackendError::new(&mine.backend, "attach", ErrorKind::Unknown, message).into());
            }
            let Some(other) = others.into_iter().min_by_key(Marker::path) else { return Ok(()) };
            if other.path() < mine.path() || look == LOOKS_MAX {
                self.backend.delete(&self.replica_path(&mine)?).await?;
                return Err(self.foreign(other));
            }
            runtime::sleep(LOOK_PAUSE).await;
        }
        unreachable!("the last look returns")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use runtime::Chance;
    use types::Timestamp;

    use super::*;
    use crate::{Fault, FaultBackend, Faults, MemoryBackend, Operation};

    const DIRECT: &str = "p/.s3-orchestrator/marker/";

    fn claim(deployment: u128) -> Claim {
        let deployment = DeploymentId::from_parts(Timestamp::from_millis(1), deployment);
        Claim { deployment, epoch: 3, known: false, adopt: false }
    }

    fn marker_path(deployment: u128, name: &str, epoch: u64) -> String {
        format!("{DIRECT}{}/{name}/{epoch}", claim(deployment).deployment)
    }

    async fn with(paths: &[String]) -> MemoryBackend {
        let backend = MemoryBackend::new(BackendName::parse("b2").unwrap()).with_page_entries(2);
        for path in paths {
            let path = ReplicaPath::parse(path).unwrap();
            backend.put(&path, Body::from_bytes(Bytes::new()), PutOptions::default()).await.unwrap();
        }
        backend
    }

    fn paths(backend: &MemoryBackend) -> Vec<String> {
        backend.paths().iter().map(|path| path.as_str().to_owned()).collect()
    }

    /// Attaches a backend on which these lie; then these lie there.
    async fn check(before: &[String], claim: &Claim, after: &[String]) {
        let backend = with(before).await;
        let attached = attach(&backend, &PathGrammar::new("p/"), claim).await.unwrap();
        assert!(attached.is_present(&backend).await.unwrap());
        let ours = before.iter().any(|path| path.contains(&claim.deployment.to_string()));
        assert_eq!(attached.first_time, !ours);
        assert_eq!(paths(&backend), after);
    }

    /// Is refused, with this in the message, and nothing is changed.
    async fn check_refused(before: &[String], claim: &Claim, says: &[&str]) {
        let backend = with(before).await;
        let error = attach(&backend, &PathGrammar::new("p/"), claim).await.unwrap_err().to_string();
        for say in says {
            assert!(error.contains(say), "{error:?} should say {say:?}");
        }
        assert_eq!(paths(&backend), before);
    }

    fn replica() -> String {
        "p/photos/cat.jpg~01HF00000000000000000000ZZ.01HF00000000000000000000YY".to_owned()
    }

    #[tokio::test]
    async fn a_new_backend_gets_our_marker() {
        check(&[], &claim(1), &[marker_path(1, "b2", 3)]).await;
        let foreign = "p/photos/cat.jpg".to_owned();
        let before = std::slice::from_ref(&foreign);
        check(before, &claim(1), &[marker_path(1, "b2", 3), foreign.clone()]).await;
    }

    #[tokio::test]
    async fn our_own_backend_is_ours() {
        let mine = [marker_path(1, "b2", 3), replica()];
        check(&mine, &claim(1), &mine).await;
        check(&mine, &Claim { known: true, ..claim(1) }, &mine).await;
    }

    #[tokio::test]
    async fn a_new_epoch_replaces_the_marker() {
        check(&[marker_path(1, "b2", 1), marker_path(1, "b2", 2)], &claim(1), &[marker_path(1, "b2", 3)])
            .await;
    }

    #[tokio::test]
    async fn another_deployments_backend_is_refused() {
        let owner = claim(9).deployment.to_string();
        let path = marker_path(9, "oci", 1);
        let says = [owner.as_str(), "its name is oci", "another bucket", "remove p/.s3-orchestrator/marker/"];
        check_refused(std::slice::from_ref(&path), &claim(1), &says).await;
        check_refused(&[path], &Claim { known: true, adopt: true, ..claim(1) }, &[&owner]).await;
    }

    #[tokio::test]
    async fn another_name_of_this_deployment_is_refused() {
        check_refused(&[marker_path(1, "oci", 3)], &claim(1), &["backend oci", "that name back"]).await;
    }

    #[tokio::test]
    async fn an_older_catalog_is_refused() {
        check_refused(&[marker_path(1, "b2", 4)], &claim(1), &["epoch 4", "older copy"]).await;
    }

    #[tokio::test]
    async fn a_known_backend_without_its_marker_is_missing() {
        let known = Claim { known: true, ..claim(1) };
        check_refused(&[], &known, &["lost its marker", &marker_path(1, "b2", 3)]).await;
        check_refused(&[replica()], &Claim { adopt: true, ..known }, &["lost its marker"]).await;
    }

    #[tokio::test]
    async fn objects_of_nobody_are_taken_only_when_asked_for() {
        check_refused(&[replica()], &claim(1), &["photos/cat.jpg~", "adopt"]).await;
        let adopt = Claim { adopt: true, ..claim(1) };
        check(&[replica()], &adopt, &[marker_path(1, "b2", 3), replica()]).await;
    }

    #[tokio::test]
    async fn what_a_loser_left_behind_does_not_lock_out_who_is_known() {
        let both = [marker_path(1, "b2", 3), marker_path(9, "b2", 1)];
        check(&both, &Claim { known: true, ..claim(1) }, &both).await;
        check_refused(&both, &claim(1), &[&marker_path(9, "b2", 1)]).await;
        let twice = [marker_path(1, "b2", 3), marker_path(1, "oci", 3)];
        check_refused(&twice, &Claim { known: true, ..claim(1) }, &["backend oci"]).await;
    }

    #[tokio::test]
    async fn a_marker_whose_answer_was_lost_is_found() {
        let faults = Faults::none();
        let backend = FaultBackend::new(Arc::new(with(&[]).await), faults.clone());
        faults.script(Operation::Put, [Fault::AnswerLost, Fault::Refuse(ErrorKind::Unavailable)]);
        attach(&backend, &PathGrammar::new(""), &claim(1)).await.unwrap();
        let other = FaultBackend::new(Arc::new(with(&[]).await), faults);
        let error = attach(&other, &PathGrammar::new(""), &claim(1)).await.unwrap_err();
        assert!(matches!(error, AttachError::Backend(_)), "{error}");
    }

    #[tokio::test]
    async fn a_marker_that_goes_away_is_noticed() {
        let backend = with(&[]).await;
        let attached = attach(&backend, &PathGrammar::new(""), &claim(1)).await.unwrap();
        backend.delete(&attached.path).await.unwrap();
        assert!(!attached.is_present(&backend).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_attach_at_once_one_wins() {
        for seed in 0..300 {
            let chance = Chance::seeded(seed);
            let store = Arc::new(with(&[]).await);
            // Each request takes a while of its own, so the two interleave in every order.
            let slow = || {
                let faults = Faults::none();
                for operation in [Operation::Put, Operation::List, Operation::Delete] {
                    let waits = (0..20).map(|_| Fault::Slow(Duration::from_millis(chance.below(200))));
                    faults.script(operation, waits);
                }
                FaultBackend::new(store.clone(), faults)
            };
            let (first, second, grammar) = (slow(), slow(), PathGrammar::new("p/"));
            let (low, high) = (claim(1), claim(2));
            let (low, high) =
                futures::join!(attach(&first, &grammar, &low), attach(&second, &grammar, &high));
            assert!(low.is_ok() != high.is_ok(), "seed {seed}: {low:?} {high:?}");
            let winner = low.or(high).unwrap();
            assert_eq!(store.paths(), [winner.path], "seed {seed}");
        }
    }
}
