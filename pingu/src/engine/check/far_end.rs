//! What several uplinks check alike: their far end, who of them can say something of it, and how it fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    config::CheckKind,
    engine::{
        State,
        check::{Cause, Check},
    },
};

/// What the checks of several uplinks try alike.
#[derive(Debug)]
pub(super) struct FarEnd {
    /// For people.
    name: String,
    pub(super) checks: Vec<usize>,
    /// Those that are down and may yet count for something else.
    pub(super) open: BTreeSet<usize>,
    /// When it last answered over any uplink.
    pub(super) answered: Option<Instant>,
    pub(super) dead: Option<Death>,
}

/// How a dead far end fails.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) portal: Option<String>,
}

/// What a check that is down counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// It is not down.
    Nothing,
    /// Nothing yet: these may still say that the far end is dead.
    Waits {
        since: Instant,
        until: Instant,
        asked: Vec<usize>,
    },
    /// Its uplink is down. Proven: the far end answered over another one meanwhile.
    Counts { proven: bool },
    /// Nothing: the far end is dead.
    LeftOut,
    /// Nothing, until it fails anew: the far end was dead, and is not.
    Doubted,
}

/// What the last run said of the far end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) good: bool,
    pub(super) ordered: Instant,
    pub(super) ended: Instant,
}

/// Finds the checks that try the same: the far end of each, and those of each far end.
pub(super) fn far_ends(list: &mut [Check]) -> Vec<FarEnd> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut far_ends: Vec<FarEnd> = Vec::new();
    for (index, check) in list.iter_mut().enumerate() {
        let (name, expected) = described(&check.config.kind);
        let place = *places
            .entry(format!("{name} {expected}"))
            .or_insert(far_ends.len());
        if place == far_ends.len() {
            far_ends.push(FarEnd {
                name,
                checks: Vec::new(),
                open: BTreeSet::new(),
                answered: None,
                dead: None,
            });
        }
        far_ends[place].checks.push(index);
        check.far_end = place;
    }
    far_ends
}

/// Who is asked for what, and which answers are right: equal for checks that fail together when their far end does.
fn described(kind: &CheckKind) -> (String, String) {
    let none = String::new;
    match kind {
        CheckKind::Tcp(address) => (address.to_string(), none()),
        CheckKind::Http(http) => {
            let url = &http.url;
            let at = http.address.map(|address| format!(" at {address}"));
            let name = format!("{url}{}", at.unwrap_or_default());
            let name = name.replacen(&url.host, &url.host.to_ascii_lowercase(), 1);
            (name, format!("{:?} {:?}", http.status, http.body))
        }
        CheckKind::Dns(dns) => {
            let asked = dns.name.trim_end_matches('.').to_ascii_lowercase();
            let name = format!("{} for {asked}", dns.resolver);
            (name, format!("{:?} {:?}", dns.record, dns.expect))
        }
        CheckKind::Exec(exec) => (format!("{:?}", exec.command), none()),
        // How large a packet must be may differ from line to line.
        CheckKind::Mtu(mtu) => (mtu.target.to_string(), "mtu".to_owned()),
    }
}

impl Check {
    /// How it fails. Portals that answer differently are several; other failures of one far end may look different over each uplink.
    pub(super) fn death(&self) -> Death {
        let last = self.verdicts.last();
        let failure = last.and_then(|(outcome, _)| outcome.as_ref().err());
        let portal = failure.filter(|failure| failure.cause == Cause::Portal);
        Death {
            portal: portal.map(|failure| failure.text.clone()),
        }
    }

    /// Whether it can say anything of its far end.
    pub(super) fn tells(&self) -> bool {
        let last = self.verdicts.last();
        let is_local = last.is_some_and(|(outcome, _)| {
            outcome
                .as_ref()
                .is_err_and(|failure| failure.cause == Cause::Local)
        });
        self.way.is_some() && !is_local
    }

    /// It failed, and more runs are to say soon whether it is down.
    pub(super) fn may_fall(&self) -> bool {
        self.weight == Weight::Doubted
            || (self.verdicts.state() != State::Down
                && self.verdicts.is_about_to_fall(&self.config))
    }
}

impl FarEnd {
    /// What there is to say of a dead one.
    pub(super) fn warning(&self, list: &[Check]) -> Option<String> {
        self.dead.as_ref()?;
        let check = &list[*self.checks.first()?].config.name;
        Some(format!(
            "check {check} fails over every uplink: its far end is taken to be dead ({}), and no uplink falls by it until it succeeds \
             over one",
            self.name
        ))
    }

    /// Whether a failure of one of its checks is to be confirmed soon.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.dead.is_some() || !self.open.is_empty()
    }
}
