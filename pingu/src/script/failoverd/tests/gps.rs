//! What callbacks learn of results.

use super::*;

const TWO: &str = "probes = { probe.new('192.0.2.1'), probe.new('192.0.2.2', 'eth1') }\n";

fn bench(callback: &str) -> Bench {
    Bench::new(&format!("{TWO} function on_update(gps) {callback} end"))
}

fn first() -> PathKey {
    path("192.0.2.1")
}

fn second() -> PathKey {
    path_by("192.0.2.2", "eth1")
}

#[test]
fn the_documentations_update_prints_the_best() {
    let bench = bench(
        "ps = gps:lowest_loss()
         line = string.format('%s: %.2f', ps:dst(), ps:loss())",
    );
    bench.outcome(&first(), Err(Loss::NoReply));
    bench.outcome(&second(), ms(5));
    bench.update().expect("no error");
    assert_eq!(bench.global("line"), "192.0.2.2: 0.00");
}

#[test]
fn loss_is_a_number_of_percent() {
    let bench = bench("loss = string.format('%.3f', gps:get('192.0.2.1'):loss())");
    for result in [ms(1), Err(Loss::NotSent(101)), Err(Loss::NoReply)] {
        bench.outcome(&first(), result);
    }
    bench.update().expect("no error");
    assert_eq!(bench.global("loss"), "66.667");
}

#[test]
fn an_unknown_destination_is_an_error_that_names_it() {
    for (call, expected) in [
        ("gps:get('192.0.2.9')", "no probe of 192.0.2.9 is running"),
        (
            "gps:get('192.0.2.2', 'eth0')",
            "no probe of 192.0.2.2 from `eth0` is running",
        ),
        ("gps:get('name')", "`name` is not an IP address"),
        ("gps:get()", "an address must be a string, not nil"),
    ] {
        let error = bench(call).update().expect_err("it is unknown").to_string();
        assert!(error.contains(expected), "{call}: {error}");
        assert!(error.contains("stack traceback"), "{error}");
    }
}

#[test]
fn all_ways_to_go_through_them_give_the_same_in_order() {
    for walk in [
        "for ps in gps:iter() do seen = seen .. ps:dst() .. ' ' end",
        "for _, ps in ipairs(gps:all()) do seen = seen .. ps:dst() .. ' ' end",
        "for ps in gps do seen = seen .. ps:dst() .. ' ' end",
    ] {
        let bench = bench(&format!("seen = '' {walk} seen = seen .. #gps"));
        bench.update().expect("no error");
        assert_eq!(bench.global("seen"), "192.0.2.1 192.0.2.2 2", "{walk}");
    }
}

#[test]
fn a_walk_goes_on_when_probes_are_stopped_on_the_way() {
    for walk in ["gps:iter()", "gps"] {
        let bench = bench(&format!(
            "seen = 0 for ps in {walk} do probe.stop(ps:dst()) seen = seen + 1 end"
        ));
        bench.update().expect("no error");
        assert_eq!(bench.global("seen"), "2", "{walk}");
    }
}

#[test]
fn round_trip_times_are_in_milliseconds_and_nil_without_any() {
    let bench = bench(
        "rtt = gps:get('192.0.2.1'):rtt()
         told = string.format('%g %g %g %g %g %g', rtt.min, rtt.mean, rtt.p50, rtt.p99, rtt.max, rtt.jitter)
         none = gps:get('192.0.2.2', 'eth1'):rtt()",
    );
    for rtt in [10, 26] {
        bench.outcome(&first(), ms(rtt));
    }
    bench.outcome(&second(), Err(Loss::NoReply));
    bench.update().expect("no error");
    assert_eq!(bench.global("told"), "10 18 10 26 26 1");
    assert_eq!(bench.global("none"), "nil");
}

#[test]
fn losses_are_counted_and_their_cause_is_told() {
    let bench = bench(
        "ps = gps:get('192.0.2.1') told = ps:lost() .. ' of ' .. ps:sent() cause = ps:cause()",
    );
    bench.update().expect("no error");
    assert_eq!(
        [bench.global("told"), bench.global("cause")],
        ["0 of 0", "nil"]
    );
    bench.outcome(&first(), ms(1));
    for (loss, expected) in [
        (Loss::NoReply, "no reply"),
        (Loss::NotSent(101), "not sent: Network is unreachable"),
        (Loss::NoSource, "not sent: no such interface"),
        (Loss::NoNeighbour, "not sent: the next hop does not answer"),
        (
            Loss::Error { kind: 3, code: 1 },
            "host unreachable (type 3, code 1)",
        ),
    ] {
        bench.outcome(&first(), Err(loss));
        bench.update().expect("no error");
        let cause = bench.global("cause");
        assert!(cause.starts_with(expected), "{cause}");
    }
    assert_eq!(bench.global("told"), "5 of 6");
}

#[test]
fn a_source_is_what_the_probes_leave_with_or_what_was_asked_for() {
    let bench = bench(
        "a, b = gps:get('192.0.2.1'), gps:get('192.0.2.2')
         told = a:src() .. ',' .. b:src() .. ',' .. tostring(a:interface()) .. ',' .. b:interface()
         found = gps:get(a:dst(), a:src()):dst() .. ' ' .. gps:get(b:dst(), b:src()):dst()",
    );
    bench.update().expect("no error");
    assert_eq!(bench.global("told"), ",eth1,nil,eth1");
    for (key, source) in [(first(), "192.0.2.7"), (second(), "198.51.100.7")] {
        let mut known = outcome(&key, ms(1));
        known.source = Some(source.parse().unwrap());
        bench.shared.record(&known);
    }
    bench.update().expect("no error");
    assert_eq!(bench.global("told"), "192.0.2.7,198.51.100.7,nil,eth1");
    assert_eq!(bench.global("found"), "192.0.2.1 192.0.2.2");
}

#[test]
fn what_a_script_has_been_given_stays_as_it_was() {
    let bench = bench(
        "kept = kept or gps:get('192.0.2.1')
         probe.stop('192.0.2.1')
         told = kept:dst() .. ' ' .. kept:loss()",
    );
    bench.outcome(&first(), Err(Loss::NoReply));
    bench.update().expect("no error");
    bench.update().expect("no error");
    assert_eq!(bench.global("told"), "192.0.2.1 100");
}

#[test]
fn without_probes_there_is_no_best() {
    let bench =
        Bench::new("function on_update(gps) told = tostring(gps:lowest_loss()) .. #gps end");
    bench.update().expect("no error");
    assert_eq!(bench.global("told"), "nil0");
}

#[test]
fn a_method_called_with_a_dot_is_a_text_that_says_how_to_call_it() {
    let bench = bench(
        "kinds, first, second = {}, nil, nil
         for i, call in ipairs({ gps.lowest_loss, gps.get, gps.all, gps.iter, gps:lowest_loss().loss }) do
           local good, what = pcall(call, 'x')
           kinds[i] = tostring(good) .. ' ' .. what
         end
         line = table.concat(kinds, '; ')",
    );
    bench.update().expect("no error");
    let usages = [
        "gps:lowest_loss()",
        "gps:get(dst)",
        "gps:all()",
        "gps:iter()",
        "ps:loss()",
    ];
    let told = usages.map(|usage| format!("false methods are called with a colon: {usage}"));
    assert_eq!(bench.global("line"), told.join("; "));
}
