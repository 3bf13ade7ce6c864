//! Asking a running daemon.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, anyhow};

use crate::{control::ASK_STATUS, engine::Status};

/// How long a daemon may take to answer; it answers between two bursts.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Asks the daemon at `socket` for its status. Returns the answer and its text.
pub fn status(socket: &Path) -> anyhow::Result<(Status, String)> {
    let text = ask(socket).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ": is pingu running?",
            ErrorKind::PermissionDenied => ": only root may ask",
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ": it took too long",
            _ => "",
        };
        anyhow!("no answer at {}: {error}{hint}", socket.display())
    })?;
    let status = serde_json::from_str(&text)
        .context("the daemon's answer makes no sense: another version?")?;
    Ok((status, text))
}

fn ask(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    writeln!(stream, "{ASK_STATUS}")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
