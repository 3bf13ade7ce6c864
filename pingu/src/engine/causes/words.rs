//! Causes in words: what each means, what one can do about it, and what ICMP's numbers say.

use std::io;

use super::{Cause, CauseKind, Detail};
use crate::{network::Link, probe::IcmpError, units::Ifindex};

impl CauseKind {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSent => "not-sent",
            Self::NoNeighbour => "no-neighbour",
            Self::WrongInterface => "wrong-interface",
            Self::Vanished => "vanished",
            Self::DroppedLocally => "dropped-locally",
            Self::NoReply => "no-reply",
            Self::Late => "late",
            Self::WrongUplink => "wrong-uplink",
            Self::Corrupt => "corrupt",
            Self::IcmpError => "icmp-error",
            Self::Duplicate => "duplicate",
            Self::Forged => "forged",
        }
    }

    /// What it means.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::NotSent => {
                "This machine's kernel refused to send the probe; it says nothing about the uplink."
            }
            Self::NoNeighbour => {
                "The next hop did not answer address resolution, so there was nobody to send the probe to."
            }
            Self::WrongInterface => {
                "Something on this machine sent the probe on by another interface, and pingu stopped it."
            }
            Self::Vanished => {
                "The probe was handed to the interface, and nothing shows when it left: it never passed the egress hook or, by \
                 sockets, got no sure time stamp."
            }
            Self::DroppedLocally => {
                "This machine dropped the probe on its way out: the interface's own queue was full, or a filter at its egress \
                 (nftables' egress hook, tc) stood in the way."
            }
            Self::NoReply => "The probe left by the uplink and nothing came back.",
            Self::Late => "The answer came, but after the timeout.",
            Self::WrongUplink => {
                "The answer came in by another interface or VLAN than the probe left by."
            }
            Self::Corrupt => "The answer was damaged: its checksum is wrong.",
            Self::IcmpError => {
                "A router on the way, or the target, reported that the probe was not delivered."
            }
            Self::Duplicate => "The target or the network answered a probe more than once.",
            Self::Forged => {
                "Packets came in that look like answers, but to no probe that is remembered: they are very late, another pingu's or \
                 forged, and count for nothing."
            }
        }
    }

    /// What one can do about it.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::NotSent => "Look at the interface and its addresses, and at the kernel's log.",
            Self::NoNeighbour => {
                "Check the cable or radio link, and that the gateway's address is right and switched on."
            }
            Self::WrongInterface => {
                "Look for tc filters, bonds or mirrors that redirect packets on this machine."
            }
            Self::Vanished => {
                "Look for another program's tc or eBPF filters on the interface, ahead of pingu's; by sockets, one at the \
                 start or after a step of the clock is nothing."
            }
            Self::DroppedLocally => {
                "Shape traffic below the line's rate, or give the interface a longer or a fair queue; look at the rules of \
                 `nft list ruleset` and `tc filter show` for it."
            }
            Self::NoReply => {
                "If other targets answer, this one may be down or drop echo requests; else ask the provider."
            }
            Self::Late => {
                "Raise `timeout` if such delays are normal here; else look for a full queue on the line."
            }
            Self::WrongUplink => {
                "Check that the source address belongs to this uplink and that the provider routes it back by it."
            }
            Self::Corrupt => "Look at the interface's error counters, its cable and its offloads.",
            Self::IcmpError => {
                "Ask whoever runs the sender of the report, or choose another target."
            }
            Self::Duplicate => {
                "Look for a loop or a mirror in the network; it does no harm to pingu."
            }
            Self::Forged => {
                "If they are many, see whether answers take much longer than `timeout` (a longer one tells), or find out who sends \
                 them; they cannot change what pingu decides."
            }
        }
    }
}

/// What a cause came to, with how many (" 3 of 10", or nothing); none of silence, which says nothing. `own` is the name of the interface
/// that the probes leave by.
pub(crate) fn phrase(cause: &Cause, (links, own): (&[Link], &str), of: &str) -> Option<String> {
    let detail = detail(cause, (links, own));
    let by = || {
        detail
            .clone()
            .map_or(String::new(), |by| format!(" by {by}"))
    };
    let why = || {
        detail
            .clone()
            .map_or(String::new(), |why| format!(" ({why})"))
    };
    let behind = |word: &str| {
        if of.is_empty() {
            String::new()
        } else {
            format!(" {word}{of}")
        }
    };
    Some(match (cause.kind, cause.detail) {
        (CauseKind::IcmpError, Detail::Icmp(error)) => {
            format!("{} says: {}{}", error.from, icmp(&error), behind("to"))
        }
        (CauseKind::IcmpError, _) => format!("routers report errors{}", behind("for")),
        (CauseKind::NotSent, _) => format!("not sent{}{of}", why()),
        (CauseKind::WrongInterface, _) => format!("tried to leave{}:{of}", by()),
        (CauseKind::DroppedLocally, _) => {
            format!("dropped on this machine's way out{}:{of}", why())
        }
        (CauseKind::WrongUplink, _) => format!("answers come in{}{}", by(), behind("to")),
        (CauseKind::Corrupt, _) => format!("answers are damaged{}", behind("to")),
        (CauseKind::Late, _) => format!("answered late{of}"),
        (
            CauseKind::NoReply
            | CauseKind::NoNeighbour
            | CauseKind::Vanished
            | CauseKind::Duplicate
            | CauseKind::Forged,
            _,
        ) => return None,
    })
}

/// What tells a cause from others of its kind, for people.
pub(crate) fn detail(cause: &Cause, (links, own): (&[Link], &str)) -> Option<String> {
    Some(match cause.detail {
        Detail::None => return None,
        Detail::Errno(errno) => io::Error::from_raw_os_error(errno).to_string(),
        Detail::Interface(ifindex) => {
            let name = interface(ifindex, links);
            if cause.kind == CauseKind::WrongUplink && name == own {
                format!("another VLAN of {name}")
            } else {
                name
            }
        }
        Detail::Icmp(error) => format!("{}: {}", error.from, icmp(&error)),
        Detail::Other => "other".to_owned(),
    })
}

fn interface(ifindex: Ifindex, links: &[Link]) -> String {
    let link = links.iter().find(|link| link.ifindex == ifindex);
    link.map_or_else(|| format!("interface {ifindex}"), |link| link.name.clone())
}

/// What an ICMP error says (RFC 792, RFC 1122, RFC 1812; for IPv6 RFC 4443), with its numbers.
pub(crate) fn icmp(error: &IcmpError) -> String {
    let (kind, code) = (error.kind, error.code);
    let words = if error.from.is_ipv4() {
        v4(kind, code)
    } else {
        v6(kind, code)
    };
    format!("{words} (type {kind}, code {code})")
}

fn v4(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed, but forbidden",
        (3, 5) => "source route failed",
        (3, 6) => "destination network unknown",
        (3, 7) => "destination host unknown",
        (3, 8) => "source host isolated",
        (3, 9) => "communication with the network administratively prohibited",
        (3, 10) => "communication with the host administratively prohibited",
        (3, 11) => "network unreachable for this type of service",
        (3, 12) => "host unreachable for this type of service",
        (3, 13) => "communication administratively prohibited",
        (3, 14) => "host precedence violation",
        (3, 15) => "precedence cutoff in effect",
        (3, _) => "destination unreachable",
        (4, _) => "source quench",
        (5, _) => "redirect",
        (11, 0) => "time to live exceeded in transit",
        (11, 1) => "fragment reassembly time exceeded",
        (11, _) => "time exceeded",
        (12, 1) => "a required option is missing",
        (12, 2) => "bad length",
        (12, _) => "parameter problem",
        _ => "an unknown ICMP error",
    }
}

fn v6(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (1, 0) => "no route to destination",
        (1, 1) => "communication administratively prohibited",
        (1, 2) => "beyond scope of source address",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address failed ingress/egress policy",
        (1, 6) => "reject route to destination",
        (1, _) => "destination unreachable",
        (2, _) => "packet too big",
        (3, 0) => "hop limit exceeded in transit",
        (3, 1) => "fragment reassembly time exceeded",
        (3, _) => "time exceeded",
        (4, 0) => "erroneous header field",
        (4, 1) => "unrecognized next header type",
        (4, 2) => "unrecognized IPv6 option",
        (4, _) => "parameter problem",
        (137, _) => "redirect",
        _ => "an unknown ICMPv6 error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [CauseKind; 12] = [
        CauseKind::NotSent,
        CauseKind::NoNeighbour,
        CauseKind::WrongInterface,
        CauseKind::Vanished,
        CauseKind::DroppedLocally,
        CauseKind::NoReply,
        CauseKind::Late,
        CauseKind::WrongUplink,
        CauseKind::Corrupt,
        CauseKind::IcmpError,
        CauseKind::Duplicate,
        CauseKind::Forged,
    ];

    #[test]
    fn names_are_those_of_json() {
        for kind in KINDS {
            let json = serde_json::to_string(&kind).expect("a word");
            assert_eq!(json, format!("\"{}\"", kind.name()));
        }
    }

    #[test]
    fn meanings_and_remedies_are_one_sentence_each() {
        for kind in KINDS {
            for text in [kind.meaning(), kind.remedy()] {
                assert!(
                    text.ends_with('.') && text.matches(". ").count() == 0,
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn answers_by_the_own_interface_came_by_another_vlan() {
        let ifindex = Ifindex(7);
        let cause = |kind| Cause {
            kind,
            detail: Detail::Interface(ifindex),
            count: 1,
            last: crate::engine::test_clock(),
        };
        let told = |kind, own| detail(&cause(kind), (&[], own)).expect("there is one");
        let wrong = CauseKind::WrongUplink;
        assert_eq!(told(wrong, "wan0"), "interface 7");
        assert_eq!(told(wrong, "interface 7"), "another VLAN of interface 7");
        assert_eq!(told(CauseKind::WrongInterface, "wan0"), "interface 7");
    }

    #[test]
    fn errors_are_named_by_their_family() {
        let of = |from: &str, kind, code| {
            icmp(&IcmpError {
                from: from.parse().expect("an address"),
                kind,
                code,
            })
        };
        assert_eq!(
            of("192.0.2.1", 3, 13),
            "communication administratively prohibited (type 3, code 13)"
        );
        assert_eq!(
            of("2001:db8::1", 3, 0),
            "hop limit exceeded in transit (type 3, code 0)"
        );
        assert_eq!(
            of("192.0.2.1", 11, 0),
            "time to live exceeded in transit (type 11, code 0)"
        );
        assert_eq!(
            of("192.0.2.1", 99, 9),
            "an unknown ICMP error (type 99, code 9)"
        );
    }
}
