//! Routing rules: what the kernel's messages say of them, and the requests that add and delete exactly one.

use ipnet::IpNet;

use crate::{
    netlink::codec::{
        INET, INET6, RawMessage, address, attributes, family, number, push_address, push_attribute,
    },
    network::{Rule, Selector, default_of},
    units::{Protocol, TableId},
};

/// Size in bytes of `struct fib_rule_hdr`.
const HEADER_LEN: usize = 12;

// Of linux/fib_rules.h; libc does not have all of them.
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_PROTOCOL: u16 = 21;
/// `FR_ACT_TO_TBL`: look the packet up in a table.
const ACTION_TO_TABLE: u8 = 1;
/// `FIB_RULE_INVERT`.
const INVERT: u32 = 2;
/// What `FRA_SUPPRESS_PREFIXLEN` says in rules that suppress nothing: the kernel always writes it.
const SUPPRESS_NOTHING: u32 = u32::MAX;

/// Asks for every rule of a family.
pub(crate) fn request(ipv6: bool) -> RawMessage {
    let mut body = vec![0; HEADER_LEN];
    body[0] = family(ipv6);
    RawMessage {
        kind: libc::RTM_GETRULE,
        body,
    }
}

/// Reads an `RTM_NEWRULE` body.
pub(crate) fn rule(body: &[u8]) -> Option<Rule> {
    let header: &[u8; HEADER_LEN] = body.first_chunk()?;
    let [
        family,
        destination_len,
        source_len,
        tos,
        table,
        _,
        _,
        action,
        ..,
    ] = *header;
    if !matches!(family, INET | INET6) {
        return None;
    }
    let ipv6 = family == INET6;
    let flags = number(&header[8..12])?;
    let (mut source, mut priority, mut mark, mut mask) = (None, 0, 0, 0);
    let mut bound_to = None;
    let (mut table, mut protocol, mut others) = (u32::from(table), Protocol(0), Vec::new());
    for (kind, value) in attributes(body, HEADER_LEN) {
        match kind {
            FRA_SRC => source = address(value),
            FRA_PRIORITY => priority = number(value)?,
            FRA_FWMARK => mark = number(value)?,
            FRA_FWMASK => mask = number(value)?,
            FRA_OIFNAME => bound_to = Some(name(value)?),
            FRA_TABLE => table = number(value)?,
            FRA_PROTOCOL => protocol = Protocol(*value.first()?),
            FRA_SUPPRESS_PREFIXLEN if number(value) == Some(SUPPRESS_NOTHING) => {}
            other => others.push(format!("attribute {other}")),
        }
    }
    if destination_len != 0 {
        others.push("to certain destinations".to_owned());
    }
    if tos != 0 {
        others.push(format!("tos {tos:#04x}"));
    }
    if action != ACTION_TO_TABLE {
        others.push(format!("action {action}"));
    }
    if flags & INVERT != 0 {
        others.push("not".to_owned());
    }
    let from = match source {
        Some(source) => IpNet::new(source, source_len).ok()?,
        None => default_of(ipv6),
    };
    let has_mark = mark | mask != 0;
    let selector = match bound_to {
        _ if !others.is_empty() => Selector::Other(others.join(", ")),
        Some(interface) if has_mark => {
            Selector::Other(format!("oif {interface} fwmark {mark:#x}/{mask:#x}"))
        }
        Some(interface) => Selector::Bound {
            interface,
            from: source.is_some().then_some(from),
        },
        None if has_mark && source.is_some() => {
            Selector::Other(format!("from {from} fwmark {mark:#x}/{mask:#x}"))
        }
        None if has_mark => Selector::Mark { value: mark, mask },
        None => Selector::From(from),
    };
    Some(Rule {
        ipv6,
        priority,
        selector,
        table: TableId(table),
        protocol,
    })
}

/// An interface's name, which ends with a NUL.
fn name(value: &[u8]) -> Option<String> {
    let bytes = value.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// The body that names exactly this rule, in a request that adds or deletes it; `None` if it is not one that pingu makes.
pub(crate) fn body(rule: &Rule) -> Option<Vec<u8>> {
    let source = match &rule.selector {
        Selector::From(source) => Some(*source),
        Selector::Bound { from, .. } => *from,
        Selector::Mark { .. } => None,
        Selector::Other(_) => return None,
    };
    let source_len = source.map_or(0, |source| source.prefix_len());
    let table = u8::try_from(rule.table.0).unwrap_or(libc::RT_TABLE_UNSPEC);
    let family = family(rule.ipv6);
    let mut body = vec![family, 0, source_len, 0, table, 0, 0, ACTION_TO_TABLE];
    body.extend_from_slice(&0_u32.to_ne_bytes());
    push_attribute(&mut body, FRA_PRIORITY, &rule.priority.to_ne_bytes());
    if let Some(source) = source
        && source_len != 0
    {
        push_address(&mut body, FRA_SRC, source.addr());
    }
    match &rule.selector {
        Selector::Bound { interface, .. } => {
            let mut name = interface.clone().into_bytes();
            name.push(0);
            push_attribute(&mut body, FRA_OIFNAME, &name);
        }
        Selector::Mark { value, mask } => {
            push_attribute(&mut body, FRA_FWMARK, &value.to_ne_bytes());
            push_attribute(&mut body, FRA_FWMASK, &mask.to_ne_bytes());
        }
        Selector::From(_) | Selector::Other(_) => {}
    }
    push_attribute(&mut body, FRA_TABLE, &rule.table.0.to_ne_bytes());
    push_attribute(&mut body, FRA_PROTOCOL, &[rule.protocol.0]);
    Some(body)
}
