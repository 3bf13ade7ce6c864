//! Without an origin a probe goes where the routes lead at that moment.

use std::process::Command;

use pingu::script::probe::{Loss, Origin};

use crate::harness::{Site, TARGET, address, drive, pace, path};

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    assert!(done.unwrap().success(), "ip {arguments}");
}

#[test]
fn a_replaced_route_is_followed_by_the_next_probe() {
    for privileged in [false, true] {
        let site = Site::new();
        let outcomes = drive(
            &site,
            pace(privileged, 50, 2_000),
            vec![path(TARGET, Origin::Any)],
            |driver| {
                let before = driver.take(5);
                ip("route replace default via 192.0.1.1 dev eth1");
                let after = driver.take(5);
                ip("route delete default");
                let without = driver.take(3);
                ip("route add default via 192.0.0.1 dev eth0");
                let again = driver.take(5);
                [before, after, without, again]
            },
        );
        let sources = |outcomes: &[pingu::script::probe::Outcome]| {
            let ok = outcomes.iter().filter(|outcome| outcome.result.is_ok());
            ok.map(|outcome| outcome.source.unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(sources(&outcomes[0]), [address("192.0.0.2"); 5]);
        assert_eq!(sources(&outcomes[1]), [address("192.0.1.2"); 5]);
        for outcome in &outcomes[2] {
            assert_eq!(outcome.result, Err(Loss::NotSent(libc::ENETUNREACH)));
        }
        assert_eq!(sources(&outcomes[3]), [address("192.0.0.2"); 5]);
    }
}
