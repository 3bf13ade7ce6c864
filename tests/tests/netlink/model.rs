//! The model beside the kernel: the same operations, the same answers, the same routes.

use pingu::{
    netlink::{RouteTable, model::FakeRoutes},
    network::{Change, NextHop, Route},
    units::{Ifindex, Protocol},
};

use crate::harness::{Lab, OWN, errno, ip, lab, over, via};

/// Operations of one run; each run starts from an empty table.
const OPERATIONS: u64 = 300;

#[test]
fn the_model_answers_as_the_kernel_does() {
    lab(async |mut lab| {
        for seed in 1..=6 {
            compare(&mut lab, seed).await;
        }
    });
}

#[test]
fn the_model_loses_routes_with_a_link_as_the_kernel_does() {
    lab(async |mut lab| {
        let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
        let mut fake = FakeRoutes::new(OWN);
        fake.now = lab.look().await;
        let routes = [
            via("10.0.0.1", up0, 100),
            over(false, up0, 101),
            via("10.1.0.1", up1, 102),
            via("2001:db8::1", up0, 100),
            over(true, up0, 101),
            via("2001:db8:1::1", up1, 102),
        ];
        for route in routes.clone() {
            step_both(&mut lab, &mut fake, Change::Add(route), "before").await;
        }
        ip("link set up0 down");
        fake.set_down(up0);
        let look = lab.look().await;
        assert_eq!(look.links, fake.now.links);
        assert_eq!(bare(look.routes), fake.now.routes);
        for route in routes.clone() {
            step_both(&mut lab, &mut fake, Change::Add(route), "while down").await;
        }
        ip("link del up0");
        fake.now.links.retain(|link| link.ifindex != up0);
        for route in routes {
            step_both(
                &mut lab,
                &mut fake,
                Change::Add(route.clone()),
                "without it",
            )
            .await;
            step_both(&mut lab, &mut fake, Change::Delete(route), "without it").await;
        }
    });
}

async fn compare(lab: &mut Lab, seed: u64) {
    let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
    let mut fake = FakeRoutes::new(OWN);
    fake.now = lab.look().await;
    assert_eq!(fake.now.routes, []);
    let (mut remembered, mut taken_over) = (Vec::new(), 0);
    let mut random = Random(seed);
    for step in 0..OPERATIONS {
        let route = random.route(up0, up1);
        let mut own = lab.look().await.routes;
        own.retain(|other| other.protocol == OWN);
        let beside = own
            .iter()
            .filter(|other| (other.ipv6(), other.metric) == (route.ipv6(), route.metric))
            .count();
        let change = match random.below(7) {
            0 | 1 => Change::Add(route),
            // The engine asks for it only beside exactly one.
            2 if beside == 1 => Change::AddBeside(route),
            2 => Change::Delete(route),
            // One that is there, so that the table never stays full.
            3 | 6 => match random.pick(&mut own) {
                Some(route) => Change::Delete(route),
                None => continue,
            },
            4 => {
                learn(lab, &mut fake, &mut random, (up0, up1)).await;
                continue;
            }
            _ => match random.pick(&mut remembered) {
                Some(route) => Change::Restore(route),
                None => continue,
            },
        };
        step_both(lab, &mut fake, change, &format!("seed {seed}, step {step}")).await;
        if random.below(4) == 0 {
            let routes = lab.look().await.routes;
            let foreign = routes
                .iter()
                .find(|route| route.protocol != OWN && route.next_hop.ifindex().is_some());
            if let Some(foreign) = foreign {
                remembered.push(foreign.clone());
                taken_over += 1;
                let change = Change::TakeOver(foreign.clone());
                step_both(lab, &mut fake, change, &format!("seed {seed}, step {step}")).await;
            }
        }
    }
    // Some were put back, or the run tried too little.
    assert!(taken_over > remembered.len());
    ip("-4 route flush default");
    ip("-6 route flush default");
}

/// Somebody else adds a route.
async fn learn(
    lab: &mut Lab,
    fake: &mut FakeRoutes,
    random: &mut Random,
    links: (Ifindex, Ifindex),
) {
    let route = Route {
        protocol: Protocol(16),
        ..random.route(links.0, links.1)
    };
    let device = if route.next_hop.ifindex() == Some(links.0) {
        "up0"
    } else {
        "up1"
    };
    let family = if route.ipv6() { "-6" } else { "-4" };
    let gateway = match &route.next_hop {
        NextHop::Gateway { gateway, .. } => format!("via {gateway}"),
        _ => String::new(),
    };
    let metric = route.metric;
    let line =
        format!("{family} route add default {gateway} dev {device} metric {metric} proto dhcp");
    let done = std::process::Command::new("ip")
        .args(line.split_whitespace())
        .output()
        .unwrap();
    assert_eq!(done.status.success(), fake.put(route).is_ok(), "{line}");
    assert_eq!(
        bare(lab.look().await.routes),
        bare(fake.snapshot().await.unwrap().routes)
    );
}

async fn step_both(lab: &mut Lab, fake: &mut FakeRoutes, change: Change, when: &str) {
    let before = bare(lab.look().await.routes);
    let real = errno(&lab.routes.apply(&change).await);
    let modelled = errno(&fake.apply(&change).await);
    assert_eq!(real, modelled, "{when}: {change:?} in {before:#?}");
    let real = bare(lab.look().await.routes);
    let modelled = bare(fake.snapshot().await.unwrap().routes);
    assert_eq!(real, modelled, "{when}: {change:?} in {before:#?}");
}

/// Without the bytes, which the model makes up.
fn bare(routes: Vec<Route>) -> Vec<Route> {
    routes
        .into_iter()
        .map(|route| Route {
            wire: Vec::new(),
            ..route
        })
        .collect()
}

/// SplitMix64, so that a seed is a run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn route(&mut self, up0: Ifindex, up1: Ifindex) -> Route {
        let metric = 100 + u32::try_from(self.below(3)).unwrap();
        let (index, ifindex) = if self.below(2) == 0 {
            (0, up0)
        } else {
            (1, up1)
        };
        let host = 1 + self.below(2);
        match self.below(6) {
            0 => over(false, ifindex, metric),
            1 => over(true, ifindex, metric),
            // Not reachable over this interface.
            2 if host == 1 => via("192.0.2.1", ifindex, metric),
            3 if host == 1 => via("2001:db8:9::1", ifindex, metric),
            2 | 4 => via(&format!("10.{index}.0.{}", host * 7), ifindex, metric),
            _ => via(&format!("2001:db8:{index}::{}", host * 7), ifindex, metric),
        }
    }

    fn pick(&mut self, routes: &mut Vec<Route>) -> Option<Route> {
        let len = u64::try_from(routes.len()).unwrap();
        (len > 0).then(|| routes.swap_remove(usize::try_from(self.below(len)).unwrap()))
    }
}
