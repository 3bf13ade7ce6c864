//! `[[uplink.check]]`: what an uplink must be able to do beside answering pings.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::PathBuf,
    time::Duration,
};

use super::{
    RulesConfig,
    check::between,
    duration, keys,
    policy::small,
    problem::Findings,
    reader::{At, Reader},
    uplink::{Draft, NAME_ALLOWED, name_is_good},
};
use crate::units::{TableId, UplinkId};

mod kinds;
mod url;
pub(super) mod write;

pub use url::Url;

/// An uplink's `[[uplink.check]]`s.
const CHECKS_MAX: usize = 16;

/// Results in a row; more than this is a typing error.
const ROW_MAX: u32 = 1000;

/// More often than this a check is a load, not a check.
const EVERY_MS: [u64; 2] = [100, 24 * 3_600_000];

/// A run that takes longer than a minute tells nothing that helps.
const TIMEOUT_MS: [u64; 2] = [10, 60_000];

/// One check of an uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// What status and logs call it; unique in its uplink.
    pub name: String,
    /// From the start of one run to the start of the next.
    pub every: Duration,
    /// A run that takes so long has failed; at most `every`.
    pub timeout: Duration,
    /// Failures in a row until it is down; at least 1.
    pub fall: u16,
    /// Successes in a row until it is up again; at least 1.
    pub rise: u16,
    /// Whether the uplink is down while the check is.
    pub required: bool,
    /// What is done when it fails over every uplink that has it.
    pub when_all_fail: WhenAllFail,
    /// What is tried.
    pub kind: CheckKind,
}

/// What is done when a check fails over every uplink that has it, two at least (`when_all_fail`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAllFail {
    /// Its far end is taken to be dead: no uplink falls by it.
    Ignore,
    /// Every uplink falls by it.
    Fall,
}

/// What a check tries (`kind`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A TCP connection to this address.
    Tcp(SocketAddr),
    /// A request by HTTP or HTTPS.
    Http(HttpCheck),
    /// A question to a resolver.
    Dns(DnsCheck),
    /// A program.
    Exec(ExecCheck),
    /// Whether large packets pass.
    Mtu(MtuCheck),
}

/// A request by HTTP or HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// What is asked for.
    pub url: Url,
    /// The statuses that are right; at least one.
    pub status: Vec<StatusRange>,
    /// A text that must be in the body.
    pub body: Option<String>,
    /// The server, whatever the URL's name resolves to.
    pub address: Option<IpAddr>,
    /// Who is asked for the address of the URL's host, in this order; not empty where that is needed.
    pub resolvers: Vec<IpAddr>,
    /// Certificates (PEM) of the authorities that are trusted instead of the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Whether the server's certificate must be right.
    pub verify: bool,
}

/// Statuses of HTTP, from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The first.
    pub first: u16,
    /// The last; the same for a single one.
    pub last: u16,
}

impl StatusRange {
    /// Whether a status is among them.
    pub fn has(&self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

/// A question to a resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCheck {
    /// Who is asked, on port 53.
    pub resolver: IpAddr,
    /// The name that is asked for.
    pub name: String,
    /// Which of its records.
    pub record: RecordKind,
    /// One of these must be answered; empty: any answer is right.
    pub expect: Vec<IpAddr>,
}

/// A kind of DNS record (`type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
    /// The zone's head.
    Soa,
    /// Texts.
    Txt,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCheck {
    /// The program, by its absolute path, and its arguments.
    pub command: Vec<String>,
}

/// Whether large packets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MtuCheck {
    /// Who answers.
    pub target: IpAddr,
    /// Bytes of the large packet with its IP header; none: the interface's MTU, or what a router on the way says is its own.
    pub size_bytes: Option<u16>,
}

impl WhenAllFail {
    /// What is done unless it is said: nobody but its author knows what a program's failure means.
    fn of(kind: &CheckKind) -> Self {
        match kind {
            CheckKind::Exec(_) => Self::Fall,
            CheckKind::Tcp(_) | CheckKind::Http(_) | CheckKind::Dns(_) | CheckKind::Mtu(_) => {
                Self::Ignore
            }
        }
    }
}

impl CheckKind {
    /// Its word in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Http(http) if http.url.tls => "https",
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Exec(_) => "exec",
            Self::Mtu(_) => "mtu",
        }
    }

    /// What it must be able to reach: any of these addresses; empty where any family will do.
    pub fn peers(&self) -> Vec<IpAddr> {
        match self {
            Self::Tcp(address) => vec![address.ip()],
            Self::Http(http) => match http.address.or(http.url.address()) {
                Some(address) => vec![address],
                None => http.resolvers.clone(),
            },
            Self::Dns(dns) => vec![dns.resolver],
            Self::Exec(_) => Vec::new(),
            Self::Mtu(mtu) => vec![mtu.target],
        }
    }
}

/// An uplink's checks; none with an error said.
pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Option<Vec<At<CheckConfig>>> {
    let tables = reader.tables("check", CHECKS_MAX)?;
    let mut all: Vec<At<CheckConfig>> = Vec::with_capacity(tables.len());
    let mut good = true;
    for (index, (span, table)) in tables.into_iter().enumerate() {
        let path = format!("{}[{}].", reader.key("check"), index + 1);
        let inner = Reader::new(table, span.clone(), path, reader.findings());
        let Some(check) = one(inner) else {
            good = false;
            continue;
        };
        if all.iter().any(|other| other.value.name == check.value.name) {
            let message = format!(
                "`{}[{}].name` {:?} is taken by another check of this uplink",
                reader.key("check"),
                index + 1,
                check.value.name
            );
            reader.error(check.span, message);
            good = false;
            continue;
        }
        all.push(At {
            value: check.value,
            span,
        });
    }
    good.then_some(all)
}

/// One check, with the place of its name.
fn one(mut reader: Reader<'_, '_, '_>) -> Option<At<CheckConfig>> {
    let header = reader.span.clone();
    let name = name(&mut reader);
    let every = reader.duration("every", between(EVERY_MS[0], EVERY_MS[1]));
    let timeout = reader.duration("timeout", between(TIMEOUT_MS[0], TIMEOUT_MS[1]));
    let fall = small(&mut reader, "fall", 1, ROW_MAX);
    let rise = small(&mut reader, "rise", 1, ROW_MAX);
    let required = reader.boolean("required");
    let when_all_fail = reader.choice("when_all_fail", &keys::WHEN_ALL_FAIL);
    let wrong = reader.has("every") && every.is_none();
    let in_time = wrong || timeout_fits(&mut reader, every.as_ref(), timeout.as_ref());
    let kind = kinds::read(&mut reader);
    reader.finish();
    let kind = kind?;
    let (name, span) = match name? {
        Some(At { value, span }) => (value, span),
        None => (kind.word().to_owned(), header),
    };
    let every = every.map_or(keys::CHECK_EVERY_DEFAULT, |at| at.value);
    let config = CheckConfig {
        name,
        every,
        timeout: timeout.map_or(keys::CHECK_TIMEOUT_DEFAULT.min(every), |at| at.value),
        fall: fall.map_or(keys::CHECK_FALL_DEFAULT, |at| at.value),
        rise: rise.map_or(keys::CHECK_RISE_DEFAULT, |at| at.value),
        required: required.is_none_or(|at| at.value),
        when_all_fail: when_all_fail.map_or_else(|| WhenAllFail::of(&kind), |at| at.value),
        kind,
    };
    in_time.then_some(At {
        value: config,
        span,
    })
}

fn timeout_fits(
    reader: &mut Reader<'_, '_, '_>,
    every: Option<&At<Duration>>,
    timeout: Option<&At<Duration>>,
) -> bool {
    let every = every.map_or(keys::CHECK_EVERY_DEFAULT, |at| at.value);
    let Some(timeout) = timeout.filter(|at| at.value > every) else {
        return true;
    };
    let message = format!(
        "`{}` {} is longer than `every` {}",
        reader.key("timeout"),
        duration::write(timeout.value),
        duration::write(every)
    );
    reader.error(timeout.span.clone(), message);
    false
}

#[expect(
    clippy::option_option,
    reason = "absent is good and wrong is not; only one of them has been said"
)]
fn name(reader: &mut Reader<'_, '_, '_>) -> Option<Option<At<String>>> {
    if !reader.has("name") {
        reader.value("name");
        return Some(None);
    }
    let name = reader.string("name")?;
    if name_is_good(&name.value) {
        Some(Some(name))
    } else {
        reader.wrong("name", name.span, NAME_ALLOWED)
    }
}

/// Says which checks can never run over a static gateway, having no address of its family to talk to.
pub(super) fn reachable(
    reader: &mut Reader<'_, '_, '_>,
    checks: &[At<CheckConfig>],
    [v4, v6]: [bool; 2],
) {
    for At { value, span } in checks {
        let peers = value.kind.peers();
        let can_reach = |peer: &IpAddr| if peer.is_ipv4() { v4 } else { v6 };
        if !peers.is_empty() && !peers.iter().any(can_reach) {
            let family = if v4 { "IPv6" } else { "IPv4" };
            let span: Range<usize> = span.clone();
            let message = format!(
                "`{}` has no {family} address: check {:?} cannot be run over it",
                reader.key("gateway"),
                value.name
            );
            reader.error(span, message);
        }
    }
}

/// Reports tables that uplinks with checks would be given although somebody else has them.
pub(super) fn compare(drafts: &[Draft], rules: &RulesConfig, findings: &mut Findings<'_>) {
    let given: BTreeMap<TableId, usize> = drafts
        .iter()
        .enumerate()
        .filter(|(_, draft)| draft.table.is_none())
        .filter(|(_, draft)| {
            let config = draft.config.as_ref();
            config.is_some_and(|config| !config.checks.is_empty())
        })
        .map(|(index, _)| (rules.table_for_checks(UplinkId(index as u16)), index + 1))
        .collect();
    for draft in drafts {
        let own = draft.table.iter().map(|at| (at.value.id, &at.span));
        let config = draft.config.iter();
        let advertised = config
            .flat_map(|config| &config.advertise)
            .map(|advertise| (advertise.table, &draft.header));
        for (table, span) in own.chain(advertised) {
            if let Some(place) = given.get(&table) {
                let message = format!(
                    "table {table} is that of the checks of uplink[{place}], counted from `rules.check_table` {}",
                    rules.check_table
                );
                findings.error(span.clone(), message);
            }
        }
    }
}
