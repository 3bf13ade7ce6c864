//! A program and its arguments, as they are written in the configuration.

use toml::de::DeValue;

use super::reader::Reader;

/// An argument list of this many is neither a check nor a hook.
const ARGUMENTS_MAX: usize = 64;

const ALLOWED: &str =
    "a list of 1 to 64 texts: the program by its absolute path, and its arguments";

/// The `command` of a table; none with an error said.
pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Option<Vec<String>> {
    if !reader.has("command") {
        let message = format!("`{}` is needed: {ALLOWED}", reader.key("command"));
        reader.missing(reader.span.clone(), message);
    }
    let found = reader.value("command")?;
    let words: Option<Vec<String>> = match found.get_ref() {
        DeValue::Array(items) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) if !text.contains('\0') => Some(text.clone().into_owned()),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    let is_good = |words: &Vec<String>| {
        words.len() <= ARGUMENTS_MAX
            && words
                .first()
                .is_some_and(|program| program.starts_with('/'))
    };
    match words.filter(is_good) {
        Some(command) => Some(command),
        None => reader.wrong("command", found.span(), ALLOWED),
    }
}

/// The program's name without its path, as far as it can be shown.
pub(super) fn base_name(command: &[String], chars_max: usize) -> String {
    let name = command[0].rsplit('/').find(|name| !name.is_empty());
    let shown = name.unwrap_or_default().chars().filter(|c| !c.is_control());
    let shown: String = shown.take(chars_max).collect();
    if shown.trim().is_empty() {
        "hook".to_owned()
    } else {
        shown
    }
}
