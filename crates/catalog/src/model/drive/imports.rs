//! Imports of what lies on a backend.

use types::{ObjectKey, ReplicaPath};

use super::{Drive, QUOTA, SIZES, alike, blocks, md5, pick, state};
use crate::{Catalog, Import, Object};

/// Paths that things lie at.
const PATHS: u8 = 6;

fn path(number: u8) -> ReplicaPath {
    ReplicaPath::parse(&format!("old/{}", number % PATHS)).unwrap()
}

impl Drive {
    pub(super) async fn import(&mut self, backend: u8, key: ObjectKey, at: u8, size: u8) {
        let backend = *pick(&self.w.backends, backend).expect("there are some");
        let size = SIZES[usize::from(size) % SIZES.len()];
        let import = Import {
            change: self.w.ids.change(),
            backend,
            path: path(at),
            stamp: format!("tag of {size}"),
            blob: self.w.ids.blob(),
            replica: self.w.ids.replica(),
            charge: size,
            quota: Some(QUOTA),
            bucket: self.w.bucket,
            key,
            state: state(size),
            md5: md5(size),
            blocks: blocks(size),
            wanted: 2,
        };
        let model = self.model.import(&import);
        let made = self.w.catalog.import(import.clone()).await;
        let Some((made, expected)) = alike("import", made, model) else { return };
        self.rises(&made.object, false);
        assert_eq!(Object { revision: 0, ..made.object.clone() }, expected);
        let again = self.w.catalog.import(import).await.unwrap();
        assert_eq!(again.object, made.object, "the same change is one");
    }

    pub(super) async fn compare_imports(&self) {
        self.compare_imports_of(&*self.w.catalog).await;
    }

    /// What was imported is known, to this catalog or to one that was made anew from what was shipped.
    pub(super) async fn compare_imports_of(&self, catalog: &dyn Catalog) {
        let paths: Vec<ReplicaPath> = (0..PATHS).map(path).collect();
        for backend in &self.w.backends {
            let known = catalog.imports_at(*backend, &paths).await.unwrap();
            for (path, known) in paths.iter().zip(known) {
                let expected = self.model.import_at(*backend, path);
                assert_eq!(known.as_ref().map(|known| known.replica), expected, "{path}");
                let Some(replica) = expected else { continue };
                assert_eq!(catalog.import_of(replica).await.unwrap(), known);
            }
        }
    }
}
