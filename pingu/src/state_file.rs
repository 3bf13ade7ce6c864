//! A file in the state directory: JSON that is replaced atomically, and read with distrust.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// A thousand uplinks with everything that is noted of them take a tenth of this.
const BYTES_MAX: usize = 8 << 20;

/// Longer names of namespaces do not become part of a file's name, which has 255 bytes at most (`NAME_MAX`).
const NAMESPACE_NAME_BYTES_MAX: usize = 128;

/// More named namespaces than this are not looked through for the own one.
const NAMESPACES_MAX: usize = 4096;

/// Where such a file lies; there need not be any.
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file of this name in a state directory. Nothing is read or written yet.
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        Self {
            path: directory.join(name),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds; none where there is none, and after a warning where it makes no sense.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let read = match read_at_most(&self.path, BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if is_absent(&error) => return None,
            Err(error) => Err(error),
        };
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(%error, file = %self.path.display(), "the state file is unreadable, going on without");
                None
            }
        }
    }

    /// Replaces the file and makes its directory where there is none.
    ///
    /// # Errors
    /// With the name of the file.
    pub(crate) fn write(&self, value: &impl Serialize) -> io::Result<()> {
        let write = || {
            if let Some(directory) = self.path.parent() {
                fs::create_dir_all(directory)?;
            }
            replace(&self.path, &serde_json::to_vec(value)?)
        };
        write().map_err(|error| self.named(error))
    }

    /// Removes the file, if there is one.
    ///
    /// # Errors
    /// With the name of the file.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if !is_absent(&error) => Err(self.named(error)),
            _ => Ok(()),
        }
    }

    fn named(&self, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }
}

/// Replaces a file atomically: whoever reads it sees the old content or the new, and the new is on the disk before it has the name.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let written = fs::File::create(&fresh).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&fresh, path));
    if replaced.is_err() {
        // On a full disk half of it may be there; whether it can be removed changes nothing.
        let _ = fs::remove_file(&fresh);
    }
    replaced
}

/// A regular file's content, if it is no longer than that. What is no file (a FIFO, say) is refused without waiting for it.
pub(crate) fn read_at_most(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return invalid("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return invalid(format!("it is longer than {bytes_max} bytes"));
    }
    Ok(bytes)
}

/// Whether there is no such file, or no directory that could have one.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What this network namespace is called where that must mean the same after a reboot: `main` for the machine's (that of process
/// 1), `netns-NAME` where iproute2 has a name for it, else its number, which is only good for this boot.
pub(crate) fn namespace_name() -> String {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let Ok(own) = identity(Path::new("/proc/self/ns/net")) else {
        return "unknown".to_owned();
    };
    if identity(Path::new("/proc/1/ns/net")).is_ok_and(|first| first == own) {
        return "main".to_owned();
    }
    let named = fs::read_dir("/run/netns").ok().and_then(|names| {
        names
            .take(NAMESPACES_MAX)
            .flatten()
            .find(|entry| identity(&entry.path()).is_ok_and(|named| named == own))
            .and_then(|entry| entry.file_name().into_string().ok())
    });
    match named.filter(|name| name.len() <= NAMESPACE_NAME_BYTES_MAX) {
        Some(name) => format!("netns-{name}"),
        None => own.1.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let file = StateFile::new(&directory.path().join("deeper"), "some.json");
        assert_eq!(file.read::<Vec<u32>>(), None);
        file.write(&[1, 2]).expect("writable");
        file.write(&[3]).expect("writable");
        assert_eq!(file.read::<Vec<u32>>(), Some(vec![3]));
        let names = fs::read_dir(directory.path().join("deeper")).expect("a directory");
        assert_eq!(names.count(), 1);
        file.remove().expect("removable");
        file.remove().expect("nothing is there any more");
        assert_eq!(file.read::<Vec<u32>>(), None);
    }

    #[test]
    fn what_makes_no_sense_is_no_content() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let file = StateFile::new(directory.path(), "some.json");
        for broken in [&b""[..], b"{", b"[1", b"\"text\"", b"[1]\xff", &[0; 100]] {
            fs::write(file.path(), broken).expect("writable");
            assert_eq!(file.read::<Vec<u32>>(), None, "{broken:?}");
        }
        fs::remove_file(file.path()).expect("removable");
        fs::create_dir(file.path()).expect("a directory in its place");
        assert_eq!(file.read::<Vec<u32>>(), None);
        let error = file.write(&[1]).expect_err("a directory is in the way");
        assert!(error.to_string().contains("some.json"), "{error}");
        let names = fs::read_dir(directory.path()).expect("a directory");
        assert_eq!(names.count(), 1, "nothing half-written is left");
    }

    #[test]
    fn a_fifo_is_refused_at_once() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let path = directory.path().join("fifo");
        let name = std::ffi::CString::new(path.to_str().expect("UTF-8")).expect("no NUL");
        // SAFETY: the name is a C string that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let error = read_at_most(&path, 10).expect_err("it is no file");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let path = directory.path().join("file");
        fs::write(&path, [b'x'; 10]).expect("writable");
        assert_eq!(read_at_most(&path, 10).expect("short enough").len(), 10);
        assert!(read_at_most(&path, 9).is_err());
    }
}
