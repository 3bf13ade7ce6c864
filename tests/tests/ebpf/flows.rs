//! What sockets send and receive on real devices is counted exactly, and pingu's own probes are not.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};

use pingu::{
    config::ReceiveHook,
    probe::{
        ProbeTransport, Traffic,
        kernel::{KernelTransport, LoadOptions},
    },
    units::Ifindex,
};
use pingu_tests::bench::namespace::Namespace;

use crate::live::{DEADLINE, HERE_V4, HERE_V6, Pair, THERE_V4, THERE_V6, await_replies};

const HOOKS: [ReceiveHook; 3] = [ReceiveHook::Tcx, ReceiveHook::Clsact, ReceiveHook::Xdp];

/// Runs in the pair's sender with an attached transport that counts.
fn with_transport<R: Send + 'static>(
    pair: &Pair,
    receive: ReceiveHook,
    job: impl FnOnce(&mut KernelTransport, Ifindex) -> R + Send + 'static,
) -> R {
    let ifindex = pair.ifindex;
    pair.sender.run(move || {
        let options = LoadOptions::new(256, receive).counting(2);
        let mut transport = KernelTransport::load(options).unwrap();
        transport.attach(ifindex, false).unwrap();
        assert_eq!(transport.traffic(ifindex), Some(Traffic::default()));
        job(&mut transport, ifindex)
    })
}

#[test]
fn datagrams_of_sockets_are_counted_to_the_byte_and_probes_are_not() {
    const OUT: u64 = 100;
    const IN: u64 = 70;
    const BYTES: usize = 333;
    for receive in HOOKS {
        for (here, there, headers) in [(HERE_V4, THERE_V4, 14 + 28), (HERE_V6, THERE_V6, 14 + 48)] {
            let pair = Pair::new();
            let far = pair.peer.run(move || {
                let socket = UdpSocket::bind((there, 4_000)).unwrap();
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                socket
            });
            let orders: Vec<_> = (0..100).map(|slot| pair.order(slot, here, there)).collect();
            let traffic = with_transport(&pair, receive, move |transport, ifindex| {
                transport.send(&orders, &mut Vec::new());
                let stamps = await_replies(transport, &orders);
                assert!(stamps.iter().all(|stamps| stamps.received_ns.is_some()));
                let near = UdpSocket::bind((here, 4_001)).unwrap();
                near.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut buffer = [0; 2 * BYTES];
                for number in 0..OUT {
                    near.send_to(&[1; BYTES], (there, 4_000)).unwrap();
                    far.recv_from(&mut buffer).unwrap();
                    if number < IN {
                        far.send_to(&[2; BYTES], (here, 4_001)).unwrap();
                        near.recv_from(&mut buffer).unwrap();
                    }
                }
                transport.traffic(ifindex)
            });
            let each = (headers + BYTES) as u64;
            let expected = Traffic {
                ingress_packets: IN,
                ingress_bytes: IN * each,
                egress_packets: OUT,
                egress_bytes: OUT * each,
                handshakes_begun: 0,
                handshakes_answered: 0,
                handshakes_elsewhere: 0,
            };
            assert_eq!(traffic, Some(expected), "{receive:?} {there}");
        }
    }
}

#[test]
fn handshakes_of_sockets_are_counted_and_refusals_are_no_answer() {
    for receive in HOOKS {
        for there in [THERE_V4, THERE_V6] {
            let pair = Pair::new();
            let listener = pair
                .peer
                .run(move || TcpListener::bind((there, 80)).unwrap());
            let traffic = with_transport(&pair, receive, move |transport, ifindex| {
                for _ in 0..7 {
                    let address = SocketAddr::new(there, 80);
                    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
                    drop((stream, listener.accept().unwrap()));
                }
                for _ in 0..3 {
                    let address = SocketAddr::new(there, 81);
                    assert!(TcpStream::connect_timeout(&address, DEADLINE).is_err());
                }
                transport.traffic(ifindex).unwrap()
            });
            let handshakes = (traffic.handshakes_begun, traffic.handshakes_answered);
            assert_eq!(handshakes, (10, 7), "{receive:?} {there}");
        }
    }
}

#[test]
fn what_is_cut_up_later_counts_with_the_headers_of_every_piece() {
    const BYTES: usize = 1 << 20;
    /// What a frame of 1,500 bytes holds of a stream, and the headers before it (Ethernet, IPv4, TCP with timestamps).
    const PIECE: u64 = 1_448;
    const HEADERS: u64 = 66;
    let pair = Pair::new();
    let listener = pair
        .peer
        .run(move || TcpListener::bind((THERE_V4, 80)).unwrap());
    let traffic = with_transport(&pair, ReceiveHook::Tcx, move |transport, ifindex| {
        let mut stream = TcpStream::connect((THERE_V4, 80)).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let reader = thread::spawn(move || far.read_exact(&mut vec![0; BYTES]).unwrap());
        stream.write_all(&vec![0; BYTES]).unwrap();
        reader.join().unwrap();
        transport.traffic(ifindex).unwrap()
    });
    let least = BYTES as u64 + BYTES as u64 / PIECE * HEADERS;
    assert!(traffic.egress_bytes >= least, "{traffic:?} {least}");
    assert!(
        traffic.egress_bytes < least + least / 10,
        "{traffic:?} {least}"
    );
    assert!(
        traffic.egress_packets < BYTES as u64 / PIECE,
        "nothing was cut up later: {traffic:?}"
    );
}

#[test]
fn an_interface_whose_place_is_taken_has_no_counts_until_it_is_free() {
    let namespace = Namespace::new().unwrap();
    let peer = Namespace::new().unwrap();
    // 64 places for few interfaces.
    let (first, second) = (Ifindex(100), Ifindex(164));
    for ifindex in [first, second] {
        let there = format!("peer{ifindex} netns {}", peer.thread_id());
        let line = format!("link add up{ifindex} index {ifindex} type veth peer name {there}");
        namespace.ip(&line).unwrap();
    }
    namespace.run(move || {
        let options = LoadOptions::new(1, ReceiveHook::Tcx).counting(2);
        let mut transport = KernelTransport::load(options).unwrap();
        assert_eq!(transport.traffic(first), None, "not attached");
        transport.attach(first, false).unwrap();
        transport.attach(second, false).unwrap();
        assert_eq!(transport.traffic(first), Some(Traffic::default()));
        assert_eq!(transport.traffic(second), None);
        transport.detach(first);
        assert_eq!(transport.traffic(first), None);
        transport.attach(second, false).unwrap();
        assert_eq!(transport.traffic(second), Some(Traffic::default()));
    });
}

#[test]
fn counts_begin_at_nothing_whenever_an_interface_is_attached() {
    let pair = Pair::new();
    let far = pair
        .peer
        .run(|| UdpSocket::bind((THERE_V4, 4_000)).unwrap());
    with_transport(&pair, ReceiveHook::Tcx, move |transport, ifindex| {
        let near = UdpSocket::bind((HERE_V4, 0)).unwrap();
        for _ in 0..3 {
            assert_eq!(transport.traffic(ifindex), Some(Traffic::default()));
            near.send_to(&[0; 10], (THERE_V4, 4_000)).unwrap();
            far.recv_from(&mut [0; 10]).unwrap();
            assert_eq!(transport.traffic(ifindex).unwrap().egress_packets, 1);
            transport.attach(ifindex, false).unwrap();
        }
    });
}

#[test]
fn programs_that_are_not_asked_to_count_count_nothing() {
    let pair = Pair::new();
    let ifindex = pair.ifindex;
    let traffic = pair.sender.run(move || {
        let options = LoadOptions::new(1, ReceiveHook::Tcx);
        let mut transport = KernelTransport::load(options).unwrap();
        transport.attach(ifindex, false).unwrap();
        transport.traffic(ifindex)
    });
    assert_eq!(traffic, None);
}
