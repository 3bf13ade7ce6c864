//! What outlives a run: the gateways that were learned last, the uplink that a person has pinned, and what was spent of budgets.
//!
//! Gateways are hints, which the engine uses only where the table teaches none. The file may be missing, stale or unwritable.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    engine::{BudgetHint, GatewayHint},
    state_file::{StateFile, namespace_name},
    units::Protocol,
};

/// The file's schema; others are ignored.
const SCHEMA: u32 = 1;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The last gateway learned for each uplink and family.
    pub gateways: Vec<GatewayHint>,
    /// The name of the uplink that `pingu pin` has put first.
    #[serde(default)]
    pub pinned: Option<String>,
    /// What was spent of budgets.
    #[serde(default)]
    pub spending: Vec<BudgetHint>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    schema: u32,
    #[serde(flatten)]
    memory: Memory,
}

/// Where it lies.
#[derive(Clone, Debug)]
pub struct MemoryFile {
    file: StateFile,
}

impl MemoryFile {
    /// The file in this state directory of the pingu with this protocol in this network namespace: others may share the directory.
    /// It survives a reboot. Nothing is read or written yet.
    pub fn new(directory: &Path, protocol: Protocol) -> Self {
        let name = format!("memory-{protocol}-{}.json", namespace_name());
        Self {
            file: StateFile::new(directory, &name),
        }
    }

    /// What was remembered; nothing where there is no file, or one of another schema, or a broken one.
    pub fn read(&self) -> Memory {
        match self.file.read::<Note>() {
            Some(note) if note.schema == SCHEMA => note.memory,
            Some(note) => {
                tracing::warn!(
                    schema = note.schema,
                    file = %self.file.path().display(),
                    "the memory is of another version of pingu, going on without"
                );
                Memory::default()
            }
            None => Memory::default(),
        }
    }

    /// Replaces it, atomically and through to the disk.
    ///
    /// # Errors
    /// With the name of the file.
    pub fn write(&self, memory: &Memory) -> io::Result<()> {
        self.file.write(&Note {
            schema: SCHEMA,
            memory: memory.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn memory() -> Memory {
        Memory {
            gateways: vec![GatewayHint {
                uplink: "fibre".to_owned(),
                interface: "wan0".to_owned(),
                ipv6: false,
                gateway: Some([10, 0, 0, 1].into()),
                onlink: true,
                preferred_source: None,
                address: [10, 0, 0, 2].into(),
            }],
            pinned: Some("fibre".to_owned()),
            spending: vec![BudgetHint {
                uplink: "fibre".to_owned(),
                since_s: 1_793_491_200,
                spent_bytes: 4711,
            }],
        }
    }

    #[test]
    fn what_is_remembered_is_there_again() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let file = MemoryFile::new(directory.path(), Protocol(136));
        assert_eq!(file.read(), Memory::default());
        file.write(&memory()).expect("writable");
        let again = MemoryFile::new(directory.path(), Protocol(136));
        assert_eq!(again.read(), memory());
        let other = MemoryFile::new(directory.path(), Protocol(137));
        assert_eq!(other.read(), Memory::default());
    }

    #[test]
    fn another_schema_and_broken_files_are_ignored() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let file = MemoryFile::new(directory.path(), Protocol(136));
        file.write(&memory()).expect("writable");
        let good = fs::read_to_string(file.file.path()).expect("readable");
        for broken in [
            good.replace("\"schema\":1", "\"schema\":2"),
            good.replace("10.0.0.1", "10.0.0.256"),
            good.replace("\"uplink\"", "\"line\""),
            good[..good.len() / 2].to_owned(),
            "{\"schema\":1}".to_owned(),
            "[]".to_owned(),
            String::new(),
        ] {
            assert_ne!(broken, good);
            fs::write(file.file.path(), &broken).expect("writable");
            assert_eq!(file.read(), Memory::default(), "{broken}");
        }
    }
}
