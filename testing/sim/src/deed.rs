//! What workers and operators did in a run, by name: a test that says that something holds says how often it was tried.

use crate::fault::named;

named! {
    /// One kind of thing that workers or an operator do.
    Deed {
        /// A replica that was missing was made.
        Repaired = "replicas-repaired",
        /// A replica was made in the place of one on a backend that is gone.
        StoodIn = "replicas-stood-in",
        /// A repair failed, and was put off.
        RepairPutOff = "repairs-put-off",
        /// A replica that was too many was doomed.
        Trimmed = "replicas-trimmed",
        /// A replica was read whole.
        Scrubbed = "replicas-scrubbed",
        /// A replica was found to be wrong by that.
        ScrubFound = "wrong-replicas-scrubbed",
        /// A replica was moved from a backend that drains.
        Drained = "replicas-drained",
        /// A backend that was to become empty became it.
        DrainEnded = "drains-ended",
        /// A drain was given up.
        DrainCancelled = "drains-cancelled",
        /// A replica was moved for balance.
        Rebalanced = "replicas-rebalanced",
        /// A backend was compared with the ledger.
        Reconciled = "backends-reconciled",
        /// Bytes that no row named were put into quarantine.
        StrayQuarantined = "strays-quarantined",
        /// Bytes that no row named were of a blob that is known.
        Reclaimed = "replicas-reclaimed",
        /// A live replica was found not to be there.
        VanishedFound = "vanished-found",
        /// An object expired.
        Expired = "objects-expired",
        /// An instance declared another one dead.
        DeclaredDead = "instances-declared-dead",
        /// One that was declared dead came back, and learnt it.
        ZombieReturned = "zombies-returned",
        /// A catalog was rebuilt from what lies on the providers.
        Rebuilt = "catalogs-rebuilt",
        /// A drain went on in a catalog that was rebuilt.
        DrainCameBack = "drains-came-back",
        /// A brake went on holding there.
        BrakeCameBack = "brakes-came-back",
        /// What was in quarantine waits there as long as it would have.
        QuarantineCameBack = "quarantines-came-back",
        /// An old catalog found out that it is one.
        OldCatalogNoticed = "old-catalogs-noticed",
        /// An object that lay on a provider before was imported.
        Imported = "objects-imported",
        /// An import found what was imported before.
        ImportKnown = "imports-known",
        /// An import found a key taken.
        ImportTaken = "imports-taken",
        /// An object could not be imported.
        ImportFailed = "imports-failed",
        /// What was imported was deleted.
        ImportedDeleted = "imported-deleted",
        /// The brake held deletes.
        BrakeHeld = "brakes-engaged",
        /// An operator released it.
        BrakeReleased = "brakes-released",
    }
}
