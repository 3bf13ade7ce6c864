//! Every line of failoverd's documentation: a script that uses what the line promises, the real binary, and what came out.

use std::time::Duration;

use pingu_tests::lab::{
    namespace::Namespace,
    script::{Script, Setting},
    turn,
};

mod errors;
mod functions;
mod more;
mod names;
mod probes;
mod sockets;
mod statistics;
mod variables;

/// Two hosts and a wire between their `eth0`s.
struct Wire {
    /// Where the script runs: 192.168.0.10, 192.168.0.11 and 2001:db8::10.
    here: Namespace,
    /// Whom it asks: 192.168.0.1, 192.168.0.2 and 2001:db8::1.
    there: Namespace,
}

impl Wire {
    #[track_caller]
    fn new() -> Self {
        let (here, there) = (Namespace::new("here"), Namespace::new("there"));
        here.veth("eth0", &there, "eth0");
        for (host, addresses) in [
            (
                &here,
                ["192.168.0.10/24", "192.168.0.11/24", "2001:db8::10/64"],
            ),
            (
                &there,
                ["192.168.0.1/24", "192.168.0.2/24", "2001:db8::1/64"],
            ),
        ] {
            for address in addresses {
                host.ip(&format!("address add {address} dev eth0"));
            }
        }
        there.nft(
            "table ip seen { chain input { type filter hook input priority -10; icmp type != echo-request accept\n\
             ip daddr 192.168.0.1 counter\nip daddr 192.168.0.2 counter\n}\n}\n",
        );
        // As systemd sets it.
        here.sysctl("net.ipv4.ping_group_range", "0 2147483647");
        Self { here, there }
    }

    #[track_caller]
    fn start(&self, script: &str) -> Script {
        Setting::new(script).start(&self.here)
    }

    /// How many requests this address has had.
    #[track_caller]
    fn requests(&self, address: &str) -> usize {
        let listing = self.there.run(&["nft", "list", "table", "ip", "seen"]);
        let rule = listing
            .lines()
            .find(|line| line.contains(&format!("{address} ")));
        let packets = rule.and_then(|rule| rule.split_once("packets "));
        let number = packets.and_then(|(_, rest)| rest.split(' ').next());
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no count for {address}: {listing}"))
    }

    /// No request to these addresses, separated by commas, is answered.
    #[track_caller]
    fn silence(&self, addresses: &str) {
        self.there.nft(&format!(
            "table ip fault {{ chain input {{ type filter hook input priority 0; ip daddr {{ {addresses} }} drop; }}\n}}\n"
        ));
    }

    /// All are answered again.
    #[track_caller]
    fn answer(&self) {
        self.there.nft("table ip fault\ndelete table ip fault\n");
    }
}

/// A time in the neighbourhood of another: a busy machine adds to it, and nothing takes from it but the last tick.
#[track_caller]
fn assert_about(time: Duration, wanted: Duration) {
    assert!(
        time > wanted.mul_f64(0.8) && time < wanted.mul_f64(1.5),
        "{time:?} instead of {wanted:?}"
    );
}

#[test]
fn the_example_of_the_documentation_runs_as_it_stands() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(include_str!("failoverd_lines/example.lua"));
    script.wait_for_output("192.168.0.1: 0.00\n");
    script.wait_for_output("192.168.0.2: 0.00\n");
    // Each request is a line when it is answered: the first line too many is the update's.
    script.wait_for("the update", |script| {
        let requests = wire.requests("192.168.0.1") + wire.requests("192.168.0.2");
        (script.output().lines().count() > requests).then_some(())
    });
    assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    let output = script.output();
    assert!(output.ends_with("\nShutting down\n"), "{output}");
    assert!(
        output
            .lines()
            .all(|line| line.ends_with(": 0.00") || line == "Shutting down"),
        "{output}"
    );
}

#[test]
fn the_option_is_c_as_well() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = Setting::new("io.write('begun\\n') function on_quit() print('quit') end")
        .option("-c")
        .start(&wire.here);
    script.wait_for_output("begun\n");
    assert_eq!(script.stop(libc::SIGTERM).code(), Some(0));
    assert_eq!(script.output(), "begun\nquit\n");
}
