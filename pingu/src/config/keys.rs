//! The words and defaults of the configuration, once for reading and for writing it.

use std::time::Duration;

use super::{
    AdvertiseKind, DampingConfig, EngineChoice, Handshakes, LearnedRoutes, Mode, OnExit,
    PreferBetter, ProbeWhen, Quorum, ReceiveHook, RecordKind, RuleProtocol, RulesConfig,
    StatusRange, WhenAllDown, WhenAllFail, pace::ModeWord,
};
use crate::units::{Metric, NexthopId, TableId};

pub(super) const ENGINES: [(&str, EngineChoice); 3] = [
    ("auto", EngineChoice::Auto),
    ("ebpf", EngineChoice::Ebpf),
    ("socket", EngineChoice::Socket),
];

pub(super) const RECEIVE_HOOKS: [(&str, ReceiveHook); 4] = [
    ("auto", ReceiveHook::Auto),
    ("tcx", ReceiveHook::Tcx),
    ("clsact", ReceiveHook::Clsact),
    ("xdp", ReceiveHook::Xdp),
];

pub(super) const LEARNED_ROUTES: [(&str, LearnedRoutes); 2] = [
    ("overlay", LearnedRoutes::Overlay),
    ("adopt", LearnedRoutes::Adopt),
];

pub(super) const ON_EXIT: [(&str, OnExit); 2] =
    [("withdraw", OnExit::Withdraw), ("keep", OnExit::Keep)];

pub(super) const PROBE_MODES: [(&str, ModeWord); 2] =
    [("burst", ModeWord::Burst), ("rolling", ModeWord::Rolling)];

pub(super) const QUORUMS: [(&str, Quorum); 2] = [("any", Quorum::Any), ("all", Quorum::All)];

pub(super) const PROBE_WHENS: [(&str, ProbeWhen); 2] =
    [("always", ProbeWhen::Always), ("idle", ProbeWhen::Idle)];

pub(super) const HANDSHAKES: [(&str, Handshakes); 3] = [
    ("off", Handshakes::Off),
    ("report", Handshakes::Report),
    ("judge", Handshakes::Judge),
];

pub(super) const MODES: [(&str, Mode); 3] = [
    ("metric", Mode::Metric),
    ("ordered", Mode::Ordered),
    ("balance", Mode::Balance),
];

pub(super) const WHEN_ALL_DOWN: [(&str, WhenAllDown); 3] = [
    ("keep", WhenAllDown::Keep),
    ("first", WhenAllDown::First),
    ("unreachable", WhenAllDown::Unreachable),
];

pub(super) const RULE_PROTOCOLS: [(&str, RuleProtocol); 2] =
    [("kernel", RuleProtocol::Kernel), ("own", RuleProtocol::Own)];

pub(super) const ADVERTISE_KINDS: [(&str, AdvertiseKind); 3] = [
    ("unicast", AdvertiseKind::Unicast),
    ("blackhole", AdvertiseKind::Blackhole),
    ("unreachable", AdvertiseKind::Unreachable),
];

/// The words of `kind`: both of HTTP lead to the same kind of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckWord {
    Tcp,
    Http,
    Https,
    Dns,
    Exec,
    Mtu,
}

pub(super) const CHECK_KINDS: [(&str, CheckWord); 6] = [
    ("tcp", CheckWord::Tcp),
    ("http", CheckWord::Http),
    ("https", CheckWord::Https),
    ("dns", CheckWord::Dns),
    ("exec", CheckWord::Exec),
    ("mtu", CheckWord::Mtu),
];

pub(super) const WHEN_ALL_FAIL: [(&str, WhenAllFail); 2] =
    [("ignore", WhenAllFail::Ignore), ("fall", WhenAllFail::Fall)];

pub(super) const RECORD_KINDS: [(&str, RecordKind); 6] = [
    ("A", RecordKind::A),
    ("AAAA", RecordKind::Aaaa),
    ("MX", RecordKind::Mx),
    ("NS", RecordKind::Ns),
    ("SOA", RecordKind::Soa),
    ("TXT", RecordKind::Txt),
];

/// Before the rules of main (32766), behind what people number by hand.
pub(super) const RULES_DEFAULT: RulesConfig = RulesConfig {
    from_priority: 21_000,
    mark_priority: 20_000,
    check_priority: 19_000,
    check_table: TableId(136_000),
    protocol: RuleProtocol::Kernel,
};

/// The multigateway failover's.
pub(super) const START_METRIC_DEFAULT: Metric = Metric(100);

/// Far from what FRR and systemd-networkd count up from 1.
pub(super) const NEXTHOP_BASE_DEFAULT: NexthopId = NexthopId(136_000_000);

pub(super) const WEIGHT_DEFAULT: u16 = 1;
pub(super) const PROTOCOL_DEFAULT: u8 = 136;
pub(super) const SOCKET_DEFAULT: &str = "/run/pingu/pingu.sock";
pub(super) const STATE_DIRECTORY_DEFAULT: &str = "/var/lib/pingu";
pub(super) const MARK_CONNECTIONS_DEFAULT: bool = false;
pub(super) const FLUSH_CONNECTIONS_DEFAULT: bool = true;
pub(super) const PERIOD_DEFAULT: Duration = Duration::from_secs(5);
pub(super) const COUNT_DEFAULT: u16 = 10;
pub(super) const SPACING_DEFAULT: Duration = Duration::from_millis(20);
/// Those of dpinger.
pub(super) const INTERVAL_DEFAULT: Duration = Duration::from_millis(500);
pub(super) const WINDOW_DEFAULT: Duration = Duration::from_secs(60);
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
pub(super) const SIZE_BYTES_DEFAULT: u16 = 56;
pub(super) const REFLECT_DEFAULT: bool = false;
/// Loss figures of an uplink that is hardly probed are at most so old.
pub(super) const PROBE_AT_LEAST_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Twice what TCP waits before it repeats its first segment (RFC 6298).
pub(super) const SILENCE_DEFAULT: Duration = Duration::from_secs(2);
pub(super) const MAX_LOST_DEFAULT: u16 = 5;
pub(super) const MAX_DELAY_DEFAULT: Duration = Duration::from_millis(100);
pub(super) const FALL_DEFAULT: u16 = 1;
pub(super) const RISE_DEFAULT: u16 = 1;
/// What gateway monitors call a gateway down at.
pub(super) const MAX_LOSS_PERCENT_DEFAULT: u8 = 20;
/// One probe says little: as many as BFD asks for (RFC 5880 leaves it open; 3 is what routers have).
pub(super) const ROLLING_FALL_DEFAULT: u16 = 3;
pub(super) const ROLLING_RISE_DEFAULT: u16 = 3;
/// Those that routers have had since RFC 2439.
pub(super) const DAMPING_DEFAULT: DampingConfig = DampingConfig {
    half_life: Duration::from_secs(15 * 60),
    suppress: 2000,
    reuse: 750,
    max_suppress: Duration::from_secs(60 * 60),
};

/// What people notice in a call.
pub(super) const PREFER_BETTER_DEFAULT: PreferBetter = PreferBetter {
    by_delay: Duration::from_millis(50),
    by_loss_percent: 5,
    for_time: Duration::from_secs(60),
};

pub(super) const CHECK_EVERY_DEFAULT: Duration = Duration::from_secs(30);
pub(super) const CHECK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
pub(super) const CHECK_FALL_DEFAULT: u16 = 2;
pub(super) const CHECK_RISE_DEFAULT: u16 = 1;
pub(super) const CHECK_STATUS_DEFAULT: [StatusRange; 1] = [StatusRange {
    first: 200,
    last: 200,
}];

/// What a modem takes to be told something.
pub(super) const HOOK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// As far as the window lets it.
pub(super) const MIN_CONSECUTIVE_DEFAULT: u16 = 1;
pub(super) const HOLD_DOWN_DEFAULT: Duration = Duration::ZERO;

/// Metric of the first uplink, if it names none; each further one has one more than the one before it. Below what DHCP clients and
/// NetworkManager use (100 and more), so that neither outranks pingu nor takes its place.
pub(super) const METRIC_FIRST: u32 = 10;

/// The word of a choice.
pub(super) fn word<T: PartialEq>(choices: &[(&'static str, T)], choice: &T) -> &'static str {
    let found = choices.iter().find(|(_, value)| value == choice);
    found
        .map(|(word, _)| *word)
        .expect("every choice has its word")
}
