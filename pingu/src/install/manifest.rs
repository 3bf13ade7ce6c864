//! What was installed: a list of files with their checksums, so that what somebody has changed or replaced since is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    FILE_BYTES_MAX, InstallError, failed,
    files::{make_directories, missing_directories, place, remove},
};
use crate::state_file::{is_absent, read_at_most};

/// Where it lies.
const PLACE: &str = "var/lib/pingu/installed.json";

const MODE: u32 = 0o644;

/// The list. Paths are as below the root, without a slash before them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Files and their checksums: two while one is being replaced by the other.
    files: BTreeMap<String, Vec<String>>,
    /// Directories that were made.
    directories: BTreeSet<String>,
}

impl Manifest {
    /// What is noted below a root; nothing where there is no note.
    pub(super) fn read(root: &Path) -> Result<Self, InstallError> {
        let path = root.join(PLACE);
        match read_at_most(&path, FILE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(io::Error::from)
                .map_err(failed(&path)),
            Err(error) if is_absent(&error) => Ok(Self::default()),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Notes it.
    pub(super) fn write(&mut self, root: &Path) -> Result<(), InstallError> {
        let path = root.join(PLACE);
        self.note_directories(root, &missing_directories(root, &path));
        make_directories(root, &path)?;
        let text = serde_json::to_string_pretty(self).expect("it has only string keys");
        place(&path, format!("{text}\n").as_bytes(), MODE)
    }

    /// Removes the note.
    pub(super) fn remove(root: &Path) -> Result<(), InstallError> {
        let path = root.join(PLACE);
        match path.symlink_metadata() {
            Ok(_) => remove(&path),
            Err(_) => Ok(()),
        }
    }

    /// Where the note lies.
    pub(super) fn path(root: &Path) -> PathBuf {
        root.join(PLACE)
    }

    /// A file was written and not removed since.
    pub(super) fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    /// It still has the content that was written.
    pub(super) fn is_untouched(&self, file: &str, content: &[u8]) -> bool {
        let sum = checksum(content);
        self.files.get(file).is_some_and(|sums| sums.contains(&sum))
    }

    /// It is about to get this content.
    pub(super) fn will_be(&mut self, file: &str, content: &[u8]) {
        let sums = self.files.entry(file.to_owned()).or_default();
        let sum = checksum(content);
        if !sums.contains(&sum) {
            sums.push(sum);
        }
    }

    /// It has this content.
    pub(super) fn is(&mut self, file: &str, content: &[u8]) {
        self.files.insert(file.to_owned(), vec![checksum(content)]);
    }

    /// Directories are about to be made.
    pub(super) fn note_directories(&mut self, root: &Path, missing: &[PathBuf]) {
        let inside = missing.iter().filter_map(|d| d.strip_prefix(root).ok());
        self.directories
            .extend(inside.map(|directory| directory.display().to_string()));
    }

    /// The directories that were made.
    pub(super) fn directories(&self, root: &Path) -> impl Iterator<Item = PathBuf> {
        self.directories.iter().map(move |inside| root.join(inside))
    }
}

/// Tells one content from another: an accident does not change a file so that this stays the same (FNV-1a by words of 64 bits, and the
/// length).
pub(super) fn checksum(content: &[u8]) -> String {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut sum = BASIS;
    for chunk in content.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(PRIME);
        // The product alone never carries what is above down.
        sum ^= sum >> 32;
    }
    format!("{sum:016x}-{}", content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_change_is_seen() {
        let content: Vec<u8> = (0..100).collect();
        let sum = checksum(&content);
        for place in 0..content.len() {
            for bit in 0..8 {
                let mut other = content.clone();
                other[place] ^= 1 << bit;
                assert_ne!(checksum(&other), sum);
            }
        }
        assert_ne!(checksum(&content[..99]), sum);
        assert_ne!(checksum(b""), checksum(b"\0"));
    }

    #[test]
    fn a_replacement_may_be_interrupted() {
        let mut manifest = Manifest::default();
        manifest.is("file", b"old");
        manifest.will_be("file", b"new");
        assert!(manifest.is_untouched("file", b"old") && manifest.is_untouched("file", b"new"));
        manifest.is("file", b"new");
        assert!(!manifest.is_untouched("file", b"old") && manifest.is_untouched("file", b"new"));
    }
}
