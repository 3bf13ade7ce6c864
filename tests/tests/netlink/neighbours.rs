//! Asking for a neighbour: the kernel resolves it, or says that nobody answers.

use std::net::IpAddr;

use pingu::{
    netlink::{RouteTable, watch::Watch},
    network::{NeighbourState, News},
    units::Ifindex,
};

use crate::harness::{Lab, OWN, ip, lab, next};

#[test]
fn a_solicited_neighbour_is_resolved() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        let mac = lab.peer.mac("peer0").unwrap();
        for text in ["10.0.0.1", "2001:db8::1"] {
            let state = settled(&mut lab, up0, text).await;
            assert_eq!(state, NeighbourState::Usable(mac));
            let neighbours = lab.look().await.neighbours;
            let entry = neighbours
                .iter()
                .find(|entry| entry.address.to_string() == text)
                .unwrap();
            assert_eq!((entry.ifindex, entry.state), (up0, state));
        }
    });
}

#[test]
fn a_neighbour_that_does_not_answer_fails() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        for text in ["10.0.0.77", "2001:db8::77"] {
            assert_eq!(settled(&mut lab, up0, text).await, NeighbourState::Failed);
        }
    });
}

#[test]
fn a_stale_neighbour_is_confirmed() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        let mac = lab.peer.mac("peer0").unwrap();
        ip("neigh add 10.0.0.1 lladdr 02:00:00:00:00:99 dev up0 nud stale");
        // The wrong address is asked first, nobody has it, and the broadcast that follows finds the right one.
        ip("link set up0 type veth");
        std::fs::write("/proc/sys/net/ipv4/neigh/up0/delay_first_probe_time", "0").unwrap();
        let mut watch = Watch::new(OWN).unwrap();
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        lab.routes.solicit(up0, address).await.unwrap();
        loop {
            if let News::Neighbour(entry) = next(&mut watch).await
                && entry.address == address
                && entry.state != NeighbourState::Usable([2, 0, 0, 0, 0, 0x99])
            {
                assert!(matches!(
                    entry.state,
                    NeighbourState::Failed | NeighbourState::Usable(_)
                ));
                if entry.state == NeighbourState::Usable(mac) {
                    break;
                }
                lab.routes.solicit(up0, address).await.unwrap();
            }
        }
    });
}

#[test]
fn a_deleted_neighbour_is_a_failed_one() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev up0 nud permanent");
        let mut watch = Watch::new(OWN).unwrap();
        ip("neigh del 10.0.0.9 dev up0");
        let News::Neighbour(entry) = next(&mut watch).await else {
            panic!("other news");
        };
        assert_eq!(
            (entry.ifindex, entry.address.to_string().as_str()),
            (up0, "10.0.0.9")
        );
        assert_eq!(entry.state, NeighbourState::Failed);
    });
}

/// Asks for a neighbour and waits for an answer.
async fn settled(lab: &mut Lab, ifindex: Ifindex, text: &str) -> NeighbourState {
    let mut watch = Watch::new(OWN).unwrap();
    let address: IpAddr = text.parse().unwrap();
    lab.routes.solicit(ifindex, address).await.unwrap();
    loop {
        if let News::Neighbour(entry) = next(&mut watch).await
            && entry.address == address
            && entry.state != NeighbourState::Incomplete
        {
            assert_eq!(entry.ifindex, ifindex);
            return entry.state;
        }
    }
}

/// The kernel trusts a reachable entry for half a minute; doubted, it finds out at once.
#[test]
fn a_doubted_neighbour_that_is_gone_fails_and_one_that_answers_stays() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        for (text, gone) in [("10.0.0.1", "10.0.0.66"), ("2001:db8::1", "2001:db8::66")] {
            let mac = NeighbourState::Usable(lab.peer.mac("peer0").unwrap());
            assert_eq!(settled(&mut lab, up0, text).await, mac);
            ip(&format!(
                "neigh add {gone} lladdr 02:00:00:00:00:66 dev up0 nud reachable"
            ));
            let mut watch = Watch::new(OWN).unwrap();
            for text in [text, gone] {
                let address: IpAddr = text.parse().unwrap();
                lab.routes.doubt(up0, address).await.unwrap();
            }
            let mut probed = false;
            loop {
                let News::Neighbour(entry) = next(&mut watch).await else {
                    continue;
                };
                if entry.address.to_string() == text {
                    assert_eq!(entry.state, mac);
                    probed = true;
                }
                if entry.address.to_string() == gone && entry.state == NeighbourState::Failed {
                    break;
                }
            }
            assert!(probed, "{text}");
            let shown = ip(&format!("neigh show {text} dev up0"));
            assert!(shown.contains("REACHABLE"), "{shown}");
        }
        // One that is not there is no error.
        let nobody: IpAddr = "10.0.0.67".parse().unwrap();
        lab.routes.doubt(up0, nobody).await.unwrap();
    });
}
