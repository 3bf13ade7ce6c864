//! OpenWrt's configuration files: sections with options and lists.

use std::collections::BTreeMap;

use super::findings::{Findings, quote};

/// Sections and options of a file; routers have some hundreds.
const ENTRIES_MAX: usize = 20_000;

/// `config TYPE 'NAME'` with what is below it.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) line: usize,
    /// The package, where a file has several (`uci export`).
    pub(super) package: Option<String>,
    pub(super) kind: String,
    pub(super) name: Option<String>,
    pub(super) entries: Vec<Entry>,
}

/// `option KEY 'VALUE'` or `list KEY 'VALUE'`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: String,
}

impl Section {
    /// The value of an option: the last one counts.
    pub(super) fn option(&self, key: &str) -> Option<(&str, usize)> {
        let found = self.entries.iter().rfind(|entry| entry.key == key)?;
        Some((&found.value, found.line))
    }

    /// The values of a list, or of an option with blanks between them.
    pub(super) fn list(&self, key: &str) -> Vec<(&str, usize)> {
        let of_key = self.entries.iter().filter(|entry| entry.key == key);
        of_key
            .flat_map(|entry| {
                entry
                    .value
                    .split_whitespace()
                    .map(move |word| (word, entry.line))
            })
            .collect()
    }

    /// Whether an option says yes.
    pub(super) fn is_on(&self, key: &str, default: bool) -> bool {
        self.option(key).map_or(default, |(value, _)| {
            matches!(value, "1" | "on" | "true" | "yes" | "enabled")
        })
    }
}

/// Reads a file.
pub(super) fn parse(text: &str, findings: &mut Findings) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    // A named section that comes again goes on where it was.
    let mut named = BTreeMap::new();
    let mut current = None;
    let mut package: Option<String> = None;
    let mut count = 0;
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let started = line;
        let words = match words(&mut rest, &mut line) {
            Ok(words) => words,
            Err(message) => {
                findings.error(started, message);
                return sections;
            }
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            [] => continue,
            ["package", name] => package = Some(name.to_owned()),
            ["config", kind] | ["config", kind, _] => {
                let name = words.get(2).map(|&name| name.to_owned());
                let fresh = sections.len();
                let place = match &name {
                    Some(name) => *named
                        .entry((package.clone(), kind.to_owned(), name.clone()))
                        .or_insert(fresh),
                    None => fresh,
                };
                current = Some(place);
                if place == fresh {
                    sections.push(Section {
                        line: started,
                        package: package.clone(),
                        kind: kind.to_owned(),
                        name,
                        entries: Vec::new(),
                    });
                }
            }
            ["option" | "list", key, value] => match current {
                Some(place) => sections[place].entries.push(Entry {
                    line: started,
                    key: key.to_owned(),
                    value: value.to_owned(),
                }),
                None => findings.error(started, format!("`{key}` is above the first `config`")),
            },
            ["option" | "list", key] => {
                findings.error(
                    started,
                    format!("`{key}` has no value: {} KEY 'VALUE' is expected", words[0]),
                );
            }
            [first, ..] => {
                let message = format!(
                    "{} is expected to be `config TYPE 'NAME'`, `option KEY 'VALUE'` or `list KEY 'VALUE'`",
                    quote(first)
                );
                findings.error(started, message);
            }
        }
        count += 1;
        if count > ENTRIES_MAX {
            findings.error(
                line,
                format!("more than {ENTRIES_MAX} entries, which is the most"),
            );
            return sections;
        }
    }
    sections
}

/// The words of a line, which a quote may make longer.
fn words(rest: &mut &str, line: &mut usize) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = rest.char_indices();
    let mut end = rest.len();
    while let Some((at, c)) = chars.next() {
        *line += usize::from(c == '\n');
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                let escaped = chars.next().map(|(_, c)| c);
                *line += usize::from(escaped == Some('\n'));
                word.get_or_insert_default()
                    .extend(escaped.filter(|c| *c != '\n'));
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\n') => {
                end = at + 1;
                break;
            }
            (None, '#') if word.is_none() => {
                let length = rest[at..].find('\n');
                *line += usize::from(length.is_some());
                end = length.map_or(rest.len(), |length| at + length + 1);
                break;
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() || c == ';' => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("the quote {quote} is never closed"));
    }
    *rest = &rest[end..];
    words.extend(word);
    Ok(words)
}
