//! The kernel's side: `ip` fed line by line, what it then shows, and the adapter.

use std::{
    io::{BufRead, BufReader, Write},
    net::IpAddr,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use ipnet::IpNet;
use pingu::{
    netlink::{
        KernelRoutes, RouteTable,
        model::{FakeKernel, Listed},
    },
    network::{Change, Link, NextHop, Nexthop, NexthopKind, Route, Rule, Selector, default_of},
    units::{Ifindex, Metric, NexthopId, Protocol, TableId},
};
use serde_json::Value;

use super::operation::{Family, Operation, add_pair, name, pair};
use super::random::ADDRESSES;
use crate::harness::{DEADLINE, OWN};

pub const UPLINKS: [Ifindex; 2] = [Ifindex(11), Ifindex(21)];
pub const PEERS: [Ifindex; 2] = [Ifindex(12), Ifindex(22)];

/// `RT_TABLE_LOCAL`: addresses of the host itself, which the model keeps as such.
const TABLE_LOCAL: u32 = 255;

/// A namespace's kernel.
pub struct Kernel {
    pub routes: KernelRoutes,
    speakers: [Speaker; 3],
    /// Foreign routes that were taken over, as the model and as the kernel wrote them.
    taken_over: Vec<(Route, Route)>,
}

impl Kernel {
    /// That of the calling thread's namespace.
    pub fn new() -> Self {
        Self {
            routes: KernelRoutes::new(OWN).unwrap(),
            speakers: [&[][..], &["-4"], &["-6"]].map(Speaker::start),
            taken_over: Vec::new(),
        }
    }

    /// Two uplinks with their addresses, in both.
    pub async fn begin(&mut self) -> FakeKernel {
        let mut model = FakeKernel::new(OWN);
        let there = self.routes.snapshot().await.unwrap().links;
        for uplink in [0, 1] {
            add_pair(&mut model, uplink);
            if !there.iter().any(|link| link.ifindex == UPLINKS[uplink]) {
                self.must(Family::Any, &pair(uplink));
            }
            for ifindex in [UPLINKS[uplink], PEERS[uplink]] {
                self.must(Family::Any, &format!("link set {} up", name(ifindex)));
                model.set_link(ifindex, true).unwrap();
            }
            for text in &ADDRESSES[uplink][..2] {
                let own: IpNet = text.parse().unwrap();
                let add = Operation::AddAddress(UPLINKS[uplink], own);
                add.apply(&mut model).unwrap();
                self.say(&add).unwrap();
            }
        }
        self.settle(&model);
        model
    }

    /// Takes everything away.
    pub fn end(&mut self, model: &FakeKernel) {
        self.taken_over.clear();
        for rule in model.rules() {
            if rule.table.0 < 250 {
                self.say(&Operation::DeleteRule(rule.into())).unwrap();
            }
        }
        for device in model.devices() {
            let name = name(device.link.ifindex);
            self.must(Family::Any, &format!("addr flush dev {name}"));
            self.must(Family::Any, &format!("link set {name} down"));
        }
        for table in [100, 200, 254] {
            for family in [Family::Inet, Family::Inet6] {
                // It complains of a table that there is not.
                let _ = self.ask(family, &format!("route flush table {table}"));
            }
        }
        assert_eq!((self.list(false), self.list(true)), (vec![], vec![]));
        assert_eq!(self.nexthops(), []);
    }

    /// Waits until every link's state has followed: what a carrier's loss takes with it goes when the kernel works that out.
    pub fn settle(&mut self, model: &FakeKernel) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let shown = self.show(Family::Any, "link show type veth");
            let is_settled = |link: &Link| {
                let state = match (link.admin_up, link.carrier) {
                    (false, _) => "DOWN",
                    (true, false) => "LOWERLAYERDOWN",
                    (true, true) => "UP",
                };
                let found = shown.iter().find(|shown| shown["ifname"] == link.name);
                found.is_some_and(|found| found["operstate"] == state)
            };
            if model.devices().all(|device| is_settled(&device.link)) {
                // A state is seen before its followers are done with it, but under the lock that this waits for.
                self.must(Family::Any, "link set lo up");
                return;
            }
            assert!(Instant::now() < deadline, "{shown:?} {model:?}");
        }
    }

    /// Does an operation with `ip`; its complaint where it fails.
    pub fn say(&mut self, operation: &Operation) -> Result<(), String> {
        let (family, line) = operation.line();
        let said = self.ask(family, &line);
        // What it flushes it does not say.
        if matches!(operation, Operation::Flush(_)) {
            return Ok(());
        }
        said
    }

    fn must(&mut self, family: Family, line: &str) {
        self.ask(family, line).unwrap();
    }

    fn ask(&mut self, family: Family, line: &str) -> Result<(), String> {
        self.speakers[family as usize].say(line)
    }

    /// The same change, with the kernel's bytes where the model made them up.
    pub async fn real(&mut self, change: &Change) -> Change {
        let route = match change {
            Change::Restore(route) => {
                let same = |(model, _): &&(Route, Route)| model == route;
                let (_, real) = self.taken_over.iter().find(same).unwrap();
                return Change::Restore(real.clone());
            }
            Change::TakeOver(route) | Change::Delete(route) if !route.wire.is_empty() => route,
            _ => return change.clone(),
        };
        let routes = self.routes.snapshot().await.unwrap().routes;
        let same = |other: &&Route| {
            Route {
                wire: route.wire.clone(),
                ..(*other).clone()
            } == *route
        };
        let found = routes.iter().find(same).cloned();
        let found = found.unwrap_or_else(|| panic!("{route:?} in {routes:#?}"));
        match change {
            Change::TakeOver(route) => {
                self.taken_over.push((route.clone(), found.clone()));
                Change::TakeOver(found)
            }
            _ => Change::Delete(found),
        }
    }

    /// Every route of a family, as `ip` shows it.
    pub fn list(&mut self, ipv6: bool) -> Vec<Listed> {
        let shown = self.show(Family::of(ipv6), "route show table all");
        let mut all: Vec<Listed> = shown
            .iter()
            .filter(|route| number(&route["table"]) != TABLE_LOCAL)
            .map(|route| listed(route, ipv6))
            .collect();
        all.sort_by_key(|listed| (listed.table, listed.destination));
        all
    }

    pub fn nexthops(&mut self) -> Vec<Nexthop> {
        let shown = self.show(Family::Any, "nexthop show");
        shown.iter().map(nexthop).collect()
    }

    pub fn rules(&mut self) -> Vec<Rule> {
        let mut all = Vec::new();
        for ipv6 in [false, true] {
            let shown = self.show(Family::of(ipv6), "rule show");
            all.extend(shown.iter().map(|shown| rule(shown, ipv6)));
        }
        all
    }

    fn show(&mut self, family: Family, line: &str) -> Vec<Value> {
        self.must(family, line);
        let text = self.speakers[family as usize].listen();
        match serde_json::from_str(&text) {
            Ok(Value::Array(all)) => all,
            other => panic!("{line}: {other:?} of {text}"),
        }
    }
}

/// `ip` that reads lines from a pipe.
struct Speaker {
    child: Child,
    lines: ChildStdin,
    shown: BufReader<ChildStdout>,
    complaints: BufReader<ChildStderr>,
    /// Lines said so far.
    count: usize,
}

impl Speaker {
    fn start(family: &[&str]) -> Self {
        let mut child = Command::new("ip")
            .args(family)
            .args(["-json", "-N", "-details", "-force", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            lines: child.stdin.take().unwrap(),
            shown: BufReader::new(child.stdout.take().unwrap()),
            complaints: BufReader::new(child.stderr.take().unwrap()),
            child,
            count: 0,
        }
    }

    /// Says a line, and behind it one that is refused for certain: its complaint tells that the first one is done.
    fn say(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.lines, "{line}\nend").unwrap();
        self.count += 2;
        let failed = format!("Command failed -:{}", self.count - 1);
        let end = format!("Command failed -:{}", self.count);
        let mut complaint = String::new();
        let mut refused = false;
        loop {
            let mut text = String::new();
            assert_ne!(self.complaints.read_line(&mut text).unwrap(), 0, "{line}");
            match text.trim_end() {
                text if text == end => break,
                text if text == failed => refused = true,
                _ => complaint += &text,
            }
        }
        if refused { Err(complaint) } else { Ok(()) }
    }

    fn listen(&mut self) -> String {
        let mut text = String::new();
        self.shown.read_line(&mut text).unwrap();
        text
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        // It ends with its input; that it is gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listed(shown: &Value, ipv6: bool) -> Listed {
    let kind = number(&shown["type"]);
    let hops = match (kind as u8, shown["nexthops"].as_array()) {
        (libc::RTN_UNREACHABLE, _) => vec![NextHop::Unreachable],
        (libc::RTN_BLACKHOLE, _) => vec![NextHop::Blackhole],
        _ if shown["nhid"].is_u64() => vec![NextHop::Object(NexthopId(number(&shown["nhid"])))],
        (_, Some(several)) => several.iter().map(hop).collect(),
        (_, None) => vec![hop(shown)],
    };
    Listed {
        destination: destination(&shown["dst"], ipv6),
        table: TableId(number(&shown["table"])),
        tos: number(&shown["tos"]) as u8,
        metric: Metric(number(&shown["metric"])),
        protocol: Protocol(number(&shown["protocol"]) as u8),
        hops,
        preferred_source: address(&shown["prefsrc"]),
        scope: number(&shown["scope"]) as u8,
    }
}

fn hop(shown: &Value) -> NextHop {
    let ifindex = index(&shown["dev"]);
    let flags = shown["flags"].as_array();
    let onlink = flags.is_some_and(|flags| flags.iter().any(|flag| flag == "onlink"));
    let gateway = address(&shown["gateway"]).or_else(|| address(&shown["via"]["host"]));
    match gateway {
        Some(gateway) => NextHop::Gateway {
            ifindex,
            gateway,
            onlink,
        },
        None => NextHop::Device { ifindex },
    }
}

fn nexthop(shown: &Value) -> Nexthop {
    let group = shown["group"].as_array();
    let kind = match group {
        Some(members) => NexthopKind::Group(members.iter().map(member).collect()),
        None => NexthopKind::Single(hop(shown)),
    };
    let id = NexthopId(number(&shown["id"]));
    Nexthop {
        id,
        protocol: Protocol(number(&shown["protocol"]) as u8),
        // `ip` does not show it; the numbers of single ones from 4 on are IPv6's.
        ipv6: group.is_none() && id.0 > 3,
        kind,
    }
}

fn member(shown: &Value) -> (NexthopId, u16) {
    let weight = match &shown["weight"] {
        Value::Null => 1,
        weight => number(weight) as u16,
    };
    (NexthopId(number(&shown["id"])), weight)
}

fn rule(shown: &Value, ipv6: bool) -> Rule {
    let selector = match (&shown["src"], &shown["fwmark"]) {
        (Value::String(all), Value::Null) if all == "all" => Selector::From(default_of(ipv6)),
        (_, Value::Null) => {
            let length = match &shown["srclen"] {
                Value::Null => String::new(),
                length => format!("/{length}"),
            };
            let text = format!("{}{length}", shown["src"].as_str().unwrap());
            Selector::From(destination(&Value::String(text), ipv6))
        }
        (_, mark) => Selector::Mark {
            value: number(mark),
            mask: match &shown["fwmask"] {
                Value::Null => u32::MAX,
                mask => number(mask),
            },
        },
    };
    Rule {
        ipv6,
        priority: number(&shown["priority"]),
        selector,
        table: TableId(number(&shown["table"])),
        protocol: Protocol(number(&shown["protocol"]) as u8),
    }
}

fn destination(shown: &Value, ipv6: bool) -> IpNet {
    match shown.as_str().unwrap() {
        "default" => default_of(ipv6),
        text if text.contains('/') => text.parse().unwrap(),
        text => IpNet::from(text.parse::<IpAddr>().unwrap()),
    }
}

fn address(shown: &Value) -> Option<IpAddr> {
    Some(shown.as_str()?.parse().unwrap())
}

fn index(name: &Value) -> Ifindex {
    let of_uplinks = UPLINKS.into_iter().chain(PEERS);
    let mut found = of_uplinks.filter(|ifindex| super::operation::name(*ifindex) == name);
    found.next().unwrap_or_else(|| panic!("no index of {name}"))
}

/// Of a number, its text or nothing.
fn number(shown: &Value) -> u32 {
    match shown {
        Value::Null => 0,
        Value::Number(number) => number.as_u64().unwrap() as u32,
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).unwrap(),
            None => text.parse().unwrap(),
        },
        other => panic!("{other} is no number"),
    }
}
