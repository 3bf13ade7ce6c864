//! A table that changes while it is dumped: the kernel marks such a dump, and it never becomes a snapshot.

use std::{
    fmt::Write as _,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use pingu::netlink::{NetlinkError, RouteTable};

use crate::harness::{DEADLINE, lab};

/// So many that one dump takes many reads.
const ADDRESSES: u32 = 4000;

/// Changes per call of `ip`: the start of the next is the only rest.
const CHANGES: u32 = 20_000;

#[test]
fn a_table_that_never_rests_is_an_error_and_no_snapshot() {
    lab(async |mut lab| {
        let mut lines = String::new();
        for index in 0..ADDRESSES {
            let (high, low) = (index / 250, index % 250 + 1);
            writeln!(lines, "address add 10.20.{high}.{low}/32 dev up1").unwrap();
        }
        batch(&lines);
        let before = lab.look().await;
        assert!(before.addresses.len() > ADDRESSES as usize);

        let change = "address add 10.30.0.1/32 dev up0\naddress del 10.30.0.1/32 dev up0\n";
        let changes = change.repeat(CHANGES as usize / 2);
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        // A thread begins in its parent's namespace.
        let restless = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) && tokio::time::Instant::now() < deadline {
                batch(&changes);
            }
        });
        let error = loop {
            assert!(tokio::time::Instant::now() < deadline);
            if let Err(error) = lab.routes.snapshot().await {
                break error;
            }
        };
        enough.store(true, Ordering::Relaxed);
        restless.join().unwrap();

        assert!(
            matches!(error, NetlinkError::Interrupted("address")),
            "{error}"
        );
        assert_eq!(lab.look().await.addresses, before.addresses);
    });
}

/// Runs `ip` once for many lines.
fn batch(lines: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, lines.as_bytes()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
}
