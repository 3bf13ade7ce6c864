//! iproute2's files of names for protocols and tables, as iproute2 reads them (`lib/rt_names.c`): a number, blanks, a name.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    install::{FILE_BYTES_MAX, InstallError, failed},
    state_file::{is_absent, read_at_most},
};

/// Where the files are. One in an earlier place hides one of the same name in a later.
const PLACES: [&str; 3] = ["etc/iproute2", "usr/share/iproute2", "usr/lib/iproute2"];

/// The name of our files.
const OWN_NAME: &str = "pingu.conf";

/// What iproute2 knows without any file.
const BUILT_IN_TABLES: [(u32, &str); 4] = [
    (0, "unspec"),
    (253, "default"),
    (254, "main"),
    (255, "local"),
];

/// A kind of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Database {
    Protocols,
    Tables,
}

/// One name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) name: String,
}

impl Database {
    pub(super) const ALL: [Self; 2] = [Self::Protocols, Self::Tables];

    /// The file that is ours.
    pub(super) fn own_file(self, root: &Path) -> PathBuf {
        let directory = format!("{}.d", self.file());
        root.join(PLACES[0]).join(directory).join(OWN_NAME)
    }

    fn file(self) -> &'static str {
        match self {
            Self::Protocols => "rt_protos",
            Self::Tables => "rt_tables",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Protocols => "protocol",
            Self::Tables => "table",
        }
    }

    /// Why these names cannot be given: others have the name or the number. The same under the same name is no conflict.
    pub(super) fn conflicts(
        self,
        root: &Path,
        wanted: &[Entry],
    ) -> Result<Vec<String>, InstallError> {
        let mut taken = self.taken(root)?;
        let mut conflicts = Vec::new();
        for entry in wanted {
            let Entry { number, name } = entry;
            let what = self.word();
            for (place, other) in &taken {
                if other.number == *number && other.name != *name {
                    let called = &other.name;
                    conflicts.push(format!(
                        "{place}: {what} {number} is called {called} there, so that it cannot be called {name}"
                    ));
                } else if other.name == *name && other.number != *number {
                    let theirs = other.number;
                    conflicts.push(format!(
                        "{place}: {name} is {what} {theirs} there, so that {what} {number} cannot be called so"
                    ));
                }
            }
            taken.push(("the configuration".to_owned(), entry.clone()));
        }
        Ok(conflicts)
    }

    /// What others have taken, and where.
    fn taken(self, root: &Path) -> Result<Vec<(String, Entry)>, InstallError> {
        let mut taken: Vec<(String, Entry)> = Vec::new();
        if self == Self::Tables {
            taken.extend(BUILT_IN_TABLES.map(|(number, name)| {
                let name = name.to_owned();
                ("iproute2".to_owned(), Entry { number, name })
            }));
        }
        for path in self.files(root)? {
            let bytes = read_at_most(&path, FILE_BYTES_MAX).map_err(failed(&path))?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let of_file = parse(&text);
            taken
                .extend(of_file.map(|(line, entry)| (format!("{}:{line}", path.display()), entry)));
        }
        Ok(taken)
    }

    /// The files that others may have written.
    fn files(self, root: &Path) -> Result<Vec<PathBuf>, InstallError> {
        let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        let directory_name = format!("{}.d", self.file());
        for place in PLACES {
            let main = root.join(place).join(self.file());
            if main.is_file() {
                found.entry(self.file().into()).or_insert(main);
            }
            let directory = root.join(place).join(&directory_name);
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(failed(&directory)(error)),
            };
            for entry in entries {
                let path = entry.map_err(failed(&directory))?.path();
                let name = path.file_name().unwrap_or_default().to_owned();
                let is_ours = name == OWN_NAME;
                if path.extension().is_some_and(|e| e == "conf") && path.is_file() && !is_ours {
                    found.entry(name).or_insert(path);
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

/// The entries of a file, with the numbers of their lines.
pub(super) fn parse(text: &str) -> impl Iterator<Item = (usize, Entry)> + '_ {
    text.lines().enumerate().filter_map(|(index, line)| {
        let mut words = line.split_ascii_whitespace();
        let number = words.next()?;
        let number = match number.strip_prefix("0x") {
            Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
            None => number.parse().ok()?,
        };
        let name = words.next().filter(|name| !name.starts_with('#'))?;
        let name = name.to_owned();
        Some((index + 1, Entry { number, name }))
    })
}
