//! Hooks on real devices: nothing of anybody else is displaced, and nothing of ours is left.

use std::os::fd::AsFd;

use pingu::{
    config::ReceiveHook,
    probe::{
        EngineKind, LinkHeader, ProbeTransport, SendResult,
        kernel::{KernelTransport, LoadOptions},
    },
    units::Ifindex,
};
use pingu_tests::bench::bpf::{self, Hook, Kind};

use crate::live::{HERE_V4, Pair, THERE_V4, assert_answered, await_replies, probe};

/// TCX_NEXT, TCX_PASS and XDP_PASS.
const NEXT: i32 = -1;
const ACCEPT: i32 = 0;
const XDP_PASS: i32 = 2;

/// What `tc` and `ip` show of a device's hooks.
fn residue(pair: &Pair) -> String {
    let filters = ["ingress", "egress"].map(|hook| {
        pair.sender
            .command(&format!("tc filter show dev up0 {hook}"))
            .unwrap()
    });
    let qdiscs = pair.sender.command("tc qdisc show dev up0").unwrap();
    let link = pair.sender.ip("-details link show dev up0").unwrap();
    let link: Vec<_> = link.lines().filter(|line| line.contains("prog/")).collect();
    format!("{qdiscs}{}{}", filters.concat(), link.concat())
}

/// Whether another program can have the device's XDP hook.
fn is_xdp_free(pair: &Pair) -> bool {
    let ifindex = pair.ifindex.0;
    pair.sender.run(move || {
        let program = bpf::load_returning(Kind::Xdp, XDP_PASS).unwrap();
        bpf::attach(program.as_fd(), ifindex, Hook::XdpNative).is_ok()
    })
}

#[test]
fn dropping_the_transport_leaves_nothing_on_any_hook() {
    for receive in [ReceiveHook::Tcx, ReceiveHook::Clsact, ReceiveHook::Xdp] {
        let pair = Pair::new();
        let before = residue(&pair);
        for _ in 0..3 {
            let (_, _, stamps) = probe(&pair, receive, vec![pair.order(0, HERE_V4, THERE_V4)]);
            assert_answered(&stamps);
            assert_eq!(residue(&pair), before, "{receive:?}");
            assert!(is_xdp_free(&pair));
        }
    }
}

#[test]
fn a_detached_interface_matches_nothing_and_can_be_attached_again() {
    for receive in [ReceiveHook::Tcx, ReceiveHook::Clsact, ReceiveHook::Xdp] {
        let pair = Pair::new();
        let before = residue(&pair);
        let (ifindex, order) = (pair.ifindex, pair.order(0, HERE_V4, THERE_V4));
        let sender = &pair.sender;
        let (transport, results) = sender.run(move || {
            let mut transport = KernelTransport::load(LoadOptions::new(8, receive)).unwrap();
            transport.attach(ifindex, false).unwrap();
            transport.detach(ifindex);
            let mut results = Vec::new();
            transport.send(&[order], &mut results);
            (transport, results)
        });
        assert_eq!(results, [SendResult::NotSent(libc::ENODEV)]);
        assert_eq!(residue(&pair), before, "{receive:?}");
        let stamps = sender.run(move || {
            let mut transport = transport;
            transport.attach(ifindex, false).unwrap();
            transport.attach(ifindex, false).unwrap();
            let mut results = Vec::new();
            transport.send(&[order], &mut results);
            assert_eq!(results, [SendResult::Sent]);
            await_replies(&transport, &[order])
        });
        assert_answered(&stamps);
        assert_eq!(residue(&pair), before, "{receive:?}");
    }
}

#[test]
fn a_killed_runs_clsact_filters_are_replaced_and_do_not_pile_up() {
    let pair = Pair::new();
    let before = residue(&pair);
    let filters = |pair: &Pair| residue(pair).matches("handle 0x50494e47 pingu").count();
    let ifindex = pair.ifindex;
    for _ in 0..3 {
        pair.sender.run(move || {
            let mut transport =
                KernelTransport::load(LoadOptions::new(8, ReceiveHook::Clsact)).unwrap();
            transport.attach(ifindex, false).unwrap();
            // What a SIGKILL leaves: nothing was cleaned up. The descriptors stay open until the test ends, the filters do not care.
            std::mem::forget(transport);
        });
        assert_eq!(filters(&pair), 2, "one each way\n{}", residue(&pair));
    }
    let (kind, _, stamps) = probe(
        &pair,
        ReceiveHook::Clsact,
        vec![pair.order(0, HERE_V4, THERE_V4)],
    );
    assert_eq!(kind, EngineKind::Clsact);
    assert_answered(&stamps);
    assert_eq!(
        residue(&pair),
        before,
        "the qdisc goes with the last filter of whoever made it"
    );
}

#[test]
fn a_foreign_clsact_filter_survives_ours() {
    let pair = Pair::new();
    pair.sender.command("tc qdisc add dev up0 clsact").unwrap();
    for hook in ["ingress", "egress"] {
        let filter = "protocol ip prio 7 u32 match u32 0 0 flowid 1:1";
        pair.sender
            .command(&format!("tc filter add dev up0 {hook} {filter}"))
            .unwrap();
    }
    let before = residue(&pair);
    assert!(before.contains("pref 7"), "{before}");
    let (_, _, stamps) = probe(
        &pair,
        ReceiveHook::Clsact,
        vec![pair.order(0, HERE_V4, THERE_V4)],
    );
    assert_answered(&stamps);
    assert_eq!(residue(&pair), before);
}

#[test]
fn foreign_tcx_programs_stay_and_cannot_hide_replies() {
    let pair = Pair::new();
    let ifindex = pair.ifindex;
    for verdict in [NEXT, ACCEPT] {
        let links = pair.sender.run(move || {
            let program = bpf::load_returning(Kind::Classifier, verdict).unwrap();
            [Hook::TcxIngress, Hook::TcxEgress]
                .map(|hook| bpf::attach(program.as_fd(), ifindex.0, hook).unwrap())
        });
        let (kind, _, stamps) = probe(
            &pair,
            ReceiveHook::Tcx,
            vec![pair.order(0, HERE_V4, THERE_V4)],
        );
        assert_eq!(kind, EngineKind::Tcx);
        assert_answered(&stamps);
        // A link whose program was displaced shows no interface.
        for link in &links {
            let information = std::fs::read_to_string(format!(
                "/proc/self/fdinfo/{}",
                std::os::fd::AsRawFd::as_raw_fd(link)
            ));
            assert!(
                information
                    .unwrap()
                    .contains(&format!("ifindex:\t{ifindex}"))
            );
        }
    }
}

#[test]
fn a_taken_xdp_slot_is_left_alone_and_reported() {
    let pair = Pair::new();
    let ifindex = pair.ifindex;
    let foreign = pair.sender.run(move || {
        let program = bpf::load_returning(Kind::Xdp, XDP_PASS).unwrap();
        bpf::attach(program.as_fd(), ifindex.0, Hook::XdpNative).unwrap()
    });
    let before = residue(&pair);
    let order = pair.order(0, HERE_V4, THERE_V4);
    let stamps = pair.sender.run(move || {
        let mut transport = KernelTransport::load(LoadOptions::new(8, ReceiveHook::Xdp)).unwrap();
        assert_eq!(transport.attach(ifindex, false).unwrap(), EngineKind::Tcx);
        let declined = transport
            .declined(ifindex)
            .and_then(std::io::Error::raw_os_error);
        assert_eq!(declined, Some(libc::EBUSY));
        transport.send(&[order], &mut Vec::new());
        await_replies(&transport, &[order])
    });
    assert_answered(&stamps);
    assert_eq!(residue(&pair), before);
    drop(foreign);
}

#[test]
fn a_device_that_comes_back_is_attached_anew() {
    let pair = Pair::new();
    let (sender, old) = (&pair.sender, pair.ifindex);
    let order = pair.order(0, HERE_V4, THERE_V4);
    let mut transport = sender.run(move || {
        let mut transport = KernelTransport::load(LoadOptions::new(8, ReceiveHook::Auto)).unwrap();
        transport.attach(old, false).unwrap();
        transport
    });
    sender.ip("link del up0").unwrap();
    let (transport_back, results) = sender.run(move || {
        let mut results = Vec::new();
        transport.send(&[order], &mut results);
        (transport, results)
    });
    assert!(
        matches!(
            results[..],
            [SendResult::NotSent(
                libc::ENXIO | libc::ENODEV | libc::ENETDOWN
            )]
        ),
        "{results:?}"
    );
    // The same number, another device.
    sender
        .ip(&format!(
            "link add up0 index {old} type veth peer name down1 netns {}",
            pair.peer.thread_id()
        ))
        .unwrap();
    let LinkHeader::Ethernet { source, .. } = pair.link else {
        panic!("not Ethernet")
    };
    sender
        .ip(&format!(
            "link set up0 address {} up",
            crate::live::text(source)
        ))
        .unwrap();
    pair.peer.ip("link set down1 up").unwrap();
    pair.peer.ip("address add 192.0.2.2/24 dev down1").unwrap();
    pair.peer
        .ip(&format!(
            "neighbour replace 192.0.2.1 lladdr {} dev down1",
            crate::live::text(source)
        ))
        .unwrap();
    let mut order = order;
    order.link = LinkHeader::Ethernet {
        source,
        destination: pair.peer.mac("down1").unwrap(),
    };
    assert_eq!(Ifindex(sender.ifindex("up0").unwrap()), old);
    let stamps = sender.run(move || {
        let mut transport = transport_back;
        transport.attach(old, false).unwrap();
        let mut results = Vec::new();
        transport.send(&[order], &mut results);
        assert_eq!(results, [SendResult::Sent]);
        await_replies(&transport, &[order])
    });
    assert_answered(&stamps);
}

#[test]
fn an_interface_that_does_not_exist_is_an_error_that_names_it() {
    let pair = Pair::new();
    let error = pair.sender.run(|| {
        let mut transport = KernelTransport::load(LoadOptions::new(8, ReceiveHook::Auto)).unwrap();
        transport
            .attach(Ifindex(4_711), false)
            .unwrap_err()
            .to_string()
    });
    assert!(error.contains("4711"), "{error}");
}
