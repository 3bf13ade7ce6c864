//! Ten thousand probes in one script.
#![expect(
    clippy::disallowed_methods,
    reason = "the time between updates is measured"
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use pingu_tests::lab::{
    namespace::Namespace,
    script::{Setting, column},
    turn,
};

/// The whole process, debug or release: what ten thousand probes take is a part of it.
const MEMORY_MAX_KB: u64 = 400_000;

#[test]
fn ten_thousand_probes_all_have_outcomes_and_updates_keep_their_time() {
    let _turn = turn::alone();
    let (here, there) = (Namespace::new("here"), Namespace::new("there"));
    here.veth("eth0", &there, "eth0");
    here.ip("address add 192.168.0.10/24 dev eth0");
    there.ip("address add 192.168.0.1/24 dev eth0");
    here.ip("route add 10.0.0.0/8 via 192.168.0.1");
    there.ip("route add local 10.0.0.0/8 dev lo");
    let script = "\
        privileged = true\n\
        ping_frequency, update_frequency, num_seconds = 2, 0.25, 10\n\
        probes = {}\n\
        for i = 0, 9999 do\n\
          probes[#probes + 1] = probe.new(('10.0.%d.%d'):format(math.floor(i / 200), i % 200 + 1))\n\
        end\n\
        heard, lost, known = 0, 0, {}\n\
        function on_recv(gps, ps)\n\
          if not known[ps:dst()] then known[ps:dst()] = true heard = heard + 1 end\n\
          if ps:loss() > 0 then lost = lost + 1 end\n\
        end\n\
        function on_update(gps)\n\
          print('update', heard, lost, gps:lowest_loss():loss(), gps:get('10.0.49.200'):loss())\n\
        end";
    let mut script = Setting::new(script).start(&here);
    script.wait_for("all to be heard", |script| {
        script
            .lines("update")
            .last()?
            .starts_with("10000\t")
            .then_some(())
    });
    let (start, before, cpu) = (
        Instant::now(),
        script.lines("update").len(),
        cpu_ticks(script.process().id()),
    );
    let lines = script.wait_for_lines("update", before + 12);
    let elapsed = start.elapsed();
    let cpu = cpu_ticks(script.process().id()) - cpu;
    let memory = memory_kb(script.process().id());
    println!(
        "12 updates in {elapsed:?}, {cpu} ticks, {memory} kB; {:?}",
        lines.last()
    );
    assert!(
        elapsed > Duration::from_millis(2400) && elapsed < Duration::from_secs(6),
        "12 updates in {elapsed:?}"
    );
    assert!(memory < MEMORY_MAX_KB, "{memory} kB");
    // Of both cores.
    assert!(cpu < 1000, "{cpu} ticks in five seconds");
    let lost = column(&lines[lines.len() - 1], 1);
    assert_eq!(lost, 0.0, "{:?}", lines.last());
    assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
}

/// Processor time of a process, in hundredths of a second: fields 14 and 15 of proc_pid_stat(5).
#[track_caller]
fn cpu_ticks(process: u32) -> u64 {
    let stat = read(process, "stat");
    let (_, fields) = stat.rsplit_once(") ").expect("a name ends so");
    let ticks = fields.split(' ').skip(11).take(2);
    ticks
        .map(|field| field.parse::<u64>().expect("proc writes numbers"))
        .sum()
}

#[track_caller]
fn memory_kb(process: u32) -> u64 {
    let status = read(process, "status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .expect("a running process has memory")
}

#[track_caller]
fn read(process: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{process}/{file}")).expect("the process runs")
}
