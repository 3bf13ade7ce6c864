//! The control socket: one line asks, one line of JSON answers.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::engine::Status;

pub mod client;
pub mod table;

/// The request that asks for the status.
pub(crate) const ASK_STATUS: &str = "status";

/// Longest request in bytes: verbs are short.
const REQUEST_BYTES_MAX: u64 = 256;

/// Conversations at the same time; further ones wait in the listen queue.
const CONVERSATIONS_MAX: usize = 16;

/// A conversation that takes longer than this is dropped, so that idle callers cannot keep others out.
const CONVERSATION_TIME_MAX: Duration = Duration::from_secs(5);

/// The server's end. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct Control {
    requests: mpsc::Receiver<Request>,
    path: PathBuf,
    accepting: JoinHandle<()>,
}

/// Somebody asks for the status.
#[derive(Debug)]
pub struct Request {
    answer: oneshot::Sender<String>,
}

impl Request {
    /// Answers; a caller that has gone is no error.
    pub fn answer(self, status: &Status) {
        let text = serde_json::to_string(status)
            .expect("a status has only string keys and finite numbers");
        let _gone = self.answer.send(text);
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
                    let outcome = timeout(CONVERSATION_TIME_MAX, converse(stream, requests)).await;
                    tracing::trace!(?outcome, "a conversation ended");
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a caller could not be accepted");
                // Out of descriptors, most likely: conversations that end give some back.
                tokio::time::sleep(CONVERSATION_TIME_MAX).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, requests: mpsc::Sender<Request>) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading.take(REQUEST_BYTES_MAX))
        .read_line(&mut line)
        .await?;
    if line.trim_end() != ASK_STATUS {
        return writing
            .write_all(b"{\"error\":\"unknown request\"}\n")
            .await;
    }
    let (answer, answered) = oneshot::channel();
    requests
        .send(Request { answer })
        .await
        .map_err(io::Error::other)?;
    let mut text = answered.await.map_err(io::Error::other)?;
    text.push('\n');
    writing.write_all(text.as_bytes()).await
}
