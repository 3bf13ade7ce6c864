//! The two-gateway failover's config.sh.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;

use super::{
    draft::{Draft, Section, address, duration, seconds, text, texts},
    findings::{Findings, quote},
    shell::{self, Word},
};

/// The metrics of the two routes.
const START_METRIC: u32 = 100;

/// The numbers that its installer gives the two tables.
const TABLES: [u32; 2] = [1, 2];

/// `ping` waits ten; a line that takes longer than this is of no use.
const TIMEOUT: Duration = Duration::from_secs(1);

const CHECK_DELAY: Duration = Duration::from_secs(5);

/// The keys of one gateway.
struct Gateway {
    name: &'static str,
    interface: &'static str,
    address: &'static str,
    next_hop: &'static str,
    table_name: &'static str,
    table: u32,
}

const GATEWAYS: [Gateway; 2] = [
    Gateway {
        name: "primary",
        interface: "PRIMARY_IF",
        address: "PRIMARY_IF_ADDR",
        next_hop: "PRIMARY_GW",
        table_name: "ISP1_TABLE",
        table: TABLES[0],
    },
    Gateway {
        name: "backup",
        interface: "BACKUP_IF",
        address: "BACKUP_IF_ADDR",
        next_hop: "BACKUP_GW",
        table_name: "ISP2_TABLE",
        table: TABLES[1],
    },
];

/// What the file sets, each key with the word that sets it last.
struct Settings {
    values: BTreeMap<String, Word>,
    /// What stands for the whole file.
    line: usize,
}

impl Settings {
    /// The value of a key, which must be there and known.
    fn needed(&self, key: &str, what: &str, findings: &mut Findings) -> Option<(&str, usize)> {
        if !self.values.contains_key(key) {
            findings.error(self.line, format!("`{key}` is needed: {what}"));
        }
        self.known(key, findings)
    }

    fn known(&self, key: &str, findings: &mut Findings) -> Option<(&str, usize)> {
        let word = self.values.get(key)?;
        if let Some(why) = &word.unknown {
            findings.error(
                word.line,
                format!("`{key}` must be a plain text, not {why}"),
            );
            return None;
        }
        let (_, value) = word.assignment()?;
        Some((value, word.line))
    }
}

/// Reads the file.
pub(super) fn convert(script: &str, findings: &mut Findings) -> Draft {
    let settings = settings(script, findings);
    let mut draft = Draft::default();
    let mut probe = Section::new("[probe]", settings.line, "");
    if let Some((ip, line)) = settings.needed("CHECK_IP", "the address that is pinged", findings) {
        match address(ip) {
            Some(ip) => probe.set("targets", texts([ip]), line, "CHECK_IP"),
            None => {
                let allowed = "the address of a host (names are not resolved)";
                findings.wrong(line, "CHECK_IP", allowed, &quote(ip));
            }
        }
    }
    match settings.known("CHECK_DELAY", findings) {
        Some((delay, line)) => match sleep(delay) {
            Some(delay) => probe.set("period", duration(delay), line, "CHECK_DELAY"),
            None => {
                let allowed = "a number of seconds, or one with a unit as sleep(1) has it";
                findings.wrong(line, "CHECK_DELAY", allowed, &quote(delay));
            }
        },
        None if settings.values.contains_key("CHECK_DELAY") => {}
        None => {
            findings.differs(
                settings.line,
                "`CHECK_DELAY` is not given: taken for 5 seconds",
            );
            probe.own("period", duration(CHECK_DELAY), "");
        }
    }
    probe.own("count", 1, "One ping, as ever.");
    probe.own(
        "timeout",
        duration(TIMEOUT),
        "ping itself waits 10 s for the answer. Raise this for a line that is slower than that.",
    );
    draft.sections.push(probe);
    draft.sections.push(health(settings.line));
    draft.sections.push(group(settings.line));
    let network = network(&settings, findings);
    for gateway in &GATEWAYS {
        let section = uplink(gateway, &settings, network, findings);
        draft.sections.push(section);
    }
    draft
}

/// The assignments that count; everything else is listed.
fn settings(script: &str, findings: &mut Findings) -> Settings {
    let (commands, errors) = shell::commands(script);
    for (line, message) in errors {
        findings.error(line, message);
    }
    let mut settings = Settings {
        values: BTreeMap::new(),
        line: 1,
    };
    for command in commands {
        let Some(words) = command.assignments() else {
            let text = command.words.first().map_or("", |word| &word.text);
            if command.is_block {
                findings.lost(command.line, format!("{text}: nothing is run"));
            } else if !command.is_inside {
                findings.lost(
                    command.line,
                    format!("the command {}: nothing is run", quote(text)),
                );
            }
            continue;
        };
        for word in words {
            let Some((name, _)) = word.assignment() else {
                continue;
            };
            if command.is_inside {
                if is_known(name) {
                    let message =
                        format!("`{name}` is set inside a block of commands, of which none is run");
                    findings.error(word.line, message);
                }
            } else if is_known(name) {
                if settings.values.is_empty() {
                    settings.line = word.line;
                }
                if let Some(before) = settings.values.insert(name.to_owned(), word.clone()) {
                    let message =
                        format!("`{name}` is set again in line {}, which counts", word.line);
                    findings.differs(before.line, message);
                }
            } else {
                findings.lost(word.line, format!("`{name}`: pingu needs nothing like it"));
            }
        }
    }
    settings
}

fn is_known(name: &str) -> bool {
    let of_gateway =
        |g: &Gateway| [g.interface, g.address, g.next_hop, g.table_name].contains(&name);
    matches!(name, "CHECK_DELAY" | "CHECK_IP" | "NETWORK") || GATEWAYS.iter().any(of_gateway)
}

/// What `sleep` takes: a number with a unit or none.
fn sleep(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().last()? {
        (at, 's') => (&text[..at], 1.0),
        (at, 'm') => (&text[..at], 60.0),
        (at, 'h') => (&text[..at], 3600.0),
        (at, 'd') => (&text[..at], 86_400.0),
        _ => (text, 1.0),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    seconds(number.parse::<f64>().ok()? * unit)
}

fn health(line: usize) -> Section {
    let mut section = Section::new("[health]", line, "");
    section.own(
        "fall",
        1,
        "One ping that fails takes a gateway down, one that succeeds brings it back.",
    );
    section.own("rise", 1, "");
    section.own("max_lost", 0, "");
    section.own(
        "max_delay",
        duration(TIMEOUT),
        "Delays are not judged: what is slower is lost.",
    );
    section.own(
        "handshakes",
        text("off"),
        "Pings alone decide. \"report\", pingu's default, spares a gateway whose pings are lost while TCP works.",
    );
    section
}

fn group(line: usize) -> Section {
    let mut section = Section::new(
        "[[group]]",
        line,
        "Both default routes are there all the time, and only their metrics change. Unlike the scripts, pingu pings the backup, too.",
    );
    section.own("name", text("wan"), "");
    section.own("mode", text("ordered"), "");
    section.own(
        "start_metric",
        START_METRIC,
        "The one in use has 100, the other one 101. The scripts leave their own there: once pingu runs, `ip route del default \
         metric 100`, then 101.",
    );
    section.own(
        "when_all_down",
        text("keep"),
        "The scripts leave it on the backup; pingu on the one that worked last.",
    );
    section
}

fn network(settings: &Settings, findings: &mut Findings) -> Option<IpNet> {
    let (network, line) = settings.known("NETWORK", findings)?;
    match network.parse::<IpNet>() {
        Ok(network) => Some(network.trunc()),
        Err(_) => {
            let message = format!(
                "`NETWORK` {} is no network; pingu takes the connected networks of the interfaces anyway",
                quote(network)
            );
            findings.lost(line, message);
            None
        }
    }
}

fn uplink(
    gateway: &Gateway,
    settings: &Settings,
    network: Option<IpNet>,
    findings: &mut Findings,
) -> Section {
    let interface = settings.needed(gateway.interface, "an interface", findings);
    let line = interface.map_or(settings.line, |(_, line)| line);
    let mut section = Section::new("[[uplink]]", line, "");
    section.own("name", text(gateway.name), "");
    if let Some((interface, line)) = interface {
        section.set("interface", text(interface), line, gateway.interface);
    }
    if let Some((next_hop, line)) =
        settings.needed(gateway.next_hop, "the address of the gateway", findings)
    {
        section.set("gateway", text(next_hop), line, gateway.next_hop);
    }
    let own = settings.needed(gateway.address, "the own address there", findings);
    if let Some((source, line)) = own {
        section.set("source", text(source), line, gateway.address);
        if let (Some(network), Some(source)) = (network, address(source))
            && !network.contains(&source)
        {
            let message = format!(
                "`{}` {source} is not in `NETWORK` {network}",
                gateway.address
            );
            findings.differs(line, message);
        }
    }
    section.own(
        "table",
        gateway.table,
        "The number that the installer of the scripts gives it in rt_tables.",
    );
    if let Some((name, line)) = settings.known(gateway.table_name, findings) {
        section.set("table_name", text(name), line, gateway.table_name);
    }
    section
}
