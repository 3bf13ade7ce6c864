//! What `pingu install` leaves outside pingu's own places, and `pingu uninstall` takes away: names for iproute2.
//!
//! Every file begins with a mark. Files without it are somebody else's: neither overwritten nor removed.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    config::Config,
    install::names::{Database, Entry},
    state_file::{is_absent, read_at_most, replace},
    units::TableId,
};

mod names;

/// How the first line of our files begins.
const MARK: &str = "# Written by `pingu install`";

/// How the line begins that names the directories that were made for a file, which go with it.
const MADE: &str = "# Made for it: ";

/// What pingu's protocol number is called.
const PROTOCOL_NAME: &str = "pingu";

/// Files of names are small; one that is larger is none.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// Why nothing was installed or not everything removed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Something stands in the way; nothing was written.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// A file or directory could not be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was done with a file, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It was written.
    Wrote(PathBuf),
    /// It was as it should be.
    Unchanged(PathBuf),
    /// It is somebody else's, and says the same.
    SaysTheSame(PathBuf),
    /// It was removed.
    Removed(PathBuf),
    /// It is somebody else's and stays.
    LeftAlone(PathBuf),
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrote(path) => write!(f, "wrote {}", path.display()),
            Self::Unchanged(path) => write!(f, "unchanged: {}", path.display()),
            Self::SaysTheSame(path) => write!(
                f,
                "left alone: {} says the same, but is not pingu's",
                path.display()
            ),
            Self::Removed(path) => write!(f, "removed {}", path.display()),
            Self::LeftAlone(path) => write!(f, "left alone: {} is not pingu's", path.display()),
        }
    }
}

/// The tables of their own that uplinks have, and what they are called.
pub fn table_names(config: &Config) -> Vec<(TableId, String)> {
    let tables = config.uplinks.iter().filter_map(|u| u.table.as_ref());
    tables.map(|table| (table.id, table.name.clone())).collect()
}

/// Installs what goes with a configuration, below a directory that stands for `/`. Where all is as it should be, nothing is written.
///
/// # Errors
/// When somebody else has a name, a number or a file that is needed: nothing has been written then. When a file cannot be.
pub fn install(config: &Config, root: &Path) -> Result<Vec<Deed>, InstallError> {
    let wanted = wanted(config);
    let mut refusals = Vec::new();
    if !root.is_dir() {
        refusals.push(format!("{} is no directory", root.display()));
    }
    for (database, entries) in &wanted {
        let path = database.own_file(root);
        if let Found::Foreign(found) = look(&path)?
            && !entries.is_empty()
            && found.as_ref() != Some(entries)
        {
            refusals.push(format!(
                "{} is not pingu's and says something else: move it away first",
                path.display()
            ));
        }
        refusals.extend(database.conflicts(root, entries)?);
    }
    if !refusals.is_empty() {
        return Err(InstallError::Refused(refusals));
    }
    let mut deeds = Vec::new();
    for (database, entries) in &wanted {
        deeds.extend(put(root, &database.own_file(root), entries)?);
    }
    Ok(deeds)
}

/// Removes what was installed, whatever the configuration was.
///
/// # Errors
/// When a file cannot be removed.
pub fn uninstall(root: &Path) -> Result<Vec<Deed>, InstallError> {
    let mut deeds = Vec::new();
    // The directories of all files were noted with the first one that needed them: they are empty at the end.
    let mut made = BTreeSet::new();
    for database in Database::ALL {
        let path = database.own_file(root);
        match look(&path)? {
            Found::Nothing => {}
            Found::Foreign(_) => deeds.push(Deed::LeftAlone(path)),
            Found::Own(text) => {
                made.extend(directories_made(root, &path, &text));
                remove(&path)?;
                deeds.push(Deed::Removed(path));
            }
        }
    }
    remove_empty(&made);
    Ok(deeds)
}

fn wanted(config: &Config) -> [(Database, Vec<Entry>); 2] {
    let protocol = Entry {
        number: config.protocol.0.into(),
        name: PROTOCOL_NAME.to_owned(),
    };
    let tables = table_names(config)
        .into_iter()
        .map(|(id, name)| Entry { number: id.0, name });
    [
        (Database::Protocols, vec![protocol]),
        (Database::Tables, tables.collect()),
    ]
}

/// What is at the place of one of our files.
enum Found {
    Nothing,
    /// Ours, and its text.
    Own(String),
    /// Somebody else's, and its entries where it is a file.
    Foreign(Option<Vec<Entry>>),
}

fn look(path: &Path) -> Result<Found, InstallError> {
    match fs::symlink_metadata(path) {
        Err(error) if is_absent(&error) => return Ok(Found::Nothing),
        Ok(found) if found.is_file() => {}
        Ok(_) => return Ok(Found::Foreign(None)),
        Err(error) => return Err(failed(path)(error)),
    }
    let bytes = read_at_most(path, FILE_BYTES_MAX).map_err(failed(path))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text.starts_with(MARK) {
        return Ok(Found::Own(text));
    }
    let entries = names::parse(&text).map(|(_, entry)| entry);
    Ok(Found::Foreign(Some(entries.collect())))
}

/// Has a file hold these entries; without any there is none.
fn put(root: &Path, path: &Path, entries: &[Entry]) -> Result<Option<Deed>, InstallError> {
    let old = match look(path)? {
        Found::Own(text) => Some(text),
        Found::Foreign(_) if entries.is_empty() => {
            return Ok(Some(Deed::LeftAlone(path.to_owned())));
        }
        Found::Foreign(_) => return Ok(Some(Deed::SaysTheSame(path.to_owned()))),
        Found::Nothing => None,
    };
    let mut made: BTreeSet<PathBuf> = old
        .iter()
        .flat_map(|text| directories_made(root, path, text))
        .collect();
    if entries.is_empty() {
        if old.is_none() {
            return Ok(None);
        }
        remove(path)?;
        remove_empty(&made);
        return Ok(Some(Deed::Removed(path.to_owned())));
    }
    made.extend(make_directories(root, path)?);
    let text = text_of(root, &made, entries);
    if old.as_ref() == Some(&text) {
        return Ok(Some(Deed::Unchanged(path.to_owned())));
    }
    replace(path, text.as_bytes())
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .map_err(failed(path))?;
    Ok(Some(Deed::Wrote(path.to_owned())))
}

fn text_of(root: &Path, made: &BTreeSet<PathBuf>, entries: &[Entry]) -> String {
    let mut text = format!("{MARK}; `pingu uninstall` removes it.\n");
    let inside = made.iter().filter_map(|d| d.strip_prefix(root).ok());
    let inside: Vec<String> = inside.map(|d| format!("/{}", d.display())).collect();
    if !inside.is_empty() {
        text.push_str(&format!("{MADE}{}\n", inside.join(" ")));
    }
    for Entry { number, name } in entries {
        text.push_str(&format!("{number}\t{name}\n"));
    }
    text
}

/// The directories above a file that its text says were made for it.
fn directories_made(root: &Path, path: &Path, text: &str) -> Vec<PathBuf> {
    let named: BTreeSet<&str> = text
        .lines()
        .find_map(|line| line.strip_prefix(MADE))
        .into_iter()
        .flat_map(|list| list.split(' '))
        .collect();
    let is_named = |directory: &&Path| {
        let inside = directory.strip_prefix(root);
        inside.is_ok_and(|inside| named.contains(&*format!("/{}", inside.display())))
    };
    let above = path.ancestors().skip(1);
    above.filter(is_named).map(Path::to_owned).collect()
}

/// Makes the directories above a file, and tells which were missing.
fn make_directories(root: &Path, path: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let above = path.ancestors().skip(1).take_while(|d| *d != root);
    let missing: Vec<PathBuf> = above
        .take_while(|directory| !directory.exists())
        .map(Path::to_owned)
        .collect();
    for directory in missing.iter().rev() {
        fs::create_dir(directory)
            .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o755)))
            .map_err(failed(directory))?;
    }
    Ok(missing)
}

/// Removes those that are empty, the deepest first. Others hold what somebody else has put there since.
fn remove_empty(directories: &BTreeSet<PathBuf>) {
    for directory in directories.iter().rev() {
        let _ = fs::remove_dir(directory);
    }
}

fn remove(path: &Path) -> Result<(), InstallError> {
    fs::remove_file(path).map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> InstallError + use<> {
    let path = path.to_owned();
    |source| InstallError::File { path, source }
}

#[cfg(test)]
mod tests;
