//! `[[hook]]`: the commands that are run when something happens.

use std::{ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    check::between,
    command, keys,
    reader::{At, Reader},
    uplink::{NAME_ALLOWED, NAME_CHARS_MAX, name_is_good},
    write::{line, line_of, list, text, time},
};
use crate::units::UplinkId;

/// Each has a queue and perhaps a process.
const HOOKS_MAX: usize = 64;

/// A command that takes longer than an hour is a service, not a hook.
const TIMEOUT_MS: [u64; 2] = [10, 3_600_000];

/// A week: what happens less often needs no limit.
const AT_MOST_EVERY_MS: [u64; 2] = [10, 7 * 24 * 3_600_000];

/// Of a thousand uplinks nobody reads all names.
const NAMES_SAID_MAX: usize = 16;

const ON_ALLOWED: &str = "a list of events, of \"up\", \"down\", \"switch\" and \"bad\"";

const UPLINKS_ALLOWED: &str = "a list of the names of uplinks";

/// A command that is run when something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConfig {
    /// What status and logs call it.
    pub name: String,
    /// What it waits for; at least one, each once.
    pub on: Vec<HookEvent>,
    /// The program, by its absolute path, and its arguments.
    pub command: Vec<String>,
    /// The uplinks whose events count; none: all.
    pub uplinks: Option<Vec<UplinkId>>,
    /// A run that takes so long is killed.
    pub timeout: Duration,
    /// From the start of one run for an uplink (or a group's switch) to that of the next; none: no limit.
    pub at_most_every: Option<Duration>,
}

/// What may happen (`on`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookEvent {
    /// An uplink came up.
    Up,
    /// An uplink went down.
    Down,
    /// The traffic of a group leaves by another uplink.
    Switch,
    /// An uplink was judged bad: a burst, or in rolling mode a probe.
    Bad,
}

impl HookEvent {
    pub(super) const WORDS: [(&'static str, Self); 4] = [
        ("up", Self::Up),
        ("down", Self::Down),
        ("switch", Self::Switch),
        ("bad", Self::Bad),
    ];

    /// Its word in the configuration.
    pub fn word(self) -> &'static str {
        keys::word(&Self::WORDS, &self)
    }
}

/// The hooks; none with an error said. Their uplinks are looked up among the names that the file gives, right or wrong.
pub(super) fn read(top: &mut Reader<'_, '_, '_>) -> Option<Vec<HookConfig>> {
    let tables = top.tables("hook", HOOKS_MAX)?;
    if tables.is_empty() {
        return Some(Vec::new());
    }
    let names = uplink_names(top);
    let mut all = Vec::with_capacity(tables.len());
    let mut good = true;
    for (index, (span, table)) in tables.into_iter().enumerate() {
        match one(top, index, span, table, &names) {
            Some(hook) => all.push(hook),
            None => good = false,
        }
    }
    good.then_some(all)
}

fn one<'t>(
    top: &mut Reader<'_, '_, 't>,
    index: usize,
    span: Range<usize>,
    table: &DeTable<'t>,
    names: &[Option<String>],
) -> Option<HookConfig> {
    let path = format!("hook[{}].", index + 1);
    let mut reader = Reader::new(table, span, path, top.findings());
    let given_name = reader.string("name");
    let named = match given_name {
        Some(At { value, span }) if !name_is_good(&value) => {
            reader.wrong::<()>("name", span, NAME_ALLOWED);
            None
        }
        Some(at) => Some(Some(at.value)),
        None => (!reader.has("name")).then_some(None),
    };
    let on = events(&mut reader);
    let command = command::read(&mut reader);
    let uplinks = uplinks(&mut reader, names);
    let timeout = reader.duration("timeout", between(TIMEOUT_MS[0], TIMEOUT_MS[1]));
    let at_most_every = reader.duration(
        "at_most_every",
        between(AT_MOST_EVERY_MS[0], AT_MOST_EVERY_MS[1]),
    );
    let wrong = (reader.has("timeout") && timeout.is_none())
        || (reader.has("at_most_every") && at_most_every.is_none());
    reader.finish();
    let command = command?;
    let name = named?.unwrap_or_else(|| command::base_name(&command, NAME_CHARS_MAX));
    let hook = HookConfig {
        name,
        on: on?,
        command,
        uplinks: uplinks?,
        timeout: timeout.map_or(keys::HOOK_TIMEOUT_DEFAULT, |at| at.value),
        at_most_every: at_most_every.map(|at| at.value),
    };
    (!wrong).then_some(hook)
}

/// The names of the uplinks by their places, also where something else about one is wrong.
fn uplink_names(top: &mut Reader<'_, '_, '_>) -> Vec<Option<String>> {
    let tables = match top.value("uplink").map(Spanned::get_ref) {
        Some(DeValue::Array(items)) => items,
        _ => return Vec::new(),
    };
    let name = |item: &Spanned<DeValue<'_>>| {
        let name = item.get_ref().as_table()?.get("name")?;
        name.get_ref().as_str().map(str::to_owned)
    };
    tables.iter().map(name).collect()
}

/// The good items of a list of texts, or a single one, and whether these are all; none, or not all, with an error said.
fn texts(
    reader: &mut Reader<'_, '_, '_>,
    key: &'static str,
    allowed: &str,
) -> Option<(Vec<At<String>>, bool)> {
    let found = reader.value(key)?;
    let items: Vec<&Spanned<DeValue<'_>>> = match found.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        DeValue::String(_) => vec![found],
        _ => return reader.wrong(key, found.span(), allowed),
    };
    if items.is_empty() {
        return reader.wrong(key, found.span(), allowed);
    }
    let mut all: Vec<At<String>> = Vec::with_capacity(items.len());
    let mut good = true;
    for item in items {
        let Some(value) = item.get_ref().as_str().map(str::to_owned) else {
            good = reader.wrong::<()>(key, item.span(), allowed).is_some();
            continue;
        };
        if all.iter().any(|other| other.value == value) {
            let message = format!("`{}` has {value:?} twice", reader.key(key));
            reader.error(item.span(), message);
            good = false;
            continue;
        }
        let span = item.span();
        all.push(At { value, span });
    }
    Some((all, good))
}

fn events(reader: &mut Reader<'_, '_, '_>) -> Option<Vec<HookEvent>> {
    if !reader.has("on") {
        let message = format!("`{}` is needed: {ON_ALLOWED}", reader.key("on"));
        reader.missing(reader.span.clone(), message);
    }
    let (given, all_good) = texts(reader, "on", ON_ALLOWED)?;
    let mut events = Vec::with_capacity(given.len());
    for At { value, span } in &given {
        match HookEvent::WORDS.iter().find(|(word, _)| word == value) {
            Some((_, event)) => events.push(*event),
            None => reader
                .wrong("on", span.clone(), ON_ALLOWED)
                .unwrap_or_default(),
        }
    }
    (all_good && events.len() == given.len()).then_some(events)
}

#[expect(
    clippy::option_option,
    reason = "absent is good and wrong is not; only one of them has been said"
)]
fn uplinks(
    reader: &mut Reader<'_, '_, '_>,
    names: &[Option<String>],
) -> Option<Option<Vec<UplinkId>>> {
    if !reader.has("uplinks") {
        reader.value("uplinks");
        return Some(None);
    }
    let (given, all_good) = texts(reader, "uplinks", UPLINKS_ALLOWED)?;
    let mut ids = Vec::with_capacity(given.len());
    for At { value, span } in &given {
        let place = names
            .iter()
            .position(|name| name.as_ref() == Some(value))
            .and_then(|place| u16::try_from(place).ok());
        if let Some(place) = place {
            ids.push(UplinkId(place));
            continue;
        }
        let known = names.iter().flatten().take(NAMES_SAID_MAX);
        let known: Vec<String> = known.map(|name| format!("{name:?}")).collect();
        let message = format!(
            "`{}`: there is no uplink {value:?}; there are {}",
            reader.key("uplinks"),
            known.join(", ")
        );
        reader.error(span.clone(), message);
    }
    (all_good && ids.len() == given.len()).then_some(Some(ids))
}

/// Writes one hook. `name_of` is what an uplink is called.
pub(super) fn write<'a>(
    out: &mut String,
    hook: &HookConfig,
    name_of: impl Fn(UplinkId) -> &'a str,
) {
    out.push_str("\n[[hook]]\n");
    line(out, "name", &text(&hook.name));
    line(out, "on", &list(hook.on.iter().map(|event| event.word())));
    line(out, "command", &list(hook.command.iter()));
    if let Some(uplinks) = &hook.uplinks {
        line(out, "uplinks", &list(uplinks.iter().map(|id| name_of(*id))));
    }
    line_of(out, "timeout", time(hook.timeout));
    line_of(out, "at_most_every", hook.at_most_every.and_then(time));
}
