//! Without raw sockets: what routers report of probes that left by the kernel's echo sockets is told as it is by the other engines.

use std::{net::IpAddr, time::Duration};

use pingu_tests::lab::{
    daemon::Daemon,
    delay::Delay,
    namespace::Namespace,
    settings::Settings,
    site::{Plan, Site, TARGET, TARGET_V6},
    status::{self, counter},
    turn,
};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(20);

/// Neither eBPF nor packet sockets.
const MISSING: [&str; 4] = ["bpf", "sys_admin", "perfmon", "net_raw"];

/// The provider's table of faults.
const FAULT: &str = "inet fault";

#[test]
fn a_router_that_prohibits_is_quoted_by_echo_sockets() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let fault = "type filter hook forward priority 0;\n\
        icmp type echo-request reject with icmp type admin-prohibited\n\
        icmpv6 type echo-request reject with icmpv6 type admin-prohibited";
    assert_told(
        &site,
        &prohibit(fault),
        gateways(&site),
        ["type 3, code 13", "type 1, code 1"],
    );
}

#[test]
fn a_probe_whose_time_is_exceeded_is_told_by_echo_sockets() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let fault = "type filter hook prerouting priority 0;\n\
        icmp type echo-request ip ttl set 1\nicmpv6 type echo-request ip6 hoplimit set 1";
    assert_told(
        &site,
        &prohibit(fault),
        gateways(&site),
        ["type 11, code 0", "type 3, code 0"],
    );
}

#[test]
fn a_probe_that_is_too_big_on_the_way_is_told_by_echo_sockets() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let narrow = |site: &Site| {
        site.providers[0].namespace.ip("link set dev i0 mtu 1280");
    };
    assert_told(
        &site,
        &narrow,
        gateways(&site),
        ["type 3, code 4", "type 2, code 0"],
    );
}

#[test]
fn errors_that_come_later_than_the_next_probes_are_told_and_fail_none_of_them() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let delay = Delay::start(&site.providers[0]);
    delay.set(Duration::from_millis(7));
    let refuse = |site: &Site| {
        limit_no_errors(&site.internet);
        site.internet.nft(&format!(
            "table {FAULT} {{ chain fault {{ type filter hook input priority 0;\n\
             icmp type echo-request reject with icmp type host-unreachable\n\
             icmpv6 type echo-request reject with icmpv6 type addr-unreachable\n}}\n}}\n"
        ));
    };
    let said = ["type 3, code 1", "type 1, code 3"];
    assert_told(&site, &refuse, [TARGET.into(), TARGET_V6.into()], said);
}

/// The provider, in both families.
fn gateways(site: &Site) -> [IpAddr; 2] {
    let provider = &site.providers[0];
    [provider.gateway().into(), provider.gateway_v6().into()]
}

/// The kernel reports but one error a second to a host, unless told otherwise.
fn limit_no_errors(namespace: &Namespace) {
    namespace.sysctl("net.ipv4.icmp_ratelimit", "0");
    namespace.sysctl("net.ipv4.icmp_ratemask", "0");
    namespace.sysctl("net.ipv6.icmp.ratelimit", "0");
}

fn prohibit(chain: &str) -> impl Fn(&Site) {
    let rules = format!("table {FAULT} {{ chain fault {{ {chain}\n}}\n}}\n");
    move |site| site.providers[0].namespace.nft(&rules)
}

/// Both families are up, then comes the fault: each target's cause has these numbers and this sender, no probe counts as not sent for
/// it, and most of those that are lost have their cause.
fn assert_told(site: &Site, fault: &dyn Fn(&Site), senders: [IpAddr; 2], said: [&str; 2]) {
    site.router.sysctl("net.ipv4.ping_group_range", "0 0");
    limit_no_errors(&site.providers[0].namespace);
    let [gateway, gateway_v6] = gateways(site);
    // Probes follow the routes of their interface, and the site leaves one of IPv4 only.
    site.router.ip(&format!(
        "route add ::/0 via {gateway_v6} dev wan1 metric 1000"
    ));
    let settings = Settings::new()
        .probe(&format!(
            "targets = [\"{TARGET}\", \"{TARGET_V6}\"]\nsize = 1400"
        ))
        .probe("count = 10\nspacing = \"2ms\"\nperiod = \"200ms\"\ntimeout = \"200ms\"")
        .health("max_lost = 1")
        .uplink(
            "fibre",
            "wan1",
            &format!("[\"{gateway}\", \"{gateway_v6}\"]"),
            88,
        );
    let mut daemon = Daemon::start_without(&site.router, &settings, &MISSING);
    let up = daemon.wait_until_up(&["fibre"]);
    let reason = &status::uplink(&up, "fibre")["engine_reason"];
    assert!(reason.to_string().contains("echo sockets"), "{up:#}");
    fault(site);
    daemon.wait_until_down("fibre");
    let before = daemon.status().expect("it answers");
    let told = |status: &Value, index: usize| {
        let sender = senders[index].to_string();
        causes(status, index, "icmp-error", &[&sender, said[index]])
    };
    let after = daemon.wait_for("errors of both families", DEADLINE, |status| {
        (0..2).all(|index| told(status, index) >= told(&before, index) + 60)
    });
    for index in 0..2 {
        let target = status::target(&after, "fibre", index);
        let refused = causes(&after, index, "not-sent", &[]);
        assert_eq!(refused, 0, "{target:#}");
        let unsent = counter(target, "not_sent");
        let unsent_before = counter(status::target(&before, "fibre", index), "not_sent");
        assert_eq!(unsent, unsent_before, "{target:#}");
        let silent = |status| causes(status, index, "no-reply", &[]);
        let new = silent(&after) - silent(&before);
        assert!(new <= 20, "{new} without a word: {target:#}");
    }
}

/// How many of a target's probes have a cause of this name whose detail contains all of this.
fn causes(status: &Value, index: usize, name: &str, parts: &[&str]) -> u64 {
    let list = status::target(status, "fibre", index)["causes"].as_array();
    let of_name = list.into_iter().flatten().filter(|cause| {
        let detail = cause["detail"].as_str().unwrap_or("");
        cause["cause"] == name && parts.iter().all(|part| detail.contains(part))
    });
    of_name.map(|cause| counter(cause, "count")).sum()
}
