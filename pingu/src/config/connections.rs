//! What becomes of connections when uplinks change: the keys `mark_connections` and `flush_connections`, and the policy of a group.

use std::{collections::BTreeMap, time::Duration};

use super::{
    UplinkConfig, keys,
    problem::Findings,
    reader::{At, Reader},
    uplink::Draft,
};
use crate::firewall::ruleset::can_name;

/// What becomes of connections over an uplink that traffic leaves although it is up (`failback`, `drain`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// They end.
    Hard,
    /// They stay where they are.
    Soft,
    /// They stay for so long, then they end.
    Drain(Duration),
}

impl Failback {
    /// The words of `failback`.
    pub const WORDS: [(&'static str, Self); 2] = [("hard", Self::Hard), ("soft", Self::Soft)];

    /// The policy of a group's keys `failback` and `drain`, the latter alone meaning soft until then; none where they contradict
    /// each other.
    pub fn from_keys(failback: Option<Self>, drain: Option<Duration>) -> Option<Self> {
        match (failback, drain) {
            (failback, None) => Some(failback.unwrap_or(Self::Hard)),
            (Some(Self::Hard), Some(_)) => None,
            (_, Some(time)) => Some(Self::Drain(time)),
        }
    }

    /// The members of a group, by name, whose connections cannot stay where they are for want of a mark (`fwmark`) that leads
    /// them there.
    pub fn unmarked<'c>(self, members: impl IntoIterator<Item = &'c UplinkConfig>) -> Vec<&'c str> {
        match self {
            Self::Hard => Vec::new(),
            Self::Soft | Self::Drain(_) => members
                .into_iter()
                .filter(|uplink| uplink.fwmark.is_none())
                .map(|uplink| uplink.name.as_str())
                .collect(),
        }
    }
}

/// The keys for the whole of pingu.
pub(super) struct Connections {
    mark: Option<At<bool>>,
    flush: Option<At<bool>>,
}

impl Connections {
    pub(super) fn read(top: &mut Reader<'_, '_, '_>) -> Self {
        Self {
            mark: top.boolean("mark_connections"),
            flush: top.boolean("flush_connections"),
        }
    }

    pub(super) fn mark(&self) -> bool {
        let default = keys::MARK_CONNECTIONS_DEFAULT;
        self.mark.as_ref().map_or(default, |at| at.value)
    }

    pub(super) fn flush(&self) -> bool {
        let default = keys::FLUSH_CONNECTIONS_DEFAULT;
        self.flush.as_ref().map_or(default, |at| at.value)
    }

    /// Reports uplinks whose connections cannot be marked.
    pub(super) fn check(&self, drafts: &[Draft], findings: &mut Findings<'_>) {
        let Some(key) = self.mark.as_ref().filter(|at| at.value) else {
            return;
        };
        if drafts.iter().all(|draft| draft.fwmark.is_none()) && findings.whole {
            let message = "`mark_connections` needs `fwmark` in at least one [[uplink]]";
            findings.error(key.span.clone(), message.to_owned());
        }
        if let Some(flush) = self.flush.as_ref().filter(|at| !at.value) {
            let message = "with `mark_connections` and without `flush_connections`, the connections of an uplink that dies stay on it";
            findings.warning(flush.span.clone(), message.to_owned());
        }
        let mut interfaces: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
        for (index, draft) in drafts.iter().enumerate() {
            let (Some(interface), place) = (&draft.interface, index + 1) else {
                continue;
            };
            let has_mark = draft.fwmark.is_some();
            if let Some((first, first_has_mark)) = interfaces.get(interface.value.as_str()) {
                if has_mark || *first_has_mark {
                    let message = format!(
                        "`mark_connections` cannot tell uplink[{place}] from uplink[{first}]: both have interface {:?}",
                        interface.value
                    );
                    findings.error(interface.span.clone(), message);
                }
            } else {
                interfaces.insert(&interface.value, (place, has_mark));
            }
            if has_mark && !can_name(&interface.value) {
                let message = format!(
                    "`mark_connections` cannot name the interface of uplink[{place}] in nftables: it has a quote, `*`, `\\` or a \
                     control character"
                );
                findings.error(interface.span.clone(), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_drain_is_soft_until_its_time_and_never_hard() {
        let minute = Duration::from_secs(60);
        for (failback, drain, policy) in [
            (None, None, Some(Failback::Hard)),
            (Some(Failback::Hard), None, Some(Failback::Hard)),
            (Some(Failback::Soft), None, Some(Failback::Soft)),
            (None, Some(minute), Some(Failback::Drain(minute))),
            (
                Some(Failback::Soft),
                Some(minute),
                Some(Failback::Drain(minute)),
            ),
            (Some(Failback::Hard), Some(minute), None),
        ] {
            assert_eq!(Failback::from_keys(failback, drain), policy);
        }
    }

    #[test]
    fn only_marked_connections_can_stay() {
        let text = "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\ntable = 1\nfwmark = 1\n\
                    [[uplink]]\nname = \"b\"\ninterface = \"wan1\"\n";
        let (config, _) = Config::parse(text, "f").unwrap();
        assert_eq!(Failback::Soft.unmarked(&config.uplinks), ["b"]);
        let drain = Failback::Drain(Duration::ZERO);
        assert_eq!(drain.unmarked(&config.uplinks), ["b"]);
        assert!(drain.unmarked(&config.uplinks[..1]).is_empty());
        assert!(Failback::Hard.unmarked(&config.uplinks).is_empty());
    }
}
