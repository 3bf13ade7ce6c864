//! The benchmark's trial of another sender: what leaves by AF_XDP passes no egress hook, and its replies count like any others.

use pingu::config::ReceiveHook;
use pingu_tests::bench::probe::{self, Options, Part};

#[test]
fn frames_of_an_af_xdp_socket_leave_without_a_stamp_and_all_their_replies_count() {
    let report = probe::run(&Options {
        targets: 64,
        window: 64,
        probes: 640,
        rate: 1_000,
        rate_targets: 1,
        watch_ms: 0,
        runs: 1,
        core: 0,
        receive: ReceiveHook::Auto,
        dpinger: String::new(),
        parts: vec![Part::Flood],
        alone: true,
        af_xdp: true,
    })
    // It fails if a stamp is there that should not be, or none where one should.
    .unwrap();
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| (row.prober, row.lost_percent))
        .collect();
    assert_eq!(
        rows,
        [
            ("pingu's transport", 0.0),
            ("a bare loop of its kind", 0.0),
            ("that loop, AF_XDP out", 0.0)
        ]
    );
    assert!(report.rtts_us.iter().all(|(_, [median, _])| *median > 0.0));
}
