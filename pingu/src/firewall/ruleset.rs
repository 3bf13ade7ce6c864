//! The table's text.
//!
//! A connection gets the mark of the uplink that its first packet leaves by (postrouting) or comes in by (prerouting), in the bits
//! of the mask, unless something else has set these. Later packets on their way out get the mark of their connection before they
//! are routed, so that `fwmark` rules lead them to the same uplink.
//!
//! Packets that come in by an uplink never get it: what is left of their way is inside. Neither do packets of this machine that go
//! inside, such as an ICMP error to a LAN host, which belongs to the marked connection that it is about.

use std::{collections::BTreeSet, fmt::Write};

use crate::config::FirewallMark;

/// Just behind the `mangle` priority (-150): after connection tracking (-200) and whoever else sets marks, so that theirs are seen,
/// and before any address translation (-100 and 100).
const PRIORITY: i32 = -149;

/// Within one link nothing is to be chosen, and a table of its own knows no link-local network.
const SKIP_LINK_LOCAL: &str = "ip daddr { 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255 } accept
\t\tip6 daddr { fe80::/10, ff00::/8 } accept
\t\tip6 saddr fe80::/10 accept";

/// Removes the table; that it is declared first makes it right where it is not there.
pub(crate) const REMOVAL: &str = "table inet pingu\ndelete table inet pingu\n";

/// `IFNAMSIZ` is 16 with the terminating NUL; alternative names are longer, and mean nothing here.
const NAME_BYTES_MAX: usize = 15;

/// An uplink's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a str,
    /// The mark of its connections, if it takes part. The masks of all are the same.
    pub mark: Option<FirewallMark>,
}

/// Whether a name means only itself between nft's quotes, which know no escapes but for a wildcard.
pub(crate) fn can_name(interface: &str) -> bool {
    !interface.contains(|c: char| matches!(c, '"' | '*' | '\\') || c.is_control())
}

/// One transaction that puts the table in the place of whatever table of that name is there. Of several uplinks on one interface,
/// which nothing tells apart here, the first counts; an interface that nft cannot name is left out, and with none left the table is.
pub fn ruleset(uplinks: &[Interface<'_>]) -> String {
    let mut seen = BTreeSet::new();
    let named: Vec<(usize, &Interface<'_>)> = uplinks
        .iter()
        .enumerate()
        .filter(|(_, uplink)| can_name(uplink.name) && uplink.name.len() <= NAME_BYTES_MAX)
        .filter(|(_, uplink)| seen.insert(uplink.name))
        .collect();
    let marked = || {
        let marked = named.iter();
        marked.filter_map(|(index, uplink)| Some((*index, uplink.mark?)))
    };
    let Some((_, FirewallMark { mask, .. })) = marked().next() else {
        return REMOVAL.to_owned();
    };
    let all = join(
        named
            .iter()
            .map(|(_, uplink)| format!("\"{}\"", uplink.name)),
    );
    let by_name = join(named.iter().map(|(index, uplink)| {
        let verdict = match uplink.mark {
            Some(_) => format!("goto mark_{index}"),
            None => "accept".to_owned(),
        };
        format!("\"{}\" : {verdict}", uplink.name)
    }));
    let by_mark = join(marked().map(|(index, FirewallMark { value, .. })| {
        format!("{value:#010x} : goto restore_{index}")
    }));
    let restore = format!(
        "meta mark & {mask:#010x} != 0 accept
\t\tct mark & {mask:#010x} vmap {{ {by_mark} }}"
    );
    let mut text = format!(
        "{REMOVAL}table inet pingu {{
\tchain arrive {{
\t\ttype filter hook prerouting priority {PRIORITY}; policy accept;
\t\t{SKIP_LINK_LOCAL}
\t\tiifname vmap {{ {by_name} }}
\t\t{restore}
\t}}
\tchain send {{
\t\ttype route hook output priority {PRIORITY}; policy accept;
\t\toifname != {{ {all} }} accept
\t\t{restore}
\t}}
\tchain leave {{
\t\ttype filter hook postrouting priority {PRIORITY}; policy accept;
\t\t{SKIP_LINK_LOCAL}
\t\toifname vmap {{ {by_name} }}
\t}}
"
    );
    let others = !mask;
    for (index, FirewallMark { value, .. }) in marked() {
        write!(
            text,
            "\tchain mark_{index} {{
\t\tct state new ct mark & {mask:#010x} == 0 ct mark set ct mark & {others:#010x} | {value:#010x}
\t}}
\tchain restore_{index} {{
\t\tmeta mark set meta mark & {others:#010x} | {value:#010x}
\t}}
"
        )
        .expect("a string takes all text");
    }
    text.push_str("}\n");
    text
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"table inet pingu
delete table inet pingu
table inet pingu {
	chain arrive {
		type filter hook prerouting priority -149; policy accept;
		ip daddr { 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255 } accept
		ip6 daddr { fe80::/10, ff00::/8 } accept
		ip6 saddr fe80::/10 accept
		iifname vmap { "wan 0" : goto mark_0, "wan1" : accept, "wan2" : goto mark_2 }
		meta mark & 0x0000ff00 != 0 accept
		ct mark & 0x0000ff00 vmap { 0x00000100 : goto restore_0, 0x00000200 : goto restore_2 }
	}
	chain send {
		type route hook output priority -149; policy accept;
		oifname != { "wan 0", "wan1", "wan2" } accept
		meta mark & 0x0000ff00 != 0 accept
		ct mark & 0x0000ff00 vmap { 0x00000100 : goto restore_0, 0x00000200 : goto restore_2 }
	}
	chain leave {
		type filter hook postrouting priority -149; policy accept;
		ip daddr { 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255 } accept
		ip6 daddr { fe80::/10, ff00::/8 } accept
		ip6 saddr fe80::/10 accept
		oifname vmap { "wan 0" : goto mark_0, "wan1" : accept, "wan2" : goto mark_2 }
	}
	chain mark_0 {
		ct state new ct mark & 0x0000ff00 == 0 ct mark set ct mark & 0xffff00ff | 0x00000100
	}
	chain restore_0 {
		meta mark set meta mark & 0xffff00ff | 0x00000100
	}
	chain mark_2 {
		ct state new ct mark & 0x0000ff00 == 0 ct mark set ct mark & 0xffff00ff | 0x00000200
	}
	chain restore_2 {
		meta mark set meta mark & 0xffff00ff | 0x00000200
	}
}
"#;

    #[test]
    fn only_uplinks_with_a_mark_take_part() {
        let mark = |value| {
            let mask = 0xff00;
            Some(FirewallMark { value, mask })
        };
        let interface = |name, mark| Interface { name, mark };
        let uplinks = [
            interface("wan 0", mark(0x100)),
            interface("wan1", None),
            interface("wan2", mark(0x200)),
            // A second uplink of an interface is not told apart, and some names cannot be written.
            interface("wan1", None),
            interface("wan\"*", mark(0x300)),
            interface("an-alternative-name", mark(0x400)),
        ];
        assert_eq!(ruleset(&uplinks), TWO);
        assert_eq!(ruleset(&uplinks[4..]), REMOVAL);
    }
}
