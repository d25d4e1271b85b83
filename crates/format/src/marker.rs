//! The marker that says whose backend this is.

use types::{BackendName, DeploymentId};

/// Names the deployment, the backend and the epoch. All of it stands in the path, so that a listing tells
/// everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The installation that owns what lies here.
    pub deployment: DeploymentId,
    /// The backend's name within it.
    pub backend: BackendName,
    /// Rises with each rebuild of the catalog.
    pub epoch: u64,
}

impl Marker {
    /// Where markers lie, below [`PathGrammar::reserved`](crate::PathGrammar::reserved).
    pub const FOLDER: &str = "marker/";

    /// The marker's path below the reserved folder.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}{}/{}/{}", Self::FOLDER, self.deployment, self.backend, self.epoch)
    }

    /// Reads a path below the reserved folder.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix(Self::FOLDER)?.split('/');
        let marker = Self {
            deployment: parts.next()?.parse().ok()?,
            backend: BackendName::parse(parts.next()?).ok()?,
            epoch: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(marker)
    }
}

#[cfg(test)]
mod tests {
    use types::Timestamp;

    use super::*;

    #[test]
    fn a_marker_is_read_from_its_path() {
        let marker = Marker {
            deployment: DeploymentId::from_parts(Timestamp::from_millis(5), 6),
            backend: BackendName::parse("b2").unwrap(),
            epoch: 3,
        };
        assert_eq!(Marker::parse(&marker.path()), Some(marker));
        assert_eq!(Marker::parse("marker/nonsense"), None);
    }
}
