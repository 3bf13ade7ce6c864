//! The sticky file: it holds the name of the uplink that is to carry traffic whatever the checks say, and is read again and again.
//!
//! A second's delay is small for a person, and reading a small file each second costs nothing that could be measured. Watching
//! for changes would have to cope with directories that come and go, links, and file systems that tell nothing.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tokio::sync::watch;

use crate::state_file::{is_absent, read_at_most};

/// From one look to the next.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What has changed counts once it has stood for so long: a shell empties a file before it writes it.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Names have 64 characters of at most 4 bytes; this leaves room for a lot of white space.
const BYTES_MAX: usize = 4096;

/// So much of what makes no sense is shown.
const SHOWN_CHARS_MAX: usize = 80;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// There is none, or it is empty.
    Nothing,
    /// A line of text, without the white space around it.
    Text(String),
    /// What could be no name; told to people.
    Nonsense(String),
    /// It could not be read, and why.
    Unreadable(String),
}

/// Reads the file in a thread of its own, so that a file system that hangs stops nothing.
#[derive(Debug)]
pub(super) struct Sticky {
    pub(super) path: PathBuf,
    words: watch::Receiver<Word>,
}

impl Sticky {
    /// Reads the file, and has it read from there on.
    pub(super) fn follow(path: PathBuf) -> io::Result<Self> {
        let (sender, words) = watch::channel(read(&path));
        let file = path.clone();
        thread::Builder::new()
            .name("sticky".to_owned())
            .spawn(move || keep_reading(&file, &sender))?;
        Ok(Self { path, words })
    }

    /// What the file says.
    pub(super) fn word(&mut self) -> Word {
        self.words.borrow_and_update().clone()
    }

    /// Waits until the file says something else; safe to cancel.
    pub(super) async fn changed(&mut self) {
        if self.words.changed().await.is_err() {
            // The reading thread never ends by itself; without it nothing changes any more.
            std::future::pending().await
        }
    }
}

fn keep_reading(path: &Path, words: &watch::Sender<Word>) {
    while !words.is_closed() {
        thread::sleep(READ_EVERY);
        let word = read(path);
        if word == *words.borrow() {
            continue;
        }
        thread::sleep(SETTLED_AFTER);
        if read(path) == word {
            words.send_replace(word);
        }
    }
}

fn read(path: &Path) -> Word {
    let bytes = match read_at_most(path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Word::Nothing,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Word::Nonsense(error.to_string());
        }
        Err(error) => return Word::Unreadable(error.to_string()),
    };
    match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => Word::Nothing,
        Ok(text) if text.trim().contains(char::is_control) => Word::Nonsense(shown(&text)),
        Ok(text) => Word::Text(text.trim().to_owned()),
        Err(error) => Word::Nonsense(shown(&String::from_utf8_lossy(error.as_bytes()))),
    }
}

fn shown(text: &str) -> String {
    let start: String = text.trim().chars().take(SHOWN_CHARS_MAX).collect();
    let more = text.trim().chars().nth(SHOWN_CHARS_MAX).map_or("", |_| "…");
    format!("\"{}{more}\" is not a line of text", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_content_has_its_meaning() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let path = directory.path().join("sticky");
        assert_eq!(read(&path), Word::Nothing);
        assert_eq!(read(&path.join("below")), Word::Nothing);
        let nonsense = |text: &str| Word::Nonsense(format!("\"{text}\" is not a line of text"));
        for (content, word) in [
            (&b""[..], Word::Nothing),
            (b" \n\t\r\n", Word::Nothing),
            (b"lte", Word::Text("lte".to_owned())),
            (b"  lte 2\r\n\n", Word::Text("lte 2".to_owned())),
            (
                "Glasfaser süd\n".as_bytes(),
                Word::Text("Glasfaser süd".to_owned()),
            ),
            (b"lte\nfibre\n", nonsense("lte\\nfibre")),
            (b"lte\0", nonsense("lte\\0")),
            (b"\xff\xfel\0t\0", nonsense("\u{fffd}\u{fffd}l\\0t\\0")),
            (&[b'\n'; BYTES_MAX], Word::Nothing),
        ] {
            fs::write(&path, content).expect("writable");
            assert_eq!(read(&path), word, "{content:?}");
        }
        fs::write(&path, vec![b'x'; 1 << 20]).expect("writable");
        assert!(matches!(read(&path), Word::Nonsense(why) if why.contains("4096 bytes")));
        fs::remove_file(&path).expect("removable");
        fs::create_dir(&path).expect("a directory in its place");
        assert!(matches!(read(&path), Word::Nonsense(why) if why.contains("regular file")));
    }

    #[test]
    fn much_nonsense_is_shown_in_part() {
        let much = shown(&"ä".repeat(100));
        assert!(much.contains(&format!("\"{}…\"", "ä".repeat(80))), "{much}");
    }

    #[tokio::test]
    async fn a_change_is_heard() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let path = directory.path().join("sticky");
        let mut sticky = Sticky::follow(path.clone()).expect("a thread can be started");
        assert_eq!(sticky.word(), Word::Nothing);
        fs::write(&path, "lte\n").expect("writable");
        tokio::time::timeout(Duration::from_secs(10), sticky.changed())
            .await
            .expect("within seconds");
        assert_eq!(sticky.word(), Word::Text("lte".to_owned()));
    }
}
