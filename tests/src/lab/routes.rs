//! Routes as iproute2 shows them, sorted into pingu's and everybody else's.

use crate::lab::namespace::Namespace;

/// How iproute2 writes the protocol of pingu's routes, as long as a test does not configure another.
const OWN: &str = "proto 136";

/// Pingu's own routes, of both families, one a line.
#[track_caller]
pub fn own(namespace: &Namespace) -> Vec<String> {
    every_route(namespace)
        .into_iter()
        .filter(|line| is_own(line))
        .collect()
}

/// The own route over an interface, if there is one.
#[track_caller]
pub fn own_over(namespace: &Namespace, interface: &str) -> Option<String> {
    own(namespace)
        .into_iter()
        .find(|line| line.contains(&format!(" dev {interface} ")))
}

/// Everything that pingu must leave alone: routes of others in all tables, rules, addresses, packet filters.
#[track_caller]
pub fn foreign(namespace: &Namespace) -> String {
    let mut lines: Vec<String> = every_route(namespace)
        .into_iter()
        .filter(|line| !is_own(line))
        .collect();
    lines.sort();
    for arguments in ["-4 rule", "-6 rule", "-o address"] {
        lines.extend(namespace.ip(arguments).lines().map(without_lifetimes));
    }
    lines.push(namespace.run(&["nft", "list", "ruleset"]));
    lines.join("\n")
}

/// The IPv4 default routes of the main table, one a line.
#[track_caller]
pub fn defaults(namespace: &Namespace) -> Vec<String> {
    namespace
        .ip("-4 -o route show default")
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

fn every_route(namespace: &Namespace) -> Vec<String> {
    let mut lines = Vec::new();
    for family in ["-4", "-6"] {
        let listing = namespace.ip(&format!("{family} -o route show table all"));
        lines.extend(listing.lines().map(without_lifetimes));
    }
    lines
}

fn is_own(line: &str) -> bool {
    line.contains(OWN)
}

/// Lifetimes count down by themselves.
fn without_lifetimes(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "expires" | "valid_lft" | "preferred_lft" => {
                words.next();
            }
            _ => kept.push(word),
        }
    }
    kept.join(" ")
}
