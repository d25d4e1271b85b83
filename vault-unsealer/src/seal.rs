//! What a node's answers mean. Pure.

use vault::{Health, SealStatus};

/// The state of a node, as its seal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It was not asked yet.
    Unknown,
    /// No trustworthy answer.
    Unreachable,
    /// The cluster has no keys yet. Making them is a person's work.
    NotInitialised,
    /// A raft node that has not heard of its cluster, which has keys: it joins by itself, then it is sealed.
    MustJoin,
    /// Sealed, and no share given yet.
    Sealed,
    /// Sealed, and some shares given.
    Unsealing,
    /// Another node is the active one.
    Standby,
    /// The active node.
    Active,
    /// Opened by a device or a service, or about to move to or from one: shares do not help.
    AutoUnseal,
    /// It belongs to another cluster than told.
    WrongCluster,
}

impl State {
    pub(crate) const ALL: [Self; 10] = [
        Self::Unknown,
        Self::Unreachable,
        Self::NotInitialised,
        Self::MustJoin,
        Self::Sealed,
        Self::Unsealing,
        Self::Standby,
        Self::Active,
        Self::AutoUnseal,
        Self::WrongCluster,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::NotInitialised => "not_initialised",
            Self::MustJoin => "must_join",
            Self::Sealed => "sealed",
            Self::Unsealing => "unsealing",
            Self::Standby => "standby",
            Self::Active => "active",
            Self::AutoUnseal => "auto_unseal",
            Self::WrongCluster => "wrong_cluster",
        }
    }

    /// Whether it serves.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Standby | Self::Active)
    }

    /// Whether shares can open it.
    pub(crate) fn wants_shares(self) -> bool {
        matches!(self, Self::Sealed | Self::Unsealing)
    }
}

/// The state of a node that answered. `cluster_has_keys`: some node of its cluster was seen initialised;
/// `cluster`: the id of the cluster that it should belong to, where that is known. `health` is asked of
/// unsealed nodes only.
pub(crate) fn judge(
    seal: &SealStatus,
    health: Option<&Health>,
    cluster_has_keys: bool,
    cluster: Option<&str>,
) -> State {
    if !seal.sealed {
        return match (&seal.cluster_id, cluster) {
            (Some(is), Some(should)) if is != should => State::WrongCluster,
            _ if health.is_some_and(|health| !health.standby) => State::Active,
            _ => State::Standby,
        };
    }
    if seal.kind != "shamir" || seal.recovery_seal || seal.migration {
        return State::AutoUnseal;
    }
    if !seal.initialized {
        let joins = seal.storage_type == "raft" && cluster_has_keys;
        return if joins { State::MustJoin } else { State::NotInitialised };
    }
    if seal.progress > 0 { State::Unsealing } else { State::Sealed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(text: &str) -> SealStatus {
        let mut seal: SealStatus = serde_json::from_str(
            r#"{"type":"shamir","initialized":true,"sealed":true,"t":3,"n":5,"progress":0,"storage_type":"raft"}"#,
        )
        .unwrap();
        for word in text.split_whitespace() {
            match word {
                "new" => seal.initialized = false,
                "open" => seal.sealed = false,
                "half" => seal.progress = 1,
                "recovery" => seal.recovery_seal = true,
                "migration" => seal.migration = true,
                "file" => seal.storage_type = "file".into(),
                id if id.starts_with('#') => seal.cluster_id = Some(id.to_owned()),
                kind => seal.kind = kind.to_owned(),
            }
        }
        seal
    }

    fn check(text: &str, has_keys: bool, state: State) {
        assert_eq!(judge(&seal(text), None, has_keys, Some("#ours")), state, "{text}");
    }

    #[test]
    fn seals_are_told_apart() {
        check("", false, State::Sealed);
        check("half", false, State::Unsealing);
        check("new", false, State::NotInitialised);
        check("new", true, State::MustJoin);
        check("new file", true, State::NotInitialised);
        check("awskms recovery", false, State::AutoUnseal);
        check("static", false, State::AutoUnseal);
        check("recovery", false, State::AutoUnseal);
        check("migration", false, State::AutoUnseal);
        check("static open #ours", false, State::Standby);
        check("open #ours", false, State::Standby);
        check("open #other", false, State::WrongCluster);
        check("open", false, State::Standby);
    }
}
