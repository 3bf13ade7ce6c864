//! A reflector at the far end of a layer-3 link: packets without any link header, of both families.

use pingu_tests::lab::{
    daemon::{self, Daemon, START_DEADLINE},
    kernel::default_hook,
    namespace::Namespace,
    settings::Settings,
    status,
    tun_pair::TunPair,
    turn,
};

use super::{DEADLINE, LOSSY_PROBES, PACE, Reflector};

const NAME: &str = "tunnel";
const FAR: [&str; 2] = ["10.99.0.1", "2001:db8:99::1"];

struct Link {
    pair: TunPair,
    near: Namespace,
    far: Namespace,
}

impl Link {
    fn new() -> Self {
        let (near, far) = (Namespace::new("near"), Namespace::new("far"));
        let pair = TunPair::start([(&near, "tun0"), (&far, "tun1")]);
        // As PPP leaves them: two hosts, no network between them.
        near.ip("address add 10.99.0.2 peer 10.99.0.1 dev tun0");
        far.ip("address add 10.99.0.1 peer 10.99.0.2 dev tun1");
        near.ip("address add 2001:db8:99::2/64 dev tun0");
        far.ip("address add 2001:db8:99::1/64 dev tun1");
        Self { pair, near, far }
    }
}

fn settings() -> Settings {
    let [v4, v6] = FAR;
    Settings::new()
        .probe(&format!("targets = [\"{v4}\", \"{v6}\"]\n{PACE}"))
        .health("max_lost = 19")
        .uplink(NAME, "tun0", "none", 88)
}

/// Lets so many probes to each target pass from now on.
#[track_caller]
fn pass_probes(daemon: &mut Daemon, probes: u64) -> serde_json::Value {
    let settled =
        |status: &serde_json::Value, index| status::settled(status::target(status, NAME, index));
    let sent = |status: &serde_json::Value, index| {
        status::counter(status::target(status, NAME, index), "sent")
    };
    let before = daemon.status().expect("it runs");
    daemon.wait_for("probes to pass", DEADLINE, |status| {
        (0..FAR.len()).all(|index| settled(status, index) >= sent(&before, index) + probes)
    })
}

#[test]
fn a_layer_3_link_tells_which_direction_loses_in_both_families() {
    let _turn = turn::shared();
    for hook in ["tc", "clsact"] {
        for loses_replies in [false, true] {
            let link = Link::new();
            let reflector = Reflector::start(&link.far, &["--interface", "tun1", "--hook", hook]);
            // Whatever returns is the reflector's.
            link.far.sysctl("net.ipv4.icmp_echo_ignore_all", "1");
            link.far.sysctl("net.ipv6.icmp.echo_ignore_all", "1");
            let settings = settings();
            let mut daemon = Daemon::start(&link.near, &settings);
            daemon.wait_for("reflections of both families", START_DEADLINE, |status| {
                (0..FAR.len()).all(|index| {
                    status::target(status, NAME, index)["directions"]["of"].as_u64() > Some(0)
                })
            });
            link.pair.lose(loses_replies);
            pass_probes(&mut daemon, LOSSY_PROBES);
            link.pair.lose_no_more();
            let status = pass_probes(&mut daemon, 20);
            let (lossy, whole, way) = if loses_replies {
                ("backward_lost", "forward_lost", "on the way back")
            } else {
                ("forward_lost", "backward_lost", "on the way there")
            };
            for (index, target) in FAR.iter().enumerate() {
                let found = &status::target(&status, NAME, index)["directions"];
                let dropped = link.pair.dropped(target.contains(':'));
                assert!(dropped > 10, "{dropped}");
                assert_eq!(found[lossy], dropped, "{target} {found:#}");
                assert_eq!(found[whole], 0, "{target} {found:#}");
                assert!(found["fault"].as_str().unwrap().contains(way), "{found:#}");
            }
            let reason = status::reason(&status, NAME);
            assert!(reason.contains(way), "{reason}");
            let socket = settings.socket().display().to_string();
            let why = daemon::run_to_end(&link.near, &["why", NAME, "--socket", &socket]).stdout;
            assert_eq!(
                why.matches(way).count(),
                why.matches("its reflector's counts").count(),
                "{why}"
            );
            assert!(why.contains(way), "{why}");
            drop(daemon);
            let report = reflector.stop();
            let named = if hook == "tc" { default_hook() } else { hook };
            assert_eq!(report["interfaces"][0]["hook"], named, "{report:#}");
            assert_eq!(report["dropped"], 0, "{report:#}");
        }
    }
}
