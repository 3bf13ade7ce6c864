//! Queues that do not empty: what waits in one uplink's keeps no other uplink's probes.

use pingu::{
    config::ReceiveHook,
    probe::{
        LinkHeader, ProbeTransport, SendResult,
        kernel::{KernelTransport, LoadOptions},
    },
    units::Ifindex,
};

use crate::live::{HERE_V4, Pair, THERE_V4, assert_answered, await_replies};

/// Probes by the slow uplink in each round.
const SLOW: u32 = 8;

/// Rounds that fill the buffers of two sockets, and more.
const ROUNDS: u32 = 400;

#[test]
fn what_waits_in_one_uplinks_queue_keeps_no_other_uplinks_probes() {
    let pair = Pair::new();
    pair.sender.veth("up1", &pair.peer, "down1").unwrap();
    pair.sender
        .command("tc qdisc add dev up1 root tbf rate 4kbit burst 200 limit 10000000")
        .unwrap();
    let slow = Ifindex(pair.sender.ifindex("up1").unwrap());
    let link = LinkHeader::Ethernet {
        source: pair.sender.mac("up1").unwrap(),
        destination: pair.peer.mac("down1").unwrap(),
    };
    let quick = pair.order(SLOW, HERE_V4, THERE_V4);
    let mut orders: Vec<_> = (0..SLOW)
        .map(|slot| pair.order(slot, HERE_V4, THERE_V4))
        .collect();
    for order in &mut orders {
        (order.ifindex, order.link) = (slow, link);
    }
    orders.insert(SLOW as usize / 2, quick);
    let (results, last) = pair.sender.run(move || {
        let options = LoadOptions::new(SLOW + 1, ReceiveHook::Auto);
        let mut transport = KernelTransport::load(options).unwrap();
        for ifindex in [quick.ifindex, slow] {
            transport.attach(ifindex, false).unwrap();
        }
        let mut of_quick = Vec::new();
        let mut results = Vec::new();
        for _ in 0..ROUNDS {
            transport.send(&orders, &mut results);
            of_quick.push(results[SLOW as usize / 2]);
            let stamps = await_replies(&transport, &[quick]);
            assert_answered(&stamps);
        }
        (of_quick, results)
    });
    assert_eq!(results, [SendResult::Sent; ROUNDS as usize]);
    assert_eq!(last[0], SendResult::NotSent(libc::EAGAIN));
}
