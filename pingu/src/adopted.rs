//! The note of learned routes that were taken out of the table, so that a crash does not lose them.
//!
//! Written before a route is taken over and read at the next start. Valid only for the same boot and network namespace.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::network::Route;

/// The note's file in the state directory.
const FILE: &str = "adopted.json";

/// The note's schema; others are ignored.
const SCHEMA: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Note {
    schema: u32,
    /// Boot id and network namespace.
    place: (String, String),
    routes: Vec<Route>,
}

/// Where the note lies.
#[derive(Debug)]
pub struct AdoptedNote {
    directory: PathBuf,
}

impl AdoptedNote {
    /// A note in this state directory; nothing is read or written yet.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The noted routes; none where there is no note, or one of another boot, namespace or schema.
    pub fn read(&self) -> Vec<Route> {
        let Ok(text) = fs::read(self.directory.join(FILE)) else {
            return Vec::new();
        };
        match serde_json::from_slice::<Note>(&text) {
            Ok(note) if note.schema == SCHEMA && note.place == here() => note.routes,
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, directory = %self.directory.display(), "the note of adopted routes is unreadable");
                Vec::new()
            }
        }
    }

    /// Replaces the note, atomically and through to the disk. Without routes there is no note.
    pub fn write(&self, routes: &[Route]) -> io::Result<()> {
        let path = self.directory.join(FILE);
        if routes.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        fs::create_dir_all(&self.directory)?;
        let note = Note {
            schema: SCHEMA,
            place: here(),
            routes: routes.to_vec(),
        };
        let fresh = self.directory.join(format!("{FILE}.new"));
        let mut file = fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(&note)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)
    }
}

/// This boot and this network namespace.
fn here() -> (String, String) {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/net").unwrap_or_default();
    (boot_id.trim().to_owned(), namespace.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        network::NextHop,
        units::{Ifindex, Metric, Protocol, TableId},
    };

    fn route() -> Route {
        Route {
            ipv6: false,
            table: TableId::MAIN,
            metric: Metric(0),
            protocol: Protocol(16),
            next_hop: NextHop::Device {
                ifindex: Ifindex(3),
            },
            preferred_source: None,
            wire: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_written_note_is_read_back_and_an_empty_one_leaves_no_file() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let note = AdoptedNote::new(&directory.path().join("deeper"));
        assert_eq!(note.read(), []);
        note.write(&[route()]).expect("writable");
        assert_eq!(note.read(), [route()]);
        note.write(&[]).expect("removable");
        assert_eq!(
            fs::read_dir(directory.path().join("deeper"))
                .expect("readable")
                .count(),
            0
        );
    }

    #[test]
    fn a_note_of_another_boot_or_a_broken_one_is_ignored() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let note = AdoptedNote::new(directory.path());
        note.write(&[route()]).expect("writable");
        let path = directory.path().join(FILE);
        let text = fs::read_to_string(&path)
            .expect("readable")
            .replace("\"place\":[\"", "\"place\":[\"x");
        fs::write(&path, text).expect("writable");
        assert_eq!(note.read(), []);
        fs::write(&path, "{").expect("writable");
        assert_eq!(note.read(), []);
    }
}
