//! Asking a running daemon.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;

use crate::{
    control::{ASK_PIN, ASK_STATUS, ASK_WHY, Answer, Pinned},
    engine::{Status, Why},
};

/// How long a daemon may take to answer: it gathers the status of a hundred thousand targets between its other work.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// What is said of an answer that cannot be read.
const NO_SENSE: &str = "the daemon's answer makes no sense: another version?";

/// Asks the daemon at `socket` for its status. Returns the answer and its text.
pub fn status(socket: &Path) -> anyhow::Result<(Status, String)> {
    let text = ask(socket, ASK_STATUS)?;
    let status = serde_json::from_str(&text).context(NO_SENSE)?;
    Ok((status, text))
}

/// Has the daemon at `socket` pin the uplink of this name, or none.
///
/// # Errors
/// Where the daemon cannot be asked, or refuses.
pub fn pin(socket: &Path, name: Option<&str>) -> anyhow::Result<Pinned> {
    wish(socket, ASK_PIN, name)
}

/// Asks the daemon at `socket` why the uplink of this name is what it is, or all are.
///
/// # Errors
/// Where the daemon cannot be asked, or knows no such uplink.
pub fn why(socket: &Path, name: Option<&str>) -> anyhow::Result<Why> {
    wish(socket, ASK_WHY, name)
}

fn wish<T: DeserializeOwned>(socket: &Path, verb: &str, name: Option<&str>) -> anyhow::Result<T> {
    let request = match name {
        // A line ends there.
        Some(name) if name.contains(char::is_control) => {
            bail!("no uplink has a name like {name:?}")
        }
        Some(name) => format!("{verb} {name}"),
        None => verb.to_owned(),
    };
    let text = ask(socket, &request)?;
    match serde_json::from_str(&text).context(NO_SENSE)? {
        Answer::Ok(answer) => Ok(answer),
        Answer::Error(why) => Err(anyhow!(why)),
    }
}

fn ask(socket: &Path, request: &str) -> anyhow::Result<String> {
    converse(socket, request).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ": is pingu running?",
            ErrorKind::PermissionDenied => ": only root may ask",
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ": it took too long",
            _ => "",
        };
        anyhow!("no answer at {}: {error}{hint}", socket.display())
    })
}

fn converse(socket: &Path, request: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    writeln!(stream, "{request}")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if text.is_empty() {
        return Err(io::Error::other("the daemon gave none in its time"));
    }
    Ok(text)
}
