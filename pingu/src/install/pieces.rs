//! The files of a service: the program, its configuration, its unit; and what becomes of each.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Deed, FILE_BYTES_MAX, InstallError, MARK, MINIMAL, failed,
    files::{obstacle, remove},
    manifest::Manifest,
};
use crate::{
    config::{Config, LoadError},
    state_file::{is_absent, read_at_most},
};

/// Where the unit looks for the program.
const PROGRAM: &str = "usr/bin/pingu";

const CONFIG: &str = "etc/pingu/pingu.toml";

const UNIT: &str = "etc/systemd/system/pingu.service";

/// Where a package would have put a unit; ours would hide it.
const UNITS_OF_PACKAGES: [&str; 2] = [
    "usr/lib/systemd/system/pingu.service",
    "lib/systemd/system/pingu.service",
];

/// What enabling the unit makes.
const WANTS: &str = "etc/systemd/system/multi-user.target.wants/pingu.service";

/// Where runs leave files, if the configuration says nothing else.
const STATE: &str = "var/lib/pingu";

/// How the names of these begin.
const STATE_FILES: [&str; 2] = ["memory-", "adopted-"];

/// A program that is larger than this is none of ours.
const PROGRAM_BYTES_MAX: usize = 1 << 30;

/// A file to be.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// Its path below the root.
    pub(super) file: &'static str,
    pub(super) mode: u32,
    pub(super) content: Cow<'a, [u8]>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Program,
    Config { is_given: bool },
    Unit,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Write,
    Unchanged,
    SaysTheSame,
    There,
    Refuse(String),
}

/// All of them, in the order in which they are written: nothing is started without what it needs.
pub(super) fn all<'a>(program: &'a [u8], config: Option<&'a str>) -> [Piece<'a>; 3] {
    [
        Piece {
            file: CONFIG,
            mode: 0o644,
            content: config.unwrap_or(MINIMAL).as_bytes().into(),
            kind: Kind::Config {
                is_given: config.is_some(),
            },
        },
        Piece {
            file: PROGRAM,
            mode: 0o755,
            content: program.into(),
            kind: Kind::Program,
        },
        Piece {
            file: UNIT,
            mode: 0o644,
            content: unit().into_bytes().into(),
            kind: Kind::Unit,
        },
    ]
}

/// The unit's text.
fn unit() -> String {
    let text = include_str!("../../../config/pingu.service");
    format!("{MARK}; `pingu uninstall` removes it. `systemctl edit pingu` changes it.\n{text}")
}

/// What is at a place.
enum Found {
    Nothing,
    File(Vec<u8>),
    /// A link, a directory, a device.
    Other,
}

fn look(path: &Path, bytes_max: usize) -> Result<Found, InstallError> {
    match fs::symlink_metadata(path) {
        Err(error) if is_absent(&error) => Ok(Found::Nothing),
        Ok(found) if found.is_file() => {
            let bytes = read_at_most(path, bytes_max).map_err(failed(path))?;
            Ok(Found::File(bytes))
        }
        Ok(_) => Ok(Found::Other),
        Err(error) => Err(failed(path)(error)),
    }
}

impl Piece<'_> {
    /// What becomes of it below a root.
    pub(super) fn choose(&self, root: &Path, manifest: &Manifest) -> Result<Choice, InstallError> {
        let path = root.join(self.file);
        if let Some(why) = obstacle(root, &path) {
            return Ok(Choice::Refuse(why));
        }
        let shown = path.display();
        let refuse = |why: &str| Choice::Refuse(format!("{shown} {why}"));
        let is_ours = manifest.has(self.file);
        let found = match look(&path, PROGRAM_BYTES_MAX)? {
            Found::Nothing if self.kind == Kind::Unit && self.has_package(root) => {
                return Ok(Choice::There);
            }
            Found::Nothing => return Ok(Choice::Write),
            Found::Other => return Ok(refuse("is no file: move it away first")),
            Found::File(found) => found,
        };
        let is_marked = || self.kind == Kind::Unit && found.starts_with(MARK.as_bytes());
        Ok(if found == *self.content {
            if is_ours || is_marked() {
                Choice::Unchanged
            } else {
                Choice::SaysTheSame
            }
        } else if let Kind::Config { is_given } = self.kind {
            match (manifest.is_untouched(self.file, &found), is_given) {
                (true, false) => Choice::Unchanged,
                // It was only begun, and here is the real one.
                (true, true) if found == MINIMAL.as_bytes() => Choice::Write,
                _ => Choice::There,
            }
        } else if manifest.is_untouched(self.file, &found) || (!is_ours && is_marked()) {
            Choice::Write
        } else if is_ours {
            refuse("has been changed since it was written: move it away first")
        } else {
            refuse("is not pingu's: move it away first")
        })
    }

    /// Whether it is the configuration.
    pub(super) fn is_config(&self) -> bool {
        matches!(self.kind, Kind::Config { .. })
    }

    fn has_package(&self, root: &Path) -> bool {
        let mut places = UNITS_OF_PACKAGES.iter();
        places.any(|unit| root.join(unit).exists())
    }
}

/// What is wrong with a configuration once it is where the service reads it: a script that is beside it now will not be there.
pub(super) fn wrong_there(root: &Path, (text, config): (&str, &Config)) -> Vec<String> {
    let path = root.join(CONFIG);
    match Config::parse(text, &path.display().to_string()) {
        Err(problems) if config.script.is_some() => {
            problems.list.iter().map(ToString::to_string).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// The configuration that is below a root, which names are made for; none where there is none yet.
pub(super) fn config_there(
    root: &Path,
    must_be: bool,
    refusals: &mut Vec<String>,
) -> Result<Option<Config>, InstallError> {
    let path = root.join(CONFIG);
    let text = match look(&path, FILE_BYTES_MAX)? {
        Found::File(bytes) => Some(bytes),
        Found::Nothing | Found::Other => None,
    };
    let is_begun = text
        .as_deref()
        .is_none_or(|text| text == MINIMAL.as_bytes());
    if is_begun {
        if must_be {
            let shown = path.display();
            refusals.push(format!(
                "pingu cannot be started without a configuration: give one with --config FILE, or edit {shown} first"
            ));
        }
        return Ok(None);
    }
    match Config::load(&path) {
        Ok((config, _)) => Ok(Some(config)),
        Err(LoadError::Wrong(problems)) => {
            let lines = problems.list.iter().map(ToString::to_string);
            refusals.extend(lines);
            Ok(None)
        }
        Err(error) => Err(failed(&path)(io::Error::other(error.to_string()))),
    }
}

/// The configuration below a root, where it is only begun.
pub(super) fn needs_editing(root: &Path) -> Option<PathBuf> {
    let path = root.join(CONFIG);
    let text = read_at_most(&path, FILE_BYTES_MAX).ok()?;
    (text == MINIMAL.as_bytes()).then_some(path)
}

/// Whether there is a unit that was written by us.
pub(super) fn has_own_unit(root: &Path) -> Result<bool, InstallError> {
    let found = look(&root.join(UNIT), FILE_BYTES_MAX)?;
    Ok(matches!(found, Found::File(text) if text.starts_with(MARK.as_bytes())))
}

/// Removes the files that were written, as far as they are still the same.
pub(super) fn remove_all(root: &Path, manifest: &Manifest) -> Result<Vec<Deed>, InstallError> {
    let mut deeds = Vec::new();
    let unit = root.join(UNIT);
    match look(&unit, FILE_BYTES_MAX)? {
        Found::Nothing => {}
        Found::File(text) if text.starts_with(MARK.as_bytes()) => {
            remove_wants(root)?;
            remove(&unit)?;
            deeds.push(Deed::Removed(unit));
        }
        Found::File(_) | Found::Other => deeds.push(Deed::LeftAlone(unit)),
    }
    for file in [PROGRAM, CONFIG] {
        let path = root.join(file);
        let deed = match look(&path, PROGRAM_BYTES_MAX)? {
            Found::File(content) if manifest.is_untouched(file, &content) => {
                remove(&path)?;
                Deed::Removed(path)
            }
            Found::File(_) | Found::Other if manifest.has(file) => Deed::Changed(path),
            Found::File(_) | Found::Other => Deed::LeftAlone(path),
            Found::Nothing => continue,
        };
        deeds.push(deed);
    }
    Ok(deeds)
}

/// Removes the link by which the unit is started at boot.
fn remove_wants(root: &Path) -> Result<(), InstallError> {
    let link = root.join(WANTS);
    match fs::read_link(&link) {
        Ok(to) if to.file_name() == link.file_name() => remove(&link),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Where runs leave files.
pub(super) fn state_directory(root: &Path) -> PathBuf {
    root.join(STATE)
}

/// Removes what runs have left: what one run tells the next. Routes that were taken out and never put back stay noted.
pub(super) fn remove_state(root: &Path) -> Result<Vec<Deed>, InstallError> {
    let directory = state_directory(root);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(&directory)(error)),
    };
    let mut deeds = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed(&directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_state = name.ends_with(".json") && STATE_FILES.iter().any(|s| name.starts_with(s));
        if !is_state || !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            continue;
        }
        if name.starts_with(STATE_FILES[1]) && holds_routes(&path)? {
            deeds.push(Deed::Changed(path));
            continue;
        }
        remove(&path)?;
        deeds.push(Deed::Removed(path));
    }
    deeds.sort_by_key(ToString::to_string);
    Ok(deeds)
}

fn holds_routes(path: &Path) -> Result<bool, InstallError> {
    let bytes = read_at_most(path, FILE_BYTES_MAX).map_err(failed(path))?;
    let read: Result<Vec<serde_json::Value>, _> = serde_json::from_slice(&bytes);
    Ok(read.map_or(true, |routes| !routes.is_empty()))
}
