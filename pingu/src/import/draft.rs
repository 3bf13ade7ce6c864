//! The result while it is being made: tables of keys, each of which knows where in the original it comes from.

use std::{net::IpAddr, time::Duration};

use super::findings::one_line;

/// Comments are wrapped here.
const COMMENT_CHARS_MAX: usize = 110;

/// A place in the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) line: usize,
    /// Its key there; empty where it is not about one.
    pub(super) key: String,
}

/// One key with its value.
#[derive(Debug)]
struct Entry {
    key: &'static str,
    value: String,
    origin: Option<Origin>,
    /// What stands above it.
    comment: String,
}

/// A table: `[probe]`, `[[uplink]]` and so on; the keys at the top have no header.
#[derive(Debug)]
pub(super) struct Section {
    header: &'static str,
    /// Where what it stands for begins in the original.
    line: usize,
    comment: String,
    entries: Vec<Entry>,
    /// It is only shown.
    is_comment: bool,
}

impl Section {
    pub(super) fn new(header: &'static str, line: usize, comment: &str) -> Self {
        Self {
            header,
            line,
            comment: comment.to_owned(),
            entries: Vec::new(),
            is_comment: false,
        }
    }

    /// The whole table becomes a comment.
    pub(super) fn comment_out(&mut self) {
        self.is_comment = true;
    }

    /// A key that has a counterpart in the original.
    pub(super) fn set(
        &mut self,
        key: &'static str,
        value: impl ToString,
        line: usize,
        original: &str,
    ) {
        self.put(key, value.to_string(), Some((line, original)), "");
    }

    /// The same, with something to be said above it.
    pub(super) fn set_with(
        &mut self,
        key: &'static str,
        value: impl ToString,
        (line, original): (usize, &str),
        comment: &str,
    ) {
        self.put(key, value.to_string(), Some((line, original)), comment);
    }

    /// A key of pingu's, and why it is there.
    pub(super) fn own(&mut self, key: &'static str, value: impl ToString, comment: &str) {
        self.put(key, value.to_string(), None, comment);
    }

    fn put(
        &mut self,
        key: &'static str,
        value: String,
        origin: Option<(usize, &str)>,
        comment: &str,
    ) {
        let origin = origin.map(|(line, key)| Origin {
            line,
            key: one_line(key),
        });
        self.entries.push(Entry {
            key,
            value,
            origin,
            comment: comment.to_owned(),
        });
    }
}

/// The whole result.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) sections: Vec<Section>,
}

/// The result as text, and for each of its lines where that comes from.
pub(super) struct Rendered {
    pub(super) text: String,
    origins: Vec<Option<Origin>>,
}

impl Rendered {
    /// Where a line of the text, counted from 1, comes from.
    pub(super) fn origin(&self, line: usize) -> Option<&Origin> {
        self.origins.get(line.saturating_sub(1))?.as_ref()
    }

    fn line(&mut self, text: &str, origin: Option<Origin>) {
        self.text.push_str(text);
        self.text.push('\n');
        self.origins.push(origin);
    }

    fn comment(&mut self, text: &str, origin: Option<&Origin>) {
        for line in wrapped(text, COMMENT_CHARS_MAX) {
            self.line(format!("# {line}").trim_end(), origin.cloned());
        }
    }
}

impl Draft {
    /// The text, with these remarks at its head.
    pub(super) fn render(&self, head: &[String]) -> Rendered {
        let mut out = Rendered {
            text: String::new(),
            origins: Vec::new(),
        };
        for remark in head {
            out.comment(remark, None);
        }
        for section in &self.sections {
            render_section(&mut out, section);
        }
        out
    }
}

fn render_section(out: &mut Rendered, section: &Section) {
    let header = Origin {
        line: section.line,
        key: String::new(),
    };
    let lead = if section.is_comment { "# " } else { "" };
    out.line("", None);
    if !section.comment.is_empty() {
        out.comment(&section.comment, None);
    }
    if !section.header.is_empty() {
        let line = format!("{lead}{}", section.header);
        out.line(&line, Some(header.clone()));
    }
    for entry in &section.entries {
        if !entry.comment.is_empty() {
            out.comment(&entry.comment, None);
        }
        let mut line = format!("{lead}{} = {}", entry.key, entry.value);
        if let Some(origin) = &entry.origin {
            line.push_str(&format!("  # line {}: {}", origin.line, origin.key));
        }
        let origin = entry.origin.clone().unwrap_or_else(|| header.clone());
        out.line(&line, Some(origin));
    }
}

/// Lines of at most so many characters, broken at blanks.
fn wrapped(text: &str, chars_max: usize) -> Vec<String> {
    let text = one_line(text);
    let indent = &text[..text.len() - text.trim_start().len()];
    let mut lines = Vec::new();
    let mut line = indent.to_owned();
    for word in text.trim_start().split(' ') {
        let is_first = line.trim_start().is_empty();
        if !is_first && line.chars().count() + word.chars().count() >= chars_max {
            lines.push(std::mem::take(&mut line));
            // What is indented is an item of a list.
            line = indent.repeat(2);
        } else if !is_first {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A string in TOML, on one line whatever is in it.
pub(super) fn text(plain: &str) -> String {
    let mut quoted = String::with_capacity(plain.len() + 2);
    quoted.push('"');
    for c in plain.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A list of strings in TOML.
pub(super) fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items
        .into_iter()
        .map(|item| text(&item.to_string()))
        .collect();
    format!("[{}]", items.join(", "))
}

/// A duration in TOML, in the largest unit that needs no fraction.
pub(super) fn duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
    let fitting = units
        .into_iter()
        .find(|(_, unit_ns)| ns.is_multiple_of(*unit_ns));
    let (unit, unit_ns) = fitting.unwrap_or(("ns", 1));
    text(&format!("{}{unit}", ns / unit_ns))
}

/// A number of seconds; none where it is not one that time can have.
pub(super) fn seconds(number: f64) -> Option<Duration> {
    let duration = Duration::try_from_secs_f64(number).ok()?;
    // What people write has at most microseconds; the rest is what binary fractions add.
    let us = (duration.as_nanos() + 500) / 1000;
    u64::try_from(us).ok().map(Duration::from_micros)
}

/// A number of milliseconds.
pub(super) fn milliseconds(number: f64) -> Option<Duration> {
    seconds(number / 1000.0)
}

/// The address in a text, where it is nothing else.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse().ok()
}
