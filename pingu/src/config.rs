//! The configuration: a file as written becomes a [`Config`] that holds only valid values, or a list of everything that is wrong with it.

mod bytes;
mod check;
mod checks;
mod command;
mod compare;
mod connections;
mod duration;
mod footprint;
mod group;
mod health;
mod hooks;
mod keys;
mod limits;
mod near;
mod pace;
mod passive;
mod policy;
mod problem;
mod reader;
mod routing;
mod script;
mod steering;
pub(crate) mod uplink;
mod write;

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use bytes::{Budget, BudgetTime};
pub(crate) use check::address_fault;
pub use checks::{
    CheckConfig, CheckKind, DnsCheck, ExecCheck, HttpCheck, MtuCheck, RecordKind, StatusRange, Url,
    WhenAllFail,
};
pub use connections::Failback;
pub use footprint::Footprint;
pub use health::{HealthConfig, Quorum, Rule};
pub use hooks::{HookConfig, HookEvent};
pub use limits::{Limits, LossLimit};
pub use pace::{BurstConfig, ProbeMode, RollingConfig};
pub use passive::{Handshakes, PassiveConfig, ProbeWhen};
pub use problem::{LoadError, Problem, Problems, Severity};
pub use routing::{AdvertiseConfig, AdvertiseKind};
pub use script::ScriptConfig;
pub use steering::{DampingConfig, PreferBetter};

use ipnet::IpNet;

use crate::units::{GroupId, Metric, NexthopId, Protocol, TableId, UplinkId};

/// A hundred thousand targets written out in full, IPv6 ones, take a third of this.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A whole, checked configuration. Uplinks stand in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `rtm_protocol` of every route that pingu writes; only routes with it are pingu's own. 1..=255 without the kernel's
    /// reserved 0..=4.
    pub protocol: Protocol,
    /// How probes are stamped and matched.
    pub engine: EngineChoice,
    /// Where replies are matched.
    pub receive_hook: ReceiveHook,
    /// What becomes of default routes that others installed over an uplink.
    pub learned_routes: LearnedRoutes,
    /// What becomes of pingu's own routes at SIGINT and SIGTERM.
    pub on_exit: OnExit,
    /// The control socket.
    pub socket: PathBuf,
    /// Where things are remembered across restarts and crashes.
    pub state_directory: PathBuf,
    /// The file that may hold the name of the uplink to be pinned; none: there is no such file.
    pub sticky_file: Option<PathBuf>,
    /// Whether connections are marked by the uplink that they first left by, in an nftables table of pingu's own.
    pub mark_connections: bool,
    /// Whether the connections of an uplink that dies are deleted.
    pub flush_connections: bool,
    /// First of the numbers of own nexthop objects.
    pub nexthop_base: NexthopId,
    /// How own rules look.
    pub rules: RulesConfig,
    /// Flap damping; none: off.
    pub damping: Option<DampingConfig>,
    /// When a better uplink takes over from one that is healthy but worse; none: never.
    pub prefer_better: Option<PreferBetter>,
    /// The script that ranks uplinks and vetoes switches; none: there is none.
    pub script: Option<ScriptConfig>,
    /// The groups, of which each uplink belongs to one. At least one, at most [`GROUPS_MAX`].
    pub groups: Vec<GroupConfig>,
    /// The uplinks, the most wanted first. At least one, at most [`UPLINKS_MAX`].
    pub uplinks: Vec<UplinkConfig>,
    /// The commands that are run when something happens.
    pub hooks: Vec<HookConfig>,
}

impl Config {
    /// The protocol of a configuration that names none.
    pub const PROTOCOL_DEFAULT: Protocol = Protocol(keys::PROTOCOL_DEFAULT);

    /// Reads a configuration from text. `file` is what messages call it. The second value of success holds the warnings.
    ///
    /// # Errors
    /// Everything that is wrong, and the warnings beside it.
    pub fn parse(text: &str, file: &str) -> Result<(Self, Vec<Problem>), Problems> {
        check::parse(text, file)
    }

    /// Reads a configuration file. The second value of success holds the warnings.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 16 MiB, is not UTF-8, or says something wrong.
    pub fn load(path: &Path) -> Result<(Self, Vec<Problem>), LoadError> {
        let read_error = |source| LoadError::Read {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(read_error)?;
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(read_error)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(LoadError::TooLarge {
                path: path.to_owned(),
                max_bytes: FILE_BYTES_MAX,
            });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
            read_error(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("line {line} is not UTF-8"),
            ))
        })?;
        Ok(Self::parse(&text, &path.display().to_string())?)
    }

    /// The most routes, rules and nexthop objects that there may be at once.
    pub fn objects_max(&self) -> usize {
        let of_uplink = |uplink: &UplinkConfig| {
            let prefixes = self.groups[uplink.group.index()].prefixes.len();
            let advertised = uplink.advertise.iter().map(|a| a.prefixes.len());
            // A table has a default and some networks in each family, and as many rules.
            let policy = if uplink.table.is_some() { 12 } else { 0 };
            let checks = if uplink.checks.is_empty() { 0 } else { 10 };
            prefixes + advertised.sum::<usize>() + policy + checks
        };
        self.uplinks.iter().map(of_uplink).sum()
    }

    /// The table that an uplink's traffic finds its way in: its own one, or if it has none but checks, the one for these.
    pub fn table_of(&self, id: UplinkId) -> Option<TableId> {
        let uplink = &self.uplinks[id.index()];
        let own = uplink.table.as_ref().map(|table| table.id);
        let for_checks = || self.rules.table_for_checks(id);
        own.or_else(|| (!uplink.checks.is_empty()).then(for_checks))
    }

    /// The whole configuration with every default filled in, as TOML that reads back to the same.
    pub fn to_toml(&self) -> String {
        write::to_toml(self)
    }
}

/// More groups than this are refused: one for each uplink.
pub const GROUPS_MAX: usize = UPLINKS_MAX;
/// More uplinks than this are refused: slots, hooks and sockets are sized from the count.
pub const UPLINKS_MAX: usize = 1024;

/// How probes are stamped and matched (`engine`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// By eBPF, and by sockets where that cannot be had or sees nothing.
    Auto,
    /// By eBPF or not at all.
    Ebpf,
    /// By sockets; no program is loaded.
    Socket,
}

/// Which hook matches replies (`receive_hook`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveHook {
    /// TCX, or clsact where the kernel has no TCX.
    Auto,
    /// TCX ingress (Linux 6.6 and newer).
    Tcx,
    /// A clsact ingress filter.
    Clsact,
    /// Native XDP.
    Xdp,
}

/// What becomes of learned defaults (`learned_routes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnedRoutes {
    /// They stay; pingu's own routes lie beside them at their own metrics.
    Overlay,
    /// They are taken out of the main table once pingu's own route stands, and put back on exit.
    Adopt,
}

/// What becomes of own routes at the end (`on_exit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// They are removed, after adopted routes have been put back.
    Withdraw,
    /// They stay.
    Keep,
}

/// How own rules look (`[rules]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RulesConfig {
    /// Priority of the rules `from ADDRESS`.
    pub from_priority: u32,
    /// Priority of the rules `fwmark MARK`; below `from_priority`, so that a mark has the last word.
    pub mark_priority: u32,
    /// Priority of the rules `oif INTERFACE` by which checks leave.
    pub check_priority: u32,
    /// The table of the first uplink, if it has checks and no table of its own; each further one has the next number.
    pub check_table: TableId,
    /// `FRA_PROTOCOL` of all.
    pub protocol: RuleProtocol,
}

impl RulesConfig {
    /// The table of an uplink that has checks and no table of its own.
    pub(crate) fn table_for_checks(&self, id: UplinkId) -> TableId {
        TableId(self.check_table.0 + u32::from(id.0))
    }
}

/// Which protocol own rules carry (`[rules] protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleProtocol {
    /// `RTPROT_KERNEL`: the only foreign rules that systemd-networkd leaves alone.
    Kernel,
    /// pingu's own, as its routes.
    Own,
}

/// Uplinks that stand in for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Unique; what status and logs call it.
    pub name: String,
    /// How its uplinks share the routes.
    pub mode: Mode,
    /// Metric of the first route in modes `ordered` (the next ones count up) and `balance`.
    pub start_metric: Metric,
    /// What becomes of its routes when no uplink of it is up.
    pub when_all_down: WhenAllDown,
    /// Where its routes lead to: one destination or more.
    pub prefixes: Vec<IpNet>,
    /// What becomes of connections over an uplink that traffic leaves although it is up.
    pub failback: Failback,
}

/// How the uplinks of a group share its routes (`mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each uplink that is up has a route with its own metric.
    Metric,
    /// Each uplink that can be left by has a route; the wanted one has `start_metric`, the others follow in their order.
    Ordered,
    /// The uplinks that are up share one route by their weights.
    Balance,
}

/// What becomes of a group's routes when none of its uplinks is up (`when_all_down`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAllDown {
    /// The last one stays.
    Keep,
    /// The first uplink that can be left by gets it.
    First,
    /// Packets are refused.
    Unreachable,
}

/// One way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkConfig {
    /// Unique; what status and logs call it.
    pub name: String,
    /// The kernel's name of its interface or an alternative one (at most 127 bytes); it need not exist yet.
    pub interface: String,
    /// Where its next hop comes from.
    pub gateway: Gateway,
    /// The group that it belongs to.
    pub group: GroupId,
    /// Metric of its own route in mode `metric`, unique among uplinks.
    pub metric: Metric,
    /// Its share in mode `balance`; 1..=255 (what every kernel takes).
    pub weight: u16,
    /// Its own address for each family: source of its probes and preferred source of its routes; none: the kernel's choice.
    pub source: Sources,
    /// The firewall mark that leads into its table.
    pub fwmark: Option<FirewallMark>,
    /// The table of its own, with its connected networks and its default; none: no table and no rules.
    pub table: Option<PolicyTable>,
    /// Routes that exist only while it is up.
    pub advertise: Vec<AdvertiseConfig>,
    /// What it must be able to do beside answering pings.
    pub checks: Vec<Arc<CheckConfig>>,
    /// How it is probed.
    pub probe: ProbeConfig,
    /// When it counts as up or down.
    pub health: HealthConfig,
}

/// A firewall mark (`fwmark`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirewallMark {
    /// The bits that are set; not 0, and within the mask.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// An address of each family, where given (`source`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// IPv4.
    pub v4: Option<std::net::Ipv4Addr>,
    /// IPv6.
    pub v6: Option<std::net::Ipv6Addr>,
}

impl Sources {
    /// The one of a family.
    pub fn of(&self, ipv6: bool) -> Option<IpAddr> {
        if ipv6 {
            self.v6.map(IpAddr::V6)
        } else {
            self.v4.map(IpAddr::V4)
        }
    }
}

/// A policy-routing table (`table`, `table_name`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTable {
    /// Its number, unique among uplinks; none of the built-in ones (253..=255).
    pub id: TableId,
    /// What `ip route show table` may call it once installed.
    pub name: String,
}

/// Where an uplink's next hop comes from (`gateway`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// Learned from default routes of other protocols in the main table.
    Auto,
    /// Given; at most one of each family, at least one in all.
    Static {
        /// The IPv4 next hop.
        v4: Option<std::net::Ipv4Addr>,
        /// The IPv6 next hop.
        v6: Option<std::net::Ipv6Addr>,
    },
    /// None: the device itself is the next hop (PPP, tun, WireGuard).
    Device,
}

/// How an uplink is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Addresses that answer echo requests; at least one, no duplicates.
    pub targets: Vec<IpAddr>,
    /// How probes follow each other.
    pub mode: ProbeMode,
    /// A request unanswered for so long is lost.
    pub timeout: Duration,
    /// ICMP payload in bytes; at least what the matching needs, and what a reflector writes where one is asked.
    pub size_bytes: u16,
    /// Whether the targets are asked for reflections (`pingu reflect`), which tell the losses of the two directions apart.
    pub reflect: bool,
    /// What passing traffic changes about it, and what it may cost.
    pub passive: PassiveConfig,
}
