//! The control socket: one line asks, a verb and what belongs to it; one line of JSON answers.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

pub mod client;
pub mod table;
pub mod why;

/// The request that asks for the status.
pub(crate) const ASK_STATUS: &str = "status";

/// The request that pins an uplink, whose name follows after a space, or none.
pub(crate) const ASK_PIN: &str = "pin";

/// The request that asks why uplinks are what they are: one whose name follows after a space, or all.
pub(crate) const ASK_WHY: &str = "why";

/// Longest request in bytes: a verb and a name of 64 characters, which may have four bytes each.
const REQUEST_BYTES_MAX: u64 = 512;

/// Conversations at the same time; further ones wait in the listen queue.
const CONVERSATIONS_MAX: usize = 16;

/// A caller that lets the daemon wait for longer than this, to ask or to read on, is left, so that idle ones cannot keep others out. How
/// long the answer takes is not theirs: the status of a hundred thousand targets may take longer on a busy machine.
const IDLE_TIME_MAX: Duration = Duration::from_secs(5);

/// The server's end. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct Control {
    requests: mpsc::Receiver<Request>,
    path: PathBuf,
    accepting: JoinHandle<()>,
}

/// Somebody asks something.
#[derive(Debug)]
pub struct Request {
    /// What.
    pub ask: Ask,
    /// Where the answer goes.
    pub reply: Reply,
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The status, which is the answer.
    Status,
    /// Why the uplink of this name is what it is, or all are; an [`Answer`] of [`Why`](crate::engine::Why) is the answer.
    Why(Option<String>),
    /// To pin the uplink of this name, or none; an [`Answer`] of [`Pinned`] is the answer.
    Pin(Option<String>),
}

/// Where an answer goes.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<String>);

/// The answer to a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer<T> {
    /// Done.
    Ok(T),
    /// Not done, and why.
    Error(String),
}

/// What is pinned after a wish to pin. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The name of the pinned uplink; null where none is.
    pub pinned: Option<String>,
    /// What there is to know, for people.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Reply {
    /// To nobody: an answer that is only logged.
    pub(crate) fn unheard() -> Self {
        let (sender, _) = oneshot::channel();
        Self(sender)
    }

    /// Answers; a caller that has gone is no error.
    pub fn send(self, answer: &impl Serialize) {
        let text = serde_json::to_string(answer)
            .expect("an answer has only string keys and finite numbers");
        if let Err(text) = self.0.send(text) {
            tracing::debug!(text, "nobody waits for this answer");
        }
    }
}

impl Control {
    /// Listens at `path`, for root and its group only. A socket file that nobody listens at is replaced.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another program listens there",
            ));
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "there is a file that is not a socket",
                ));
            }
            Ok(_) => std::fs::remove_file(path)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        let (sender, requests) = mpsc::channel(CONVERSATIONS_MAX);
        let accepting = tokio::spawn(accept(listener, sender));
        Ok(Self {
            requests,
            path: path.to_owned(),
            accepting,
        })
    }

    /// The next request; safe to cancel.
    pub async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            // The accepting task has ended, which it never does by itself: nobody can ask any more.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.accepting.abort();
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the control socket's file stays");
        }
    }
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Request>) {
    let places = Arc::new(Semaphore::new(CONVERSATIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    let outcome = converse(stream, requests, IDLE_TIME_MAX).await;
                    tracing::trace!(?outcome, "a conversation ended");
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a caller could not be accepted");
                // Out of descriptors, most likely: conversations that end give some back.
                tokio::time::sleep(IDLE_TIME_MAX).await;
            }
        }
    }
}

async fn converse(
    stream: UnixStream,
    requests: mpsc::Sender<Request>,
    idle_max: Duration,
) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    let mut reading = BufReader::new(reading.take(REQUEST_BYTES_MAX));
    timeout(idle_max, reading.read_line(&mut line)).await??;
    let Some(ask) = parse(&line) else {
        return write(&mut writing, b"{\"error\":\"unknown request\"}\n", idle_max).await;
    };
    let (answer, answered) = oneshot::channel();
    let reply = Reply(answer);
    requests
        .send(Request { ask, reply })
        .await
        .map_err(io::Error::other)?;
    let mut text = answered.await.map_err(io::Error::other)?;
    text.push('\n');
    write(&mut writing, text.as_bytes(), idle_max).await
}

async fn write(
    writing: &mut OwnedWriteHalf,
    mut rest: &[u8],
    idle_max: Duration,
) -> io::Result<()> {
    while !rest.is_empty() {
        match timeout(idle_max, writing.write(rest)).await?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => rest = &rest[written..],
        }
    }
    Ok(())
}

fn parse(line: &str) -> Option<Ask> {
    if line.len() as u64 >= REQUEST_BYTES_MAX {
        return None;
    }
    let line = line.trim_end_matches(['\r', '\n']);
    match line.split_once(' ') {
        None if line == ASK_STATUS => Some(Ask::Status),
        None if line == ASK_PIN => Some(Ask::Pin(None)),
        None if line == ASK_WHY => Some(Ask::Why(None)),
        Some((verb, name)) if verb == ASK_WHY => Some(Ask::Why(Some(name.to_owned()))),
        Some((verb, name)) if verb == ASK_PIN => Some(Ask::Pin(Some(name.to_owned()))),
        None | Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_take_what_belongs_to_them_and_nothing_else() {
        let pin = |name: &str| Some(Ask::Pin(Some(name.to_owned())));
        for (line, ask) in [
            ("status\n", Some(Ask::Status)),
            ("status", Some(Ask::Status)),
            ("status\r\n", Some(Ask::Status)),
            ("status now\n", None),
            ("pin\n", Some(Ask::Pin(None))),
            ("pin fibre\n", pin("fibre")),
            ("pin my fibre\n", pin("my fibre")),
            ("pin \n", pin("")),
            ("pins\n", None),
            ("", None),
            ("\n", None),
        ] {
            assert_eq!(parse(line), ask, "{line:?}");
        }
        assert_eq!(
            parse(&format!("pin {}\n", "ä".repeat(254))),
            None,
            "cut off, perhaps"
        );
    }

    const IDLE_MAX: Duration = Duration::from_millis(50);

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let ended = runtime.block_on(async { timeout(Duration::from_secs(30), future).await });
        ended.expect("a conversation goes on for ever")
    }

    #[test]
    fn an_answer_may_take_longer_than_callers_may_be_idle() {
        run(async {
            let (here, mut there) = UnixStream::pair().unwrap();
            let (requests, mut asked) = mpsc::channel(1);
            let conversation = tokio::spawn(converse(here, requests, IDLE_MAX));
            there.write_all(b"status\n").await.unwrap();
            let request = asked.recv().await.unwrap();
            tokio::time::sleep(4 * IDLE_MAX).await;
            request.reply.send(&1);
            let mut text = String::new();
            there.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "1\n");
            conversation.await.unwrap().unwrap();
        });
    }

    #[test]
    fn a_caller_that_neither_asks_nor_reads_on_is_left() {
        let left = |outcome: io::Result<()>| outcome.unwrap_err().kind() == io::ErrorKind::TimedOut;
        run(async {
            let (here, _there) = UnixStream::pair().unwrap();
            let (requests, mut asked) = mpsc::channel(1);
            assert!(left(converse(here, requests.clone(), IDLE_MAX).await));
            let (here, mut there) = UnixStream::pair().unwrap();
            let conversation = tokio::spawn(converse(here, requests, IDLE_MAX));
            there.write_all(b"status\n").await.unwrap();
            let request = asked.recv().await.unwrap();
            request.reply.send(&"more than fits".repeat(1 << 20));
            assert!(left(conversation.await.unwrap()));
        });
    }

    #[test]
    fn answers_have_one_key() {
        let text = |answer: &Answer<u8>| serde_json::to_string(answer).unwrap();
        assert_eq!(text(&Answer::Ok(1)), "{\"ok\":1}");
        assert_eq!(text(&Answer::Error("no".to_owned())), "{\"error\":\"no\"}");
    }
}
