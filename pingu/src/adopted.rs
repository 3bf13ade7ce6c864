//! The note of learned routes that were taken out of the table, so that a crash does not lose them.
//!
//! Written before a route is taken over and read at the next start. Valid only for the same boot and network namespace.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{network::Route, state_file::StateFile, units::Protocol};

/// The note's schema; others are ignored.
const SCHEMA: u32 = 2;

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
    file: StateFile,
}

impl AdoptedNote {
    /// The note in this state directory of the pingu with this protocol in this network namespace, of which there is one: others may
    /// share the directory. Nothing is read or written yet.
    pub fn new(directory: &Path, protocol: Protocol) -> Self {
        let (_, namespace) = here();
        let number: String = namespace.chars().filter(char::is_ascii_digit).collect();
        Self {
            file: StateFile::new(directory, &format!("adopted-{protocol}-{number}.json")),
        }
    }

    /// The noted routes; none where there is no note, or one of another boot, namespace or schema.
    pub fn read(&self) -> Vec<Route> {
        match self.file.read::<Note>() {
            Some(note) if note.schema == SCHEMA && note.place == here() => note.routes,
            _ => Vec::new(),
        }
    }

    /// Replaces the note, atomically and through to the disk. Without routes there is no note.
    ///
    /// # Errors
    /// With the name of the file.
    pub fn write(&self, routes: &[Route]) -> io::Result<()> {
        if routes.is_empty() {
            return self.file.remove();
        }
        self.file.write(&Note {
            schema: SCHEMA,
            place: here(),
            routes: routes.to_vec(),
        })
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
        network::{DEFAULT_V4, NextHop},
        units::{Ifindex, Metric, TableId},
    };

    fn route() -> Route {
        Route {
            destination: DEFAULT_V4,
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
        let note = AdoptedNote::new(&directory.path().join("deeper"), Protocol(136));
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
        let note = AdoptedNote::new(directory.path(), Protocol(136));
        note.write(&[route()]).expect("writable");
        let path = note.file.path().to_owned();
        let text = fs::read_to_string(&path)
            .expect("readable")
            .replace("\"place\":[\"", "\"place\":[\"x");
        fs::write(&path, text).expect("writable");
        assert_eq!(note.read(), []);
        fs::write(&path, "{").expect("writable");
        assert_eq!(note.read(), []);
    }

    #[test]
    fn two_protocols_in_one_directory_do_not_touch_each_others_notes() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let (one, other) = (
            AdoptedNote::new(directory.path(), Protocol(136)),
            AdoptedNote::new(directory.path(), Protocol(137)),
        );
        one.write(&[route()]).expect("writable");
        other.write(&[]).expect("nothing to remove");
        assert_eq!(other.read(), []);
        assert_eq!(one.read(), [route()]);
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let note = AdoptedNote::new(Path::new("/dev/null/state"), Protocol(136));
        let error = note
            .write(&[route()])
            .expect_err("no directory can be there");
        assert!(
            error
                .to_string()
                .starts_with("/dev/null/state/adopted-136-"),
            "{error}"
        );
        note.write(&[]).expect("there is no note to remove");
    }
}
