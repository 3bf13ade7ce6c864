//! The picture on a terminal, drawn over itself.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use anyhow::{Context, Result};

use crate::demo::{
    play::Show,
    record::Record,
    timeline::{HEIGHT, Paint, Timeline, WIDTH},
};

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const ERASE_LINE: &str = "\u{1b}[2K";

/// A terminal with the picture on it; dropped, the cursor is back below the picture.
pub(super) struct Screen<'a, W: Write> {
    out: &'a mut W,
    timeline: Timeline,
    paint: Paint,
    drawn: bool,
}

impl<'a, W: Write> Screen<'a, W> {
    /// A screen on this terminal.
    pub(super) fn open(out: &'a mut W) -> Result<Self> {
        // https://no-color.org: any value but the empty one.
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        write!(out, "{HIDE_CURSOR}").context("cannot write to the terminal")?;
        let paint = if plain { Paint::Plain } else { Paint::Colours };
        Ok(Self {
            out,
            timeline: Timeline::default(),
            paint,
            drawn: false,
        })
    }
}

impl<W: Write> Show for Screen<'_, W> {
    fn moment(&mut self, record: &mut Record, title: &str, seconds: f64) -> Result<()> {
        self.timeline.push(record.column());
        if self.drawn {
            write!(self.out, "\u{1b}[{HEIGHT}A")?;
        }
        for line in self.timeline.picture(record, title, seconds, self.paint) {
            writeln!(self.out, "\r{ERASE_LINE}{line}")?;
        }
        self.out.flush()?;
        self.drawn = true;
        Ok(())
    }
}

impl<W: Write> Drop for Screen<'_, W> {
    fn drop(&mut self) {
        // A terminal that is gone needs no cursor.
        let _ = write!(self.out, "{SHOW_CURSOR}");
        let _ = self.out.flush();
    }
}

/// Whether standard output is a terminal on which the picture has room.
pub(super) fn is_possible() -> bool {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize.
    let known = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) } == 0;
    known
        && io::stdout().is_terminal()
        && usize::from(size.ws_col) > WIDTH
        && usize::from(size.ws_row) > HEIGHT
}
