//! A table that changes while it is dumped: the kernel marks such a dump, and it never becomes a snapshot.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

use pingu::netlink::{NetlinkError, RouteTable};

use crate::harness::{ip, lab};

/// So many that one dump takes many reads.
const ADDRESSES: u32 = 4000;

/// How often an address moves to the other interface and back: about a second's worth.
const MOVES: usize = 2000;

/// The address is always somewhere: it is added there before it is deleted here. A dump that reads `lo` before it arrives and
/// `up1`, after thousands of others, when it has left misses it.
#[test]
fn an_address_that_moves_during_a_dump_is_never_missed() {
    lab(async |mut lab| {
        let mut lines = String::new();
        for index in 0..ADDRESSES {
            let (high, low) = (index / 250, index % 250 + 1);
            writeln!(lines, "address add 10.20.{high}.{low}/32 dev up1").unwrap();
        }
        batch(&lines);
        ip("address add 10.30.0.1/32 dev up1");
        let there_and_back = "address add 10.30.0.1/32 dev lo\naddress del 10.30.0.1/32 dev up1\n\
             address add 10.30.0.1/32 dev up1\naddress del 10.30.0.1/32 dev lo\n";
        let moves = there_and_back.repeat(MOVES);
        // A thread begins in its parent's namespace.
        let restless = thread::spawn(move || batch(&moves));
        let mut looks = 0;
        while !restless.is_finished() {
            match lab.routes.snapshot().await {
                Ok(snapshot) => {
                    let mut addresses = snapshot.addresses.iter();
                    assert!(addresses.any(|entry| entry.address.to_string() == "10.30.0.1"));
                }
                Err(error) => {
                    assert!(
                        matches!(error, NetlinkError::Interrupted("address")),
                        "{error}"
                    );
                }
            }
            looks += 1;
        }
        restless.join().unwrap();
        assert!(looks > 0);
        // At rest, it works again.
        lab.look().await;
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
    input.write_all(lines.as_bytes()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
}
