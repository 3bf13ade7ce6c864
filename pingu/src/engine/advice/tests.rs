//! A script's order, vetoes and routes among the built-in policy's.

use std::net::IpAddr;

use super::*;
use crate::{
    config::Config,
    engine::test_clock,
    network::{Address, Link, LinkLayer},
};

const THREE: &str = "[probe]\ntargets = [\"192.0.2.1\"]\n\
    [[uplink]]\nname = \"a\"\ninterface = \"wan0\"\ngateway = \"10.0.0.1\"\n\
    [[uplink]]\nname = \"b\"\ninterface = \"wan1\"\ngateway = \"10.0.1.1\"\n\
    [[uplink]]\nname = \"c\"\ninterface = \"wan2\"\ngateway = \"10.0.2.1\"\n";

fn engine() -> Engine {
    let (config, _) = Config::parse(THREE, "test").unwrap();
    Engine::new(config, 7, test_clock())
}

fn candidates(states: [State; 3]) -> Vec<Candidate> {
    let of = |(index, state): (usize, State)| Candidate {
        id: UplinkId(index as u16),
        metric: Metric(100 + index as u32),
        order: 100 + index as u32,
        state,
        usable: true,
        held_until: None,
        qualities: Vec::new(),
    };
    states.into_iter().enumerate().map(of).collect()
}

fn standing(ids: &[u16]) -> Ranking {
    Ranking {
        standing: ids.iter().copied().map(UplinkId).collect(),
        ..Ranking::default()
    }
}

const A: UplinkId = UplinkId(0);
const B: UplinkId = UplinkId(1);
const ALL_UP: [State; 3] = [State::Up; 3];

#[test]
fn those_that_an_order_leaves_out_follow_as_configured() {
    let mut engine = engine();
    engine.advise_order(Some(&[UplinkId(2)]), test_clock());
    let places = [0, 1, 2].map(|id| engine.advised_place(UplinkId(id)).unwrap());
    assert!(places[2] < places[0] && places[0] < places[1], "{places:?}");
    engine.advise_order(None, test_clock());
    assert_eq!(engine.advised_place(A), None);
}

#[test]
fn a_switch_waits_for_a_word_and_no_longer_than_it_may() {
    let mut engine = engine();
    let group = GroupId(0);
    let now = test_clock();
    engine.gate_switches(true, now);
    engine.rankings[0] = standing(&[1]);
    let wanted = standing(&[0, 1]);
    let all = candidates(ALL_UP);
    assert_eq!(engine.stays_on(group, &all, &wanted, now), Some(B));
    assert_eq!(engine.switches_asked(), [(B, A)]);
    assert_eq!(engine.switches_asked(), [], "asked once");
    assert_eq!(engine.question_until(group), Some(now + ANSWER_WITHIN));
    let late = now + ANSWER_WITHIN;
    assert_eq!(
        engine.stays_on(group, &all, &wanted, late),
        None,
        "nobody answered"
    );
}

#[test]
fn a_veto_holds_while_it_is_repeated_and_only_for_what_is_up() {
    let mut engine = engine();
    let group = GroupId(0);
    let now = test_clock();
    engine.gate_switches(true, now);
    engine.rankings[0] = standing(&[1]);
    let wanted = standing(&[0, 1]);
    let all = candidates(ALL_UP);
    engine.stays_on(group, &all, &wanted, now);
    engine.switches_asked();
    let veto = |engine: &mut Engine, at| {
        let question = engine.advice.questions.get_mut(&group).unwrap();
        question.word = Word::Vetoed("no".to_owned());
        question.until = at + VETO_LASTS;
    };
    veto(&mut engine, now);
    assert_eq!(engine.stays_on(group, &all, &wanted, now), Some(B));
    let later = now + VETO_LASTS;
    assert_eq!(engine.stays_on(group, &all, &wanted, later), Some(B));
    assert_eq!(engine.switches_asked(), [(B, A)], "asked anew");
    veto(&mut engine, later);
    let down = candidates([State::Up, State::Down, State::Up]);
    assert_eq!(engine.stays_on(group, &down, &wanted, later), None);
    let mut without_way = candidates(ALL_UP);
    without_way[1].usable = false;
    veto_again(&mut engine, group, &all, &wanted, later);
    assert_eq!(engine.stays_on(group, &without_way, &wanted, later), None);
}

fn veto_again(
    engine: &mut Engine,
    group: GroupId,
    all: &[Candidate],
    wanted: &Ranking,
    at: Instant,
) {
    engine.stays_on(group, all, wanted, at);
    let question = engine.advice.questions.get_mut(&group).unwrap();
    question.word = Word::Vetoed(String::new());
}

#[test]
fn nothing_is_asked_without_a_function_for_it_nor_about_a_pin() {
    let mut engine = engine();
    let now = test_clock();
    engine.rankings[0] = standing(&[1]);
    let (wanted, all) = (standing(&[0, 1]), candidates(ALL_UP));
    assert_eq!(engine.stays_on(GroupId(0), &all, &wanted, now), None);
    engine.advice.gated = true;
    engine.pinned = Some(A);
    assert_eq!(engine.stays_on(GroupId(0), &all, &wanted, now), None);
    assert_eq!(engine.switches_asked(), []);
}

#[test]
fn an_extra_route_needs_its_interface_and_finds_the_one_its_gateway_is_behind() {
    let link = |ifindex: u32, name: &str| Link {
        ifindex: Ifindex(ifindex),
        name: name.to_owned(),
        alternative_names: Vec::new(),
        layer: LinkLayer::Bare,
        admin_up: true,
        carrier: true,
        is_port: false,
        mtu_bytes: 1500,
    };
    let address = |ifindex: u32, address: [u8; 4]| Address {
        ifindex: Ifindex(ifindex),
        address: IpAddr::from(address),
        prefix_len: 24,
        global: true,
        usable: true,
        secondary: false,
    };
    let snapshot = Snapshot {
        links: vec![link(2, "lan"), link(3, "wan0")],
        addresses: vec![address(2, [10, 0, 0, 2]), address(3, [10, 0, 1, 2])],
        ..Snapshot::default()
    };
    let route = |gateway: Option<[u8; 4]>, interface: Option<&str>| ExtraRoute {
        destination: "198.51.100.0/24".parse().unwrap(),
        gateway: gateway.map(IpAddr::from),
        interface: interface.map(str::to_owned),
        metric: Metric(7),
        table: TableId::MAIN,
    };
    let by = |ifindex: u32, gateway: [u8; 4], onlink: bool| {
        Some(NextHop::Gateway {
            ifindex: Ifindex(ifindex),
            gateway: IpAddr::from(gateway),
            onlink,
        })
    };
    let device = NextHop::Device {
        ifindex: Ifindex(3),
    };
    for (route, expected) in [
        (route(None, Some("wan0")), Some(device)),
        (route(None, Some("wan9")), None),
        (
            route(Some([10, 0, 1, 1]), None),
            by(3, [10, 0, 1, 1], false),
        ),
        (route(Some([10, 0, 9, 1]), None), None),
        (
            route(Some([10, 0, 9, 1]), Some("lan")),
            by(2, [10, 0, 9, 1], true),
        ),
    ] {
        assert_eq!(route.next_hop(&snapshot), expected, "{route:?}");
    }
}
