//! The files that give pingu's protocol and the uplinks' own tables names in `ip route`.
//!
//! Every file begins with a mark. Files without it are somebody else's: neither overwritten nor removed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Deed, FILE_BYTES_MAX, InstallError, MARK, failed,
    files::{make_directories, place, remove, remove_empty},
    names::{self, Database, Entry},
    table_names,
};
use crate::{
    config::Config,
    state_file::{is_absent, read_at_most},
};

/// How the line begins that names the directories that were made for a file, which go with it.
const MADE: &str = "# Made for it: ";

/// What pingu's protocol number is called.
const PROTOCOL_NAME: &str = "pingu";

const MODE: u32 = 0o644;

/// Why the names cannot be given.
pub(super) fn refusals(config: Option<&Config>, root: &Path) -> Result<Vec<String>, InstallError> {
    let mut refusals = Vec::new();
    for (database, entries) in &wanted(config) {
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
    Ok(refusals)
}

/// Gives the names of a configuration, and takes away those of an earlier one.
pub(super) fn install(config: Option<&Config>, root: &Path) -> Result<Vec<Deed>, InstallError> {
    let mut deeds = Vec::new();
    for (database, entries) in &wanted(config) {
        deeds.extend(put(root, &database.own_file(root), entries)?);
    }
    Ok(deeds)
}

/// Takes all names away, and adds the directories that were made for them: they are empty once everything has gone.
pub(super) fn uninstall(
    root: &Path,
    made: &mut BTreeSet<PathBuf>,
) -> Result<Vec<Deed>, InstallError> {
    let mut deeds = Vec::new();
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
    Ok(deeds)
}

fn wanted(config: Option<&Config>) -> [(Database, Vec<Entry>); 2] {
    let protocol = Entry {
        number: config
            .map_or(Config::PROTOCOL_DEFAULT, |config| config.protocol)
            .0
            .into(),
        name: PROTOCOL_NAME.to_owned(),
    };
    let tables = config.map(table_names).unwrap_or_default().into_iter();
    let tables = tables.map(|(id, name)| Entry { number: id.0, name });
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
    place(path, text.as_bytes(), MODE)?;
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

#[cfg(test)]
mod tests;
