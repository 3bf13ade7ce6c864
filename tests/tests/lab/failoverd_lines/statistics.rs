//! `global_probe_stats` and `probe_stats`: `lowest_loss`, `get`, `src`, `dst` and `loss`.

use pingu_tests::lab::turn;

use super::Wire;

#[test]
fn lowest_loss_is_the_probe_with_the_lowest_loss_and_of_equals_always_the_first() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, update_frequency, num_seconds = 0.05, 0.05, 1\n\
         probes = { probe.new('192.168.0.2'), probe.new('192.168.0.1') }\n\
         function on_update(gps)\n\
           local best = gps:lowest_loss()\n\
           print('best', best:dst(), best:loss())\n\
         end",
    );
    let lines = script.wait_for_lines("best", 12);
    assert!(
        lines[5..].iter().all(|line| line == "192.168.0.2\t0"),
        "{lines:?}"
    );
    wire.silence("192.168.0.2");
    script.wait_for_output("best\t192.168.0.1\t0\n");
    wire.answer();
    script.wait_for("the first again", |script| {
        (script.lines("best").last()? == "192.168.0.2\t0").then_some(())
    });
}

#[test]
fn get_gives_the_statistics_of_a_destination_and_raises_for_a_stranger() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, update_frequency = 0.05, 0.05\n\
         probes = { probe.new('192.168.0.1'), probe.new('192.168.0.2', '192.168.0.11') }\n\
         function on_update(gps)\n\
           local ps = gps:get('192.168.0.2')\n\
           print('got', ps:src(), ps:dst(), ps:loss())\n\
           print('stranger', pcall(function() return gps:get('192.0.2.99') end))\n\
         end",
    );
    script.wait_for_output("got\t192.168.0.11\t192.168.0.2\t0\n");
    let stranger = script.wait_for_next("stranger");
    assert!(
        stranger.starts_with("false\t") && stranger.contains("192.0.2.99"),
        "{stranger}"
    );
}

#[test]
fn loss_is_a_number_from_0_to_100_in_percent() {
    let _turn = turn::shared();
    let wire = Wire::new();
    // Each second request is lost.
    wire.there.nft(
        "table ip fault { chain input { type filter hook input priority 0; \
         icmp type echo-request numgen inc mod 2 == 0 drop; }\n}\n",
    );
    let mut script = wire.start(
        "ping_frequency, num_seconds = 0.05, 2\n\
         probes = { probe.new('192.168.0.1') }\n\
         function on_recv(gps, ps)\n\
           print('loss', type(ps:loss()), ps:loss(), string.format('%.2f', ps:loss()))\n\
         end",
    );
    let lines = script.wait_for_lines("loss", 60);
    let losses: Vec<f64> = lines
        .iter()
        .map(|line| {
            let mut words = line.split('\t');
            assert_eq!(words.next(), Some("number"));
            let (plain, formatted): (f64, f64) = (
                words.next().unwrap().parse().unwrap(),
                words.next().unwrap().parse().unwrap(),
            );
            assert!((plain - formatted).abs() <= 0.0051, "{line}");
            plain
        })
        .collect();
    assert!(
        losses.iter().all(|loss| (0.0..=100.0).contains(loss)),
        "{losses:?}"
    );
    let last = losses[losses.len() - 1];
    assert!((40.0..=60.0).contains(&last), "{losses:?}");
}

#[test]
fn before_anything_is_known_the_statistics_are_there_and_no_call_fails() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, update_frequency = 5, 0.02\n\
         probes = { probe.new('192.168.0.1', '192.168.0.11') }\n\
         probe.start(probe.new('192.168.0.2'))\n\
         function on_update(gps)\n\
           local ps = gps:get('192.168.0.1')\n\
           print('update', ps:src(), ps:dst(), ps:loss() == ps:loss() and ps:loss() >= 0 and ps:loss() <= 100)\n\
           assert(gps:lowest_loss():dst())\n\
         end",
    );
    let lines = script.wait_for_lines("update", 5);
    assert!(
        lines
            .iter()
            .all(|line| line == "192.168.0.11\t192.168.0.1\ttrue"),
        "{lines:?}"
    );
    assert!(
        !script.complaints().contains("traceback"),
        "{}",
        script.complaints()
    );
}

#[test]
fn statistics_that_a_script_keeps_may_be_asked_later() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, update_frequency = 0.05, 0.1\n\
         probes = { probe.new('192.168.0.1') }\n\
         kept = {}\n\
         function on_recv(gps, ps) kept[#kept + 1] = ps; all = gps end\n\
         function on_update()\n\
           if #kept > 3 then print('kept', kept[1]:dst(), kept[#kept]:loss(), all:get('192.168.0.1'):loss()) end\n\
         end",
    );
    script.wait_for_output("kept\t192.168.0.1\t0\t0\n");
}
