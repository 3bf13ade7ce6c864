//! What went wrong in a script, in bounded words.

use std::fmt::{self, Write};

use super::budget::OverTime;

/// A traceback has some twenty lines; a script may raise a text of any length.
const TEXT_BYTES_MAX: usize = 4096;

/// What pingu's own Lua is called in tracebacks.
pub(super) const OWN_CHUNK: &str = "pingu";

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// It is no Lua.
    Syntax,
    /// It raised an error.
    Raised,
    /// It used up its time.
    OverTime,
    /// It used up its memory.
    OverMemory,
}

/// What went wrong in a script, with the file, the line and the traceback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// What kind of thing it was.
    pub fault: Fault,
    text: String,
}

impl ScriptError {
    /// With a text of which only so much is kept as a log can take.
    pub fn new(fault: Fault, text: &str) -> Self {
        let text = bounded(text, TEXT_BYTES_MAX);
        Self { fault, text }
    }

    /// Of what Lua says.
    pub fn of(error: &mlua::Error) -> Self {
        let over_time = error.downcast_ref::<OverTime>();
        let fault = match innermost(error) {
            _ if over_time.is_some() => Fault::OverTime,
            mlua::Error::SyntaxError { .. } => Fault::Syntax,
            mlua::Error::MemoryError(_) => Fault::OverMemory,
            _ => Fault::Raised,
        };
        let mut text = String::new();
        match over_time {
            Some(over) => {
                let places = over.traceback.lines().find_map(place_in);
                let place = places.map(|place| format!("{place}: ")).unwrap_or_default();
                text = format!("{place}{over}\n{}", over.traceback);
            }
            None => tell(error, &mut text),
        }
        Self::new(fault, &text)
    }

    /// The first line: what happened, and where.
    pub fn summary(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for ScriptError {}

/// At most so many bytes of a text, without characters that would confuse a terminal.
pub(in crate::script) fn bounded(text: &str, bytes_max: usize) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        let shown = match character {
            '\n' | '\t' => character,
            '\r' => continue,
            _ if character.is_control() => '\u{fffd}',
            _ => character,
        };
        if kept.len() + shown.len_utf8() > bytes_max {
            kept.push_str(" [...]");
            break;
        }
        kept.push(shown);
    }
    kept
}

/// The error without what was wrapped around it on its way.
fn innermost(error: &mlua::Error) -> &mlua::Error {
    match error {
        mlua::Error::CallbackError { cause, .. } => innermost(cause),
        mlua::Error::WithContext { cause, .. } => innermost(cause),
        _ => error,
    }
}

/// The cause, and the traceback of where it was raised.
fn tell(error: &mlua::Error, text: &mut String) {
    // Writing into a text does not fail.
    let _ = match error {
        mlua::Error::CallbackError { traceback, cause } => {
            let traces = matches!(**cause, mlua::Error::CallbackError { .. });
            tell(cause, text);
            let place = || traceback.lines().find_map(place_in);
            if let (false, Some(place)) = (traces, place()) {
                text.insert_str(0, &format!("{place}: "));
            }
            match traces {
                true => Ok(()),
                false => write!(text, "\n{traceback}"),
            }
        }
        mlua::Error::RuntimeError(message) | mlua::Error::MemoryError(message) => {
            write!(text, "{message}")
        }
        mlua::Error::SyntaxError { message, .. } => write!(text, "{message}"),
        other => write!(text, "{other}"),
    };
}

/// The file and line that a line of a traceback begins with.
fn place_in(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (file, rest) = line.split_once(':')?;
    let digits = rest.find(|character: char| !character.is_ascii_digit())?;
    (digits > 0 && file != "[C]" && file != OWN_CHUNK).then(|| &line[..file.len() + 1 + digits])
}
