//! Files of others' directories: put in place whole, and taken away with the directories that were made for them.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{InstallError, failed};
use crate::state_file::is_absent;

/// What a file is called before it is whole.
const FRESH: &str = ".pingu-new";

/// Gives a file this content and mode at once: whoever opens it finds the old one or the new one, whole. Its directory must be there.
pub(super) fn place(path: &Path, content: &[u8], mode: u32) -> Result<(), InstallError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(FRESH);
    let fresh = PathBuf::from(fresh);
    let write = || {
        // One that an attempt before this left; through a link nothing is written.
        match fs::remove_file(&fresh) {
            Err(error) if !is_absent(&error) => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&fresh)?;
        file.write_all(content)?;
        // Whatever the umask is.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    let written: io::Result<()> = write();
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written.map_err(failed(path))
}

/// The directories above a file that are not there, the deepest first.
pub(super) fn missing_directories(root: &Path, path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1).take_while(|d| *d != root);
    above
        .take_while(|directory| !directory.exists())
        .map(Path::to_owned)
        .collect()
}

/// Makes the directories above a file, and tells which were missing.
pub(super) fn make_directories(root: &Path, path: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let missing = missing_directories(root, path);
    for directory in missing.iter().rev() {
        fs::create_dir(directory)
            .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o755)))
            .map_err(failed(directory))?;
    }
    Ok(missing)
}

/// Removes those that are empty, the deepest first. Others hold what somebody else has put there since.
pub(super) fn remove_empty(directories: &BTreeSet<PathBuf>) {
    for directory in directories.iter().rev() {
        let _ = fs::remove_dir(directory);
    }
}

pub(super) fn remove(path: &Path) -> Result<(), InstallError> {
    fs::remove_file(path).map_err(failed(path))
}

/// Why nothing can be put at a place: something above it is no directory, or leads out of the root.
pub(super) fn obstacle(root: &Path, path: &Path) -> Option<String> {
    let is_live = root == Path::new("/");
    let above = path.ancestors().skip(1).take_while(|d| *d != root);
    let mut wrong = above.filter_map(|directory| {
        let found = fs::symlink_metadata(directory).ok()?;
        let shown = directory.display();
        // The links of a whole system lead to its own places.
        if found.is_symlink() && !is_live {
            Some(format!("{shown} is a link: it may lead out of the root"))
        } else {
            (!directory.is_dir()).then(|| format!("{shown} is no directory"))
        }
    });
    wrong.next()
}
