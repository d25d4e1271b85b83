//! What goes wrong in the simulated world, by name.

/// An enum whose variants have names.
macro_rules! named {
    ($(#[$about:meta])* $Kind:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $Kind {
            $($(#[$doc])* $variant,)*
        }

        impl $Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name under which it is counted, and cut from a plan.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

pub(crate) use named;

named! {
    /// One kind of thing that goes wrong.
    Fault {
        /// An answer, and each chunk, takes its time.
        Slow = "slow",
        /// A request is refused before it had any effect.
        Refused = "refused",
        /// A request is turned away because there are too many.
        Throttled = "throttled",
        /// A request is never answered and takes no byte.
        Stalled = "stalled",
        /// A put is stored, and the answer is an error.
        PutAnswerLost = "put-answer-lost",
        /// A put ends in an error, and its bytes appear later.
        PutArrivesLate = "put-arrives-late",
        /// A put is answered with an error inside a success, and nothing is stored.
        PutErrorInside = "put-error-inside",
        /// The connection of a put breaks midway.
        PutBreaks = "put-breaks",
        /// A put takes no further byte from some chunk on.
        PutStallsMidway = "put-stalls-midway",
        /// A put takes the whole body and never answers; the bytes appear at some time.
        PutNeverAnswers = "put-never-answers",
        /// A put is answered with success before the body was read, and nothing is stored.
        PutAnsweredEarly = "put-answered-early",
        /// The provider says that it is full.
        PutFull = "put-full",
        /// A put was dropped with its whole body sent, and is stored at that moment.
        PutDroppedStored = "put-dropped-stored",
        /// A put was dropped with its whole body sent, and its bytes appear later.
        PutDroppedLate = "put-dropped-late",
        /// A download breaks off with an error.
        GetBreaks = "get-breaks",
        /// A download ends early in silence.
        GetTruncated = "get-truncated",
        /// A download has a wrong bit.
        GetFlipped = "get-flipped",
        /// A download has another length than the bytes that were asked for.
        GetWrongLength = "get-wrong-length",
        /// The provider says that an object is not there, although it is.
        GetNotFound = "get-not-found",
        /// A delete happens, and the answer is an error.
        DeleteAnswerLost = "delete-answer-lost",
        /// Some of many deletes fail.
        DeletePartly = "delete-partly",
        /// A delete hides the bytes, which stay and are billed.
        DeleteHides = "delete-hides",
        /// A listing does not show the newest objects, and shows removed ones.
        ListStale = "list-stale",
        /// Nothing reaches the provider for a while.
        Gone = "gone",
        /// A disk is not mounted for a while: nothing is there, not even the marker.
        Unmounted = "unmounted",
        /// Stored bytes change.
        Rot = "rot",
        /// Stored bytes are lost.
        Vanish = "vanish",
        /// What lies on a provider and is not of our making is replaced by its owner.
        ForeignReplaced = "foreign-replaced",
        /// Its owner removes it.
        ForeignRemoved = "foreign-removed",
        /// The catalog's answer is lost, and what was asked for happened.
        CatalogAnswerLost = "catalog-answer-lost",
        /// The catalog has no room, or cannot be reached: nothing happens.
        CatalogUnavailable = "catalog-unavailable",
        /// The catalog is lost.
        CatalogLost = "catalog-lost",
        /// A copy of the catalog from before is put in its place.
        CatalogRolledBack = "catalog-rolled-back",
        /// The catalog answers nothing for a while, not even reads.
        CatalogAway = "catalog-away",
        /// More replicas are wanted from the next start on.
        FactorRaised = "factor-raised",
        /// Fewer are.
        FactorLowered = "factor-lowered",
        /// The process is stopped in order.
        Restart = "restart",
        /// The process is killed at some await point.
        Crash = "crash",
        /// An instance stands still for a while.
        InstanceStopped = "instance-stopped",
        /// The clock of an instance's machine is not that of the others.
        ClocksDiffer = "clocks-differ",
        /// The clock of the next process is wrong.
        ClockSkew = "clock-skew",
        /// The clock jumps while the process runs.
        ClockJump = "clock-jump",
        /// A client goes away before it is answered.
        ClientStops = "client-stops",
        /// A client's body breaks off.
        BodyBreaks = "body-breaks",
        /// A client's body is shorter than it said.
        BodyShort = "body-short",
        /// A client's body is not what its digest says.
        BodyWrongDigest = "body-wrong-digest",
    }
}

impl Fault {
    /// Those that a provider rolls dice for at each request.
    pub const OF_REQUESTS: &'static [Self] = &[
        Self::Slow,
        Self::Refused,
        Self::Throttled,
        Self::Stalled,
        Self::PutAnswerLost,
        Self::PutArrivesLate,
        Self::PutErrorInside,
        Self::PutBreaks,
        Self::PutStallsMidway,
        Self::PutNeverAnswers,
        Self::PutAnsweredEarly,
        Self::PutFull,
        Self::GetBreaks,
        Self::GetTruncated,
        Self::GetFlipped,
        Self::GetWrongLength,
        Self::GetNotFound,
        Self::DeleteAnswerLost,
        Self::DeletePartly,
        Self::ListStale,
    ];

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.as_str() == name)
    }
}
