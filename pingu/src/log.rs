//! What is said on standard error, which may be full, closed, or read by nobody: neither ends nor holds up anything.

use std::{
    fmt::Display,
    io::{self, Write},
    os::fd::{AsFd, AsRawFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// A pipe, a socket or a terminal that can be written to takes at least so many bytes at once (`PIPE_BUF`).
const TAKEN_AT_ONCE: usize = 4096;

/// So long a reader that is slow is waited for; one that was too slow is waited for no more until it has read on.
const PATIENCE: Duration = Duration::from_millis(50);

/// Takes whole lines. Those that nobody takes are counted, which is told before the first one that somebody takes again.
#[derive(Debug)]
pub struct Log<W> {
    to: W,
    lost: Mutex<u64>,
}

impl<W> Log<W> {
    /// A log that is written to this.
    pub fn new(to: W) -> Self {
        Self {
            to,
            lost: Mutex::new(0),
        }
    }
}

impl<W: AsFd> Log<W>
where
    for<'a> &'a W: Write,
{
    fn say(&self, line: &[u8]) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let said = if *lost == 0 {
            self.put(line, PATIENCE)
        } else {
            // The first of them may have been cut short.
            let told = format!("\npingu: {lost} lines of the log could not be written here\n");
            let told = self.put(told.as_bytes(), Duration::ZERO);
            told.map(|()| *lost = 0)
                .and_then(|()| self.put(line, Duration::ZERO))
        };
        if said.is_err() {
            *lost += 1;
        }
    }

    fn put(&self, text: &[u8], patience: Duration) -> io::Result<()> {
        for part in text.chunks(TAKEN_AT_ONCE) {
            if !self.takes(patience) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            (&self.to).write_all(part)?;
        }
        Ok(())
    }

    /// Whether a write returns at once, if only with an error.
    fn takes(&self, patience: Duration) -> bool {
        let mut asked = libc::pollfd {
            fd: self.to.as_fd().as_raw_fd(),
            events: libc::POLLOUT,
            revents: 0,
        };
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        loop {
            // SAFETY: one entry, which outlives the call.
            let ready = unsafe { libc::poll(&raw mut asked, 1, patience) };
            let error = io::Error::last_os_error();
            if ready >= 0 || error.kind() != io::ErrorKind::Interrupted {
                return ready > 0;
            }
        }
    }
}

impl<W: AsFd> Write for &Log<W>
where
    for<'a> &'a W: Write,
{
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, W: AsFd + 'a> MakeWriter<'a> for Log<W>
where
    for<'b> &'b W: Write,
{
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Says a line on standard error, for people; that nobody can be told is no error.
pub fn say(line: impl Display) {
    // Not `eprintln!`, which panics.
    drop(writeln!(io::stderr(), "{line}"));
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{BufRead, BufReader, pipe},
    };

    use super::*;

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let log = Log::new(writer);
        (&log).write_all(b"one\n").unwrap();
        (&log).write_all(b"two\n").unwrap();
        assert_eq!(*log.lost.lock().unwrap(), 2);
    }

    #[test]
    fn a_full_disk_is_no_error() {
        let log = Log::new(File::options().write(true).open("/dev/full").unwrap());
        (&log).write_all(b"one\n").unwrap();
        assert_eq!(*log.lost.lock().unwrap(), 1);
    }

    #[test]
    fn what_nobody_reads_is_left_out_and_counted() {
        let (reader, writer) = pipe().unwrap();
        let log = Log::new(writer);
        let line = format!("{}\n", "x".repeat(6000));
        let mut written = 0_u64;
        // A pipe takes a million bytes at most unless root says otherwise.
        while *log.lost.lock().unwrap() < 2 {
            assert!(written < 1000, "the pipe never fills");
            (&log).write_all(line.as_bytes()).unwrap();
            written += 1;
        }
        let mut lines = BufReader::new(reader).lines();
        for _ in 0..written - 2 {
            assert_eq!(lines.next().unwrap().unwrap(), line.trim_end());
        }
        (&log).write_all(b"again\n").unwrap();
        let cut_short = lines.next().unwrap().unwrap();
        assert_eq!(cut_short.trim_start_matches('x'), "");
        for wanted in [
            "pingu: 2 lines of the log could not be written here",
            "again",
        ] {
            assert_eq!(lines.next().unwrap().unwrap(), wanted);
        }
    }
}
