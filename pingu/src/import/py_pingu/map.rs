//! A map of a JSON file, read key by key.

use std::{collections::BTreeSet, time::Duration};

use crate::import::{
    findings::{Findings, quote},
    json::{Kind, Member, Value},
};

/// A map of the file, of which keys are taken.
pub(super) struct Map<'a> {
    /// What messages put before a key.
    path: String,
    members: &'a [Member],
    taken: BTreeSet<&'static str>,
}

impl<'a> Map<'a> {
    pub(super) fn new(path: String, members: &'a [Member]) -> Self {
        Self {
            path,
            members,
            taken: BTreeSet::new(),
        }
    }

    /// The last value of a key counts, as in Python; null is none.
    pub(super) fn take(&mut self, key: &'static str, findings: &mut Findings) -> Option<&'a Value> {
        self.taken.insert(key);
        let mut found = self.members.iter().filter(|m| m.key.trim() == key);
        let mut last = found.next()?;
        for next in found {
            let name = self.name(key);
            findings.differs(
                last.line,
                format!(
                    "`{name}` is given again in line {}, which counts",
                    next.line
                ),
            );
            last = next;
        }
        if last.key != key {
            let message = format!(
                "the key is {}, with blanks, which py-pingu does not know; it is taken for `{key}`, as it was meant",
                quote(&last.key)
            );
            findings.differs(last.line, message);
        }
        (!matches!(last.value.kind, Kind::Null)).then_some(&last.value)
    }

    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    pub(super) fn whole(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<(i64, usize)> {
        let value = self.take(key, findings)?;
        let number = match &value.kind {
            Kind::Number(number) => number.parse::<i64>().ok(),
            _ => None,
        };
        let Some(number) = number else {
            findings.wrong(
                value.line,
                &self.name(key),
                "a whole number",
                &value.found(),
            );
            return None;
        };
        Some((number, value.line))
    }

    pub(super) fn time(
        &mut self,
        key: &'static str,
        unit: fn(f64) -> Option<Duration>,
        findings: &mut Findings,
    ) -> Option<(Duration, usize)> {
        let value = self.take(key, findings)?;
        let found = match &value.kind {
            Kind::Number(number) => number.parse().ok().and_then(unit),
            _ => None,
        };
        let Some(found) = found else {
            let allowed = "a number that is not negative, without quotes";
            findings.wrong(value.line, &self.name(key), allowed, &value.found());
            return None;
        };
        Some((found, value.line))
    }

    pub(super) fn string(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<(&'a str, usize)> {
        let value = self.take(key, findings)?;
        let Kind::Text(text) = &value.kind else {
            findings.wrong(
                value.line,
                &self.name(key),
                "a text in quotes",
                &value.found(),
            );
            return None;
        };
        Some((text, value.line))
    }

    /// Says that a key is needed, where it is not there; where it is, something else was said of it.
    pub(super) fn needed(&self, key: &str, line: usize, what: &str, findings: &mut Findings) {
        let found = self.members.iter().rfind(|m| m.key.trim() == key);
        let is_null = |m: &Member| matches!(m.value.kind, Kind::Null);
        if found.is_none_or(is_null) {
            let line = found.map_or(line, |m| m.line);
            findings.error(line, format!("`{}` is needed: {what}", self.name(key)));
        }
    }

    /// Lists every key that nobody asked for.
    pub(super) fn finish(self, findings: &mut Findings) {
        for member in self.members {
            if !self.taken.contains(member.key.trim()) {
                let name = self.name(&member.key);
                findings.lost(member.line, format!("`{name}`: py-pingu has no such key"));
            }
        }
    }
}
