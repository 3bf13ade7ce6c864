//! What this machine's own filters drop of the probes: each engine says the same of the same drop, but where one passes by a hook that
//! another does not.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    foreign_program::{ForeignProgram, Hook},
    namespace::Namespace,
    settings::Settings,
    site::{Plan, Site},
    status::{self, counter},
    turn,
};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(20);

/// Which engine serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Hooks,
    PacketSockets,
    EchoSockets,
}

/// All of them.
pub const ENGINES: [Engine; 3] = [Engine::Hooks, Engine::PacketSockets, Engine::EchoSockets];

#[test]
fn what_nftables_drops_at_egress_is_dropped_locally_by_all_engines() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let settings = of(engine);
        let (site, mut daemon) = running(engine, &settings);
        site.router.nft(
            "table netdev own { chain out { type filter hook egress device \"wan1\" priority 0;\n\
             icmp type echo-request drop\n}\n}\n",
        );
        daemon.wait_until_down("fibre");
        let status = told(&mut daemon, engine, "dropped-locally");
        assert_eq!(count(&status, "not-sent"), 0, "{engine:?}: {status:#}");
        assert_eq!(count(&status, "no-reply"), 0, "{engine:?}: {status:#}");
        site.router.nft("delete table netdev own\n");
        daemon.wait_until_up(&["fibre"]);
    }
}

#[test]
fn what_another_program_drops_at_egress_is_dropped_locally_by_all_engines() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let settings = of(engine);
        let (site, mut daemon) = running(engine, &settings);
        let foreign = ForeignProgram::attach_dropping(&site.router, "wan1", Hook::Egress);
        daemon.wait_until_down("fibre");
        let status = told(&mut daemon, engine, "dropped-locally");
        assert_eq!(count(&status, "not-sent"), 0, "{engine:?}: {status:#}");
        assert_eq!(count(&status, "no-reply"), 0, "{engine:?}: {status:#}");
        drop(foreign);
        daemon.wait_until_up(&["fibre"]);
    }
}

#[test]
fn what_the_hooks_of_the_ip_layer_drop_only_echo_sockets_meet_and_they_say_not_sent() {
    let _turn = turn::shared();
    for hook in ["output", "postrouting"] {
        for engine in ENGINES {
            let settings = of(engine);
            let (site, mut daemon) = running(engine, &settings);
            site.router.nft(&format!(
                "table inet own {{ chain out {{ type filter hook {hook} priority 0;\n\
                 icmp type echo-request drop\n}}\n}}\n"
            ));
            if engine == Engine::EchoSockets {
                let status = told(&mut daemon, engine, "not-sent");
                assert_eq!(count(&status, "dropped-locally"), 0, "{hook}: {status:#}");
                continue;
            }
            let before = daemon.status().expect("it answers");
            let answered = |status: &Value| counter(status::target(status, "fibre", 0), "answered");
            let status = daemon.wait_for("probes that pass by the hook", DEADLINE, |status| {
                answered(status) >= answered(&before) + 20
            });
            let lost = counter(status::target(&status, "fibre", 0), "lost");
            assert_eq!(lost, 0, "{engine:?}, {hook}: {status:#}");
        }
    }
}

impl Engine {
    /// Asks for it.
    pub fn settings(self, settings: Settings) -> Settings {
        match self {
            Self::Hooks | Self::EchoSockets => settings,
            Self::PacketSockets => settings.top("engine = \"socket\""),
        }
    }

    /// Starts a daemon that has it.
    #[track_caller]
    pub fn start(self, router: &Namespace, settings: &Settings) -> Daemon {
        router.sysctl("net.ipv4.ping_group_range", "0 0");
        match self {
            Self::Hooks | Self::PacketSockets => Daemon::start(router, settings),
            Self::EchoSockets => {
                let missing = ["bpf", "sys_admin", "perfmon", "net_raw"];
                Daemon::start_without(router, settings, &missing)
            }
        }
    }
}

fn of(engine: Engine) -> Settings {
    engine.settings(Settings::quick().uplink("fibre", "wan1", "auto", 88))
}

fn running(engine: Engine, settings: &Settings) -> (Site, Daemon) {
    let site = Plan::new(&["wan1"]).build();
    let mut daemon = engine.start(&site.router, settings);
    daemon.wait_until_up(&["fibre"]);
    (site, daemon)
}

/// Waits until many probes have this cause.
#[track_caller]
fn told(daemon: &mut Daemon, engine: Engine, cause: &str) -> Value {
    daemon.wait_for(&format!("{cause} by {engine:?}"), DEADLINE, |status| {
        count(status, cause) >= 12
    })
}

fn count(status: &Value, name: &str) -> u64 {
    let causes = status::target(status, "fibre", 0)["causes"].as_array();
    let of_name = causes
        .into_iter()
        .flatten()
        .filter(|cause| cause["cause"] == name);
    of_name.map(|cause| counter(cause, "count")).sum()
}
