//! `pingu install` and `pingu uninstall`: the program, its configuration, its unit, and names for iproute2.
//!
//! Everything is looked at before anything is written. What was written is noted (`manifest`) or marked; what was not, or has been changed
//! since, is neither overwritten nor removed.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::{
    config::Config,
    install::{
        files::{make_directories, missing_directories, place, remove_empty},
        manifest::Manifest,
        pieces::{Choice, Piece},
    },
    units::TableId,
};

mod files;
mod manifest;
mod name_files;
mod names;
mod pieces;
pub mod service_manager;
mod verb;

pub use verb::{run_install, run_uninstall};

/// How the first line of our files begins.
const MARK: &str = "# Written by `pingu install`";

/// What a configuration begins as: pingu does not start with it.
const MINIMAL: &str = include_str!("../../config/minimal.toml");

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
    /// The service manager did not do what it was asked for.
    #[error("`{command}` failed: {why}")]
    ServiceManager {
        /// What it was asked for.
        command: String,
        /// Why.
        why: String,
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
    /// It was there already, and is not overwritten.
    There(PathBuf),
    /// It was removed.
    Removed(PathBuf),
    /// It is somebody else's and stays.
    LeftAlone(PathBuf),
    /// It has been changed since it was written, and stays.
    Changed(PathBuf),
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrote(path) => write!(f, "wrote {}", path.display()),
            Self::Unchanged(path) => write!(f, "unchanged: {}", path.display()),
            Self::SaysTheSame(path) => write!(
                f,
                "left alone: {} says the same, but was not written by `pingu install`",
                path.display()
            ),
            Self::There(path) => write!(f, "left alone: {} is there already", path.display()),
            Self::Removed(path) => write!(f, "removed {}", path.display()),
            Self::LeftAlone(path) => write!(
                f,
                "left alone: {} was not written by `pingu install`",
                path.display()
            ),
            Self::Changed(path) => write!(
                f,
                "left alone: {} has been changed since it was written",
                path.display()
            ),
        }
    }
}

/// What is to be installed.
#[derive(Debug)]
pub struct Request<'a> {
    /// The directory that stands for `/`.
    pub root: &'a Path,
    /// The program's file.
    pub program: &'a Path,
    /// A configuration, as text and as what it means; none: the one that is there, or one that has to be edited.
    pub config: Option<(&'a str, &'a Config)>,
    /// It is to be started, so that its configuration must be right.
    pub starts: bool,
}

/// The tables of their own that uplinks have, and what they are called.
pub fn table_names(config: &Config) -> Vec<(TableId, String)> {
    let tables = config.uplinks.iter().filter_map(|u| u.table.as_ref());
    tables.map(|table| (table.id, table.name.clone())).collect()
}

/// Installs everything. Where all is as it should be, nothing is written.
///
/// # Errors
/// When something is in the way, all of which is told: nothing has been written then. When a file cannot be.
pub fn install(request: &Request<'_>) -> Result<Vec<Deed>, InstallError> {
    let root = request.root;
    if !root.is_dir() {
        let text = format!("{} is no directory", root.display());
        return Err(InstallError::Refused(vec![text]));
    }
    let mut manifest = Manifest::read(root)?;
    let program = fs::read(request.program).map_err(failed(request.program))?;
    let pieces = pieces::all(&program, request.config.map(|(text, _)| text));
    let mut refusals = Vec::from_iter(files::obstacle(root, &Manifest::path(root)));
    if request.starts && !service_manager::is_there(root) {
        refusals.push(
            "it can be enabled and started only where systemd runs, and not with --root".to_owned(),
        );
    }
    let mut choices = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        match piece.choose(root, &manifest)? {
            Choice::Refuse(why) => refusals.push(why),
            choice => choices.push((piece, choice)),
        }
    }
    let stays =
        |(piece, choice): &(&Piece<'_>, Choice)| piece.is_config() && *choice == Choice::There;
    let found;
    let config = match request.config {
        Some(given) if !choices.iter().any(stays) => {
            refusals.extend(pieces::wrong_there(root, given));
            Some(given.1)
        }
        _ => {
            found = pieces::config_there(root, request.starts, &mut refusals)?;
            found.as_ref()
        }
    };
    refusals.extend(name_files::refusals(config, root)?);
    if !refusals.is_empty() {
        return Err(InstallError::Refused(refusals));
    }
    let mut deeds = write_all(root, &choices, &mut manifest)?;
    deeds.extend(name_files::install(config, root)?);
    Ok(deeds)
}

/// Writes what was chosen to be written. An end in between leaves nothing that is not noted.
fn write_all(
    root: &Path,
    choices: &[(&Piece<'_>, Choice)],
    manifest: &mut Manifest,
) -> Result<Vec<Deed>, InstallError> {
    let before = manifest.clone();
    let to_write = || {
        choices
            .iter()
            .filter(|(_, choice)| *choice == Choice::Write)
            .map(|(piece, _)| *piece)
    };
    for piece in to_write() {
        manifest.note_directories(root, &missing_directories(root, &root.join(piece.file)));
        manifest.will_be(piece.file, &piece.content);
    }
    if *manifest != before {
        manifest.write(root)?;
    }
    for piece in to_write() {
        let path = root.join(piece.file);
        make_directories(root, &path)?;
        place(&path, &piece.content, piece.mode)?;
        manifest.is(piece.file, &piece.content);
    }
    if to_write().next().is_some() {
        manifest.write(root)?;
    }
    let told = choices.iter().map(|(piece, choice)| {
        let path = root.join(piece.file);
        match choice {
            Choice::Write => Deed::Wrote(path),
            Choice::Unchanged => Deed::Unchanged(path),
            Choice::SaysTheSame => Deed::SaysTheSame(path),
            Choice::There | Choice::Refuse(_) => Deed::There(path),
        }
    });
    Ok(told.collect())
}

/// Removes what was installed, whatever the configuration was, and what runs have left.
///
/// # Errors
/// When a file cannot be removed.
pub fn uninstall(root: &Path) -> Result<Vec<Deed>, InstallError> {
    let manifest = Manifest::read(root)?;
    let mut made: BTreeSet<PathBuf> = manifest.directories(root).collect();
    let mut deeds = pieces::remove_all(root, &manifest)?;
    deeds.extend(name_files::uninstall(root, &mut made)?);
    deeds.extend(pieces::remove_state(root)?);
    Manifest::remove(root)?;
    made.insert(pieces::state_directory(root));
    remove_empty(&made);
    Ok(deeds)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> InstallError + use<> {
    let path = path.to_owned();
    |source| InstallError::File { path, source }
}

#[cfg(test)]
mod tests;
