//! Reads typed values out of a parsed TOML table, and remembers which keys were asked for.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{duration, near::near, problem::Findings};

/// Keys that are for the whole of pingu, and often end up below a table's header.
const TOP_KEYS: [&str; 14] = [
    "script",
    "sandbox",
    "prefer_better",
    "protocol",
    "engine",
    "receive_hook",
    "learned_routes",
    "on_exit",
    "socket",
    "state_directory",
    "sticky_file",
    "mark_connections",
    "flush_connections",
    "nexthop_base",
];

/// A value with the place where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table being read: every key that was asked for is allowed there, any other is an error.
pub(super) struct Reader<'a, 'f, 't> {
    table: &'a DeTable<'t>,
    /// Where the table stands: its header.
    pub(super) span: Range<usize>,
    /// What messages put before a key: `uplink[1].`, or nothing at the top.
    path: String,
    findings: &'f mut Findings<'t>,
    asked: BTreeSet<&'static str>,
}

impl<'a, 'f, 't> Reader<'a, 'f, 't> {
    pub(super) fn new(
        table: &'a DeTable<'t>,
        span: Range<usize>,
        path: String,
        findings: &'f mut Findings<'t>,
    ) -> Self {
        Self {
            table,
            span,
            path,
            findings,
            asked: BTreeSet::new(),
        }
    }

    /// Whether this is a table of `[[uplink]]`.
    pub(super) fn is_of_uplink(&self) -> bool {
        self.path.starts_with("uplink[")
    }

    /// Whether a key was given, rightly or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A table inside this one, to be read by itself.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Reader<'a, '_, 't>> {
        self.table_or(key, &format!("a table, written as [{key}]"))
    }

    /// The same where something else is allowed too.
    pub(super) fn table_or(
        &mut self,
        key: &'static str,
        allowed: &str,
    ) -> Option<Reader<'a, '_, 't>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                let path = format!("{}{key}.", self.path);
                Some(Reader::new(table, value.span(), path, self.findings))
            }
            _ => self.wrong(key, value.span(), allowed),
        }
    }

    /// Tables written as `[[key]]`, each with where it stands; an empty list where there is none, and nothing with an error said.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        most: usize,
    ) -> Option<Vec<(Range<usize>, &'a DeTable<'t>)>> {
        let Some(value) = self.value(key) else {
            return Some(Vec::new());
        };
        let items: Option<Vec<_>> = match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .map(|item| Some((item.span(), item.get_ref().as_table()?)))
                .collect(),
            _ => None,
        };
        let path = self.path.split('[').next().unwrap_or_default();
        let header = if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        };
        let Some(items) = items else {
            let what = format!("written as [[{header}]], once for each");
            return self.wrong(key, value.span(), &what);
        };
        if items.len() > most {
            let message = format!(
                "`{}{key}` must be given at most {most} times, not {}",
                self.path,
                items.len()
            );
            self.error(value.span(), message);
            return None;
        }
        Some(items)
    }

    /// A text that must be there and good.
    pub(super) fn required(
        &mut self,
        key: &'static str,
        good: fn(&str) -> bool,
        allowed: &str,
    ) -> Option<At<String>> {
        if !self.has(key) {
            let (span, key) = (self.span.clone(), self.key(key));
            self.missing(span, format!("`{key}` is needed: {allowed}"));
        }
        let found = self.string(key)?;
        if good(&found.value) {
            Some(found)
        } else {
            self.wrong(key, found.span, allowed)
        }
    }

    /// The value of a key.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.asked.insert(key);
        self.table.get(key)
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(At {
                value: text.clone().into_owned(),
                span: value.span(),
            }),
            _ => self.wrong(key, value.span(), "a string in quotes"),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        allowed: &[(&str, T)],
    ) -> Option<At<T>> {
        let value = self.value(key)?;
        let found = match value.get_ref() {
            DeValue::String(text) => allowed.iter().find(|(name, _)| *name == text.as_ref()),
            _ => None,
        };
        match found {
            Some((_, choice)) => Some(At {
                value: *choice,
                span: value.span(),
            }),
            None => {
                let names: Vec<String> = allowed
                    .iter()
                    .map(|(name, _)| format!("{name:?}"))
                    .collect();
                self.wrong(key, value.span(), &format!("one of {}", names.join(", ")))
            }
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(choice) => Some(At {
                value: *choice,
                span: value.span(),
            }),
            _ => self.wrong(key, value.span(), "true or false"),
        }
    }

    /// A whole number within limits.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u32>,
    ) -> Option<At<u32>> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => {
                i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
            }
            _ => None,
        };
        match number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| allowed.contains(number))
        {
            Some(number) => Some(At {
                value: number,
                span: value.span(),
            }),
            None => {
                let what = format!(
                    "a whole number from {} to {}",
                    allowed.start(),
                    allowed.end()
                );
                self.wrong(key, value.span(), &what)
            }
        }
    }

    /// A duration with its unit, within limits.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<Duration>,
    ) -> Option<At<Duration>> {
        let value = self.value(key)?;
        let what = format!(
            "a duration with its unit, such as \"20ms\" or \"5s\", from {} to {}",
            duration::write(*allowed.start()),
            duration::write(*allowed.end())
        );
        let found = match value.get_ref() {
            DeValue::String(text) => duration::parse(text),
            _ => None,
        };
        match found.filter(|found| allowed.contains(found)) {
            Some(found) => Some(At {
                value: found,
                span: value.span(),
            }),
            None => self.wrong(key, value.span(), &what),
        }
    }

    /// A list of addresses, each a string in which `fault` finds none; a single string counts as a list of one where `single`
    /// allows it. None if any of them was wrong.
    pub(super) fn addresses(
        &mut self,
        key: &'static str,
        single: bool,
        (fault, allowed): (fn(IpAddr) -> Option<&'static str>, &str),
    ) -> Option<At<Vec<At<IpAddr>>>> {
        let value = self.value(key)?;
        let items: Vec<&Spanned<DeValue<'t>>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            DeValue::String(_) if single => vec![value],
            _ => {
                return self.wrong(
                    key,
                    value.span(),
                    &format!("a list, in brackets, of {allowed}"),
                );
            }
        };
        let mut addresses = Vec::new();
        for item in &items {
            let address: Option<IpAddr> = match item.get_ref() {
                DeValue::String(text) => text.parse().ok(),
                _ => None,
            };
            match address.map(|address| (address, fault(address))) {
                Some((value, None)) => addresses.push(At {
                    value,
                    span: item.span(),
                }),
                Some((address, Some(fault))) => {
                    let key = self.key(key);
                    self.error(
                        item.span(),
                        format!("`{key}` must be {allowed}; {address} is {fault}"),
                    );
                }
                None => self.wrong(key, item.span(), allowed).unwrap_or_default(),
            }
        }
        (addresses.len() == items.len()).then(|| At {
            value: addresses,
            span: value.span(),
        })
    }

    /// Reports a key whose value is not what is allowed.
    pub(super) fn wrong<T>(&mut self, key: &str, span: Range<usize>, allowed: &str) -> Option<T> {
        let found: String = self
            .findings
            .quote(span.clone())
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(60)
            .collect();
        self.error(
            span,
            format!("`{}{key}` must be {allowed}, not {found}", self.path),
        );
        None
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: String) {
        self.findings.error(span, message);
    }

    /// Reports that something is not there. Where the syntax is broken, nobody knows whether it is.
    pub(super) fn missing(&mut self, span: Range<usize>, message: String) {
        if self.findings.whole {
            self.error(span, message);
        }
    }

    pub(super) fn warning(&mut self, span: Range<usize>, message: String) {
        self.findings.warning(span, message);
    }

    /// The name of a key in messages.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// The findings, for tables inside this one.
    pub(super) fn findings(&mut self) -> &mut Findings<'t> {
        self.findings
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            if self.asked.contains(name) {
                continue;
            }
            let hint = if matches!(name, "probe" | "health")
                && matches!(value.get_ref(), DeValue::Table(_))
            {
                format!("write the keys of [{name}] directly in [[uplink]]")
            } else if !self.path.is_empty() && TOP_KEYS.contains(&name) {
                "it belongs at the top, before the first table".to_owned()
            } else if let Some(near) = self.asked.iter().find(|known| near(name, known)) {
                format!("did you mean `{near}`?")
            } else {
                let known: Vec<&str> = self.asked.iter().copied().collect();
                format!("allowed here: {}", known.join(", "))
            };
            self.findings.error(
                key.span(),
                format!("unknown key `{}{name}`; {hint}", self.path),
            );
        }
    }
}
