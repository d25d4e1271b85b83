//! The files that clients move: random bytes that a seed decides.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use runtime::Chance;

/// Sizes of the single files, which are named by them: nothing, one byte, one block, just above a MiB, and
/// above what clients send in one piece.
const SIZES: [usize; 5] = [0, 1, 4096, 1_048_579, 20_971_521];
/// The largest one.
const LARGE: usize = 200 << 20;
/// Names in the tree, apart from its many small files.
const NAMES: [&str; 10] = [
    "a/1.bin",
    "a/2.bin",
    "a/b/c/deep.bin",
    "with space/and+plus&more.bin",
    "unicode/äöü ☃ 日本語.txt",
    "unicode/%41%2F.bin",
    "dots/..x/y.bin",
    "quote'\"s.bin",
    "empty",
    "big.bin",
];
/// How many small files the tree has besides.
const MANY: usize = 30;

/// A folder of files to move. It stays for the next run, for it is the same for the same seed.
#[derive(Debug)]
pub struct Data {
    /// The folder: files named by their size, and `tree`.
    pub folder: PathBuf,
    /// What decided its bytes.
    pub seed: u64,
}

impl Data {
    /// Makes the files, where they are not there yet. `S3O_SEED` decides their bytes.
    ///
    /// # Panics
    /// Where the folder cannot be written, or `S3O_SEED` is not a number.
    #[must_use]
    pub fn new(parent: &Path) -> Self {
        let seed = std::env::var("S3O_SEED").map_or(1, |text| text.parse().expect("S3O_SEED is a number"));
        let folder = parent.join(format!("e2e-data-{seed}"));
        let complete = folder.join(".complete");
        if !complete.exists() {
            write_all(&folder, seed);
            File::create(complete).expect("the folder can be written");
        }
        Self { folder, seed }
    }

    /// The largest file.
    #[must_use]
    pub fn large(&self) -> PathBuf {
        self.folder.join(LARGE.to_string())
    }
}

fn write_all(folder: &Path, seed: u64) {
    let chance = Chance::seeded(seed);
    for size in SIZES.into_iter().chain([LARGE]) {
        write(&folder.join(size.to_string()), size, &chance);
    }
    for name in NAMES {
        let size = match name {
            "empty" => 0,
            "big.bin" => 6_000_000,
            _ => small(&chance),
        };
        write(&folder.join("tree").join(name), size, &chance);
    }
    for number in 0..MANY {
        write(&folder.join(format!("tree/many/{number:03}.bin")), small(&chance), &chance);
    }
}

fn small(chance: &Chance) -> usize {
    usize::try_from(1 + chance.below(20_000)).expect("it is small")
}

fn write(path: &Path, size: usize, chance: &Chance) {
    std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the folder can be made");
    let mut file = BufWriter::new(File::create(path).expect("the file can be made"));
    let mut left = size;
    while left > 0 {
        let bytes = chance.next_u64().to_le_bytes();
        let take = left.min(bytes.len());
        file.write_all(&bytes[..take]).expect("the disk has room");
        left -= take;
    }
    file.flush().expect("the disk has room");
}
