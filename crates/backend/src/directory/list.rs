//! Listing: folder by folder in the order of names on the disk, from where the last page ended.
//!
//! The cursor is the place on the disk of the last entry, so pages need no state. Memory is bounded by the page:
//! of a folder with a million names only the next few thousand are kept, at the price of reading it
//! again later.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;
use types::ReplicaPath;

use super::disk::{Disk, is_file, size_of};
use super::names::{self, Spelled};
use crate::{BackendError, Entry, ListPage};

/// Names of one folder that are kept at a time.
const NAMES_MAX: usize = 4_096;

/// One page of what lies under a prefix.
pub(super) fn list(
    disk: &Disk,
    prefix: &str,
    cursor: Option<&str>,
    page_entries: usize,
) -> Result<ListPage, BackendError> {
    disk.check_root("list")?;
    let mut walk = Walk::start(disk, prefix, cursor);
    let mut found = Vec::new();
    while found.len() <= page_entries {
        match walk.next().map_err(|errno| disk.error("list", "read a folder", errno))? {
            Some(entry) => found.push(entry),
            None => break,
        }
    }
    // One more than asked for was looked for, to know whether there is more.
    let more = found.len() > page_entries;
    found.truncate(page_entries);
    let next = found.last().filter(|_| more).map(|(place, _)| place.clone());
    Ok(ListPage { entries: found.into_iter().map(|(_, entry)| entry).collect(), next })
}

struct Walk<'a> {
    disk: &'a Disk,
    prefix: &'a [u8],
    /// From the outermost folder to the one that is being read.
    levels: Vec<Level>,
    /// The names of those folders.
    folders: Vec<String>,
    /// The innermost folder, where it is open: one descriptor suffices for any depth.
    open: Option<OwnedFd>,
}

/// A folder that is being read.
struct Level {
    /// The path that its entries begin with.
    text: Vec<u8>,
    /// The next names, the nearest last.
    names: Vec<Name>,
    /// Where to read on when those are used up.
    resume: Option<String>,
    /// The part of the cursor that speaks of this folder and those in it.
    cursor: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    name: String,
    folder: bool,
}

impl<'a> Walk<'a> {
    fn start(disk: &'a Disk, prefix: &'a str, cursor: Option<&str>) -> Self {
        let (folders, text) = names::folders_of_prefix(prefix);
        // A cursor of this listing begins with the prefix's own folders.
        let cursor: Vec<_> =
            cursor.into_iter().flat_map(|place| place.split('/')).map(str::to_owned).collect();
        let cursor = cursor.strip_prefix(folders.as_slice()).unwrap_or_default().to_vec();
        let level = Level::new(text.as_bytes().to_vec(), cursor);
        Self { disk, prefix: prefix.as_bytes(), levels: vec![level], folders, open: None }
    }

    /// The next entry and its place on the disk.
    fn next(&mut self) -> Result<Option<(String, Entry)>, Errno> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.pop() else {
                if !self.read_on()? {
                    self.leave();
                }
                continue;
            };
            if name.folder {
                self.enter(name.name);
            } else if let Some(found) = self.look_at(&name.name)? {
                return Ok(Some(found));
            }
        }
    }

    /// Reads more names of the innermost folder; false where there are none.
    fn read_on(&mut self) -> Result<bool, Errno> {
        let Some(level) = self.levels.last_mut() else { return Ok(false) };
        let Some(from) = level.resume.take() else { return Ok(false) };
        let folder = match self.disk.folders.open(&self.folders) {
            Ok(folder) => folder,
            // It went with its last entry, or never was.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        level.read(&folder, &from, self.prefix)?;
        self.open = Some(folder);
        Ok(true)
    }

    fn enter(&mut self, name: String) {
        let Some(level) = self.levels.last() else { return };
        let Some(added) = names::read_folder(&name) else { return };
        let on_cursor = level.cursor.first() == Some(&name);
        let cursor = if on_cursor { level.cursor[1..].to_vec() } else { Vec::new() };
        let text = [level.text.as_slice(), &added].concat();
        self.levels.push(Level::new(text, cursor));
        self.folders.push(name);
        self.open = None;
    }

    fn leave(&mut self) {
        self.levels.pop();
        self.folders.pop();
        self.open = None;
    }

    /// The entry that a file stands for; none where the file is gone or not ours.
    fn look_at(&mut self, name: &str) -> Result<Option<(String, Entry)>, Errno> {
        let Some(level) = self.levels.last() else { return Ok(None) };
        let Some(path) = self.path_of(level, name) else { return Ok(None) };
        if self.open.is_none() {
            self.open = match self.disk.folders.open(&self.folders) {
                Err(Errno::NOENT) => return Ok(None),
                answer => Some(answer?),
            };
        }
        let Some(folder) = &self.open else { return Ok(None) };
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_file(&stat) => stat,
            Ok(_) | Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let place: String = self.folders.iter().flat_map(|folder| [folder, "/"]).chain([name]).collect();
        Ok(Some((place, Entry { path, size: size_of(&stat) })))
    }

    /// The path that was put here. Only the one spelling that we write is ours.
    fn path_of(&self, level: &Level, name: &str) -> Option<ReplicaPath> {
        let text = [level.text.as_slice(), &names::read_file(name)?].concat();
        let path = ReplicaPath::parse(&String::from_utf8(text).ok()?).ok()?;
        let spelled = Spelled::new(path.as_str());
        (spelled.folders == self.folders && spelled.data() == name).then_some(path)
    }
}

impl Level {
    fn new(text: Vec<u8>, cursor: Vec<String>) -> Self {
        let from = cursor.first().cloned().unwrap_or_default();
        Self { text, names: Vec::new(), resume: Some(from), cursor }
    }

    /// Keeps the smallest names from `from` on that may lead to the prefix.
    fn read(&mut self, folder: &OwnedFd, from: &str, prefix: &[u8]) -> Result<(), Errno> {
        let mut names = Vec::new();
        let mut cut = None;
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name < from || cut.as_deref().is_some_and(|cut: &str| name >= cut) {
                continue;
            }
            // The file at the end of the cursor was in the last page; a folder there was not read to its end.
            if self.cursor.len() == 1 && self.cursor[0] == name {
                continue;
            }
            let Some(folder) = is_folder(folder, &entry)? else { continue };
            if !self.leads_to(prefix, name, folder) {
                continue;
            }
            names.push(Name { name: name.to_owned(), folder });
            if names.len() >= 2 * NAMES_MAX {
                names.select_nth_unstable(NAMES_MAX);
                cut = Some(names[NAMES_MAX].name.clone());
                names.truncate(NAMES_MAX);
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        self.names = names;
        self.resume = cut;
        Ok(())
    }

    fn leads_to(&self, prefix: &[u8], name: &str, folder: bool) -> bool {
        let added = if folder { names::read_folder(name) } else { names::read_file(name) };
        let Some(added) = added else { return false };
        let text = [self.text.as_slice(), &added].concat();
        text.starts_with(prefix) || (folder && prefix.starts_with(&text))
    }
}

/// Whether an entry is a folder; `None` where it is neither folder nor file, or is gone.
fn is_folder(folder: &OwnedFd, entry: &rustix::fs::DirEntry) -> Result<Option<bool>, Errno> {
    let kind = match entry.file_type() {
        FileType::Unknown => match rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        },
        kind => kind,
    };
    Ok(match kind {
        FileType::Directory => Some(true),
        FileType::RegularFile => Some(false),
        _ => None,
    })
}
