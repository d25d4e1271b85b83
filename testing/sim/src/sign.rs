//! What limits, breakers and outages led to in a run, by name: a run that says that nothing is ever over says how
//! often it came close.

macro_rules! signs {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One kind of thing that limits, breakers and outages lead to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Sign {
            $($(#[$doc])* $variant,)*
        }

        impl Sign {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name under which it is counted.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

signs! {
    /// A provider began to count a new period.
    PeriodChange = "periods-changed",
    /// A provider has counted all that clients may have of a limit.
    LimitFull = "limits-full",
    /// A client was told that limits are reached, and until when.
    SlowDown = "slow-downs",
    /// A client that waited as long as it was told was served.
    ServedAgain = "served-after-slow-down",
    /// A client was told to come again soon, for nobody could grant anything.
    CannotTell = "slow-downs-for-a-second",
    /// A process that was killed had something in hand, and that is lost to the period.
    GrantLost = "grants-lost",
    /// A process that was stopped in order handed back what it had.
    HandedBack = "grants-handed-back",
    /// A backend's breaker opened.
    BreakerOpened = "breakers-opened",
    /// One request found out whether a backend is back.
    BreakerProbed = "breakers-probed",
    /// A backend's breaker closed again.
    BreakerClosed = "breakers-closed",
    /// A breaker of the catalog opened.
    CatalogBreakerOpened = "catalog-breakers-opened",
    /// The catalog did not answer a read.
    CatalogReadFailed = "catalog-reads-failed",
    /// A read was answered from memory.
    DegradedRead = "degraded-reads",
    /// A read was refused because the catalog does not answer and nothing is remembered.
    UnknownRead = "reads-refused-without-catalog",
    /// A replica was made out of what limits leave to maintenance.
    RepairedWithinLimits = "repairs-within-limits",
    /// A replica was made although what fails is left alone.
    RepairedBehindBreakers = "repairs-behind-breakers",
}
