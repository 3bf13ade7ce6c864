//! A router with two Ethernet uplinks and a tunnel, all in a namespace of its own, and the adapter on it.

use std::{net::IpAddr, process::Command, time::Duration};

use pingu::{
    netlink::{KernelRoutes, NetlinkError, RouteTable, watch::Watch},
    network::{Change, Link, News, NextHop, Route, Snapshot, default_of},
    units::{Ifindex, Metric, Protocol, TableId},
};
use pingu_tests::bench::namespace::Namespace;

/// The protocol of the routes that the tests call own.
pub const OWN: Protocol = Protocol(136);

/// Long beyond anything that a kernel on a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What every test starts from. Both families on `up0` and `up1`, whose other ends answer; `tun0` has IPv4 only.
const ROUTER: &str = "
    addr add 10.0.0.2/24 dev up0
    addr add 10.1.0.2/24 dev up1
    -6 addr add 2001:db8:0::2/64 dev up0 nodad
    -6 addr add 2001:db8:1::2/64 dev up1 nodad
    tuntap add mode tun name tun0
    addr add 10.9.0.2 peer 10.9.0.1 dev tun0
    link set tun0 up";

/// The router.
pub struct Lab {
    pub routes: KernelRoutes,
    pub peer: Namespace,
}

/// Runs a test in an empty namespace, on a runtime like the daemon's.
pub fn in_namespace(test: impl AsyncFnOnce() + Send + 'static) {
    let namespace = Namespace::new().unwrap();
    // Addresses come by the tests' own doing, and settle at once.
    for (name, value) in [("accept_dad", "0"), ("addr_gen_mode", "1")] {
        let name = format!("net.ipv6.conf.default.{name}");
        namespace.sysctl(&name, value).unwrap();
    }
    namespace.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    });
}

/// Runs a test in a router of its own, on a runtime like the daemon's.
pub fn lab(test: impl AsyncFnOnce(Lab) + Send + 'static) {
    let router = Namespace::new().unwrap();
    let peer = Namespace::new().unwrap();
    // Addresses that settle later would be news that no test caused.
    router
        .sysctl("net.ipv6.conf.default.accept_dad", "0")
        .unwrap();
    router.veth("up0", &peer, "peer0").unwrap();
    router.veth("up1", &peer, "peer1").unwrap();
    for (name, index) in [("peer0", 0), ("peer1", 1)] {
        peer.ip(&format!("addr add 10.{index}.0.1/24 dev {name}"))
            .unwrap();
        let address = format!("2001:db8:{index}::1/64");
        peer.ip(&format!("-6 addr add {address} dev {name} nodad"))
            .unwrap();
    }
    router.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            for line in ROUTER.trim().lines() {
                ip(line);
            }
            let routes = KernelRoutes::new(OWN).unwrap();
            test(Lab { routes, peer }).await;
        });
    });
}

impl Lab {
    pub async fn look(&mut self) -> Snapshot {
        self.routes.snapshot().await.unwrap()
    }

    pub async fn link(&mut self, name: &str) -> Link {
        let links = self.look().await.links;
        links.into_iter().find(|link| link.name == name).unwrap()
    }

    pub async fn ifindex(&mut self, name: &str) -> Ifindex {
        self.link(name).await.ifindex
    }

    pub async fn apply(&mut self, change: Change) -> Result<(), NetlinkError> {
        self.routes.apply(&change).await
    }

    /// The only default route with this metric, of this family.
    pub async fn route(&mut self, ipv6: bool, metric: u32) -> Route {
        let routes = self.look().await.routes;
        let mut found = routes
            .into_iter()
            .filter(|route| (route.ipv6(), route.metric.0) == (ipv6, metric));
        let route = found.next().unwrap();
        assert_eq!(found.next(), None);
        route
    }
}

/// An own route by a gateway.
pub fn via(gateway: &str, ifindex: Ifindex, metric: u32) -> Route {
    let gateway: IpAddr = gateway.parse().unwrap();
    let next_hop = NextHop::Gateway {
        ifindex,
        gateway,
        onlink: false,
    };
    Route {
        next_hop,
        ..over(gateway.is_ipv6(), ifindex, metric)
    }
}

/// An own route over a device.
pub fn over(ipv6: bool, ifindex: Ifindex, metric: u32) -> Route {
    Route {
        destination: default_of(ipv6),
        table: TableId::MAIN,
        metric: Metric(metric),
        protocol: OWN,
        next_hop: NextHop::Device { ifindex },
        preferred_source: None,
        wire: Vec::new(),
    }
}

/// Runs `ip` in the calling thread's namespace and returns what it printed.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every default route of both families, in every table, with all that `ip` knows about it.
pub fn defaults() -> Vec<String> {
    let both = ip("-details -4 route show default table all")
        + &ip("-details -6 route show default table all");
    // `ip` names the table of every route but, of IPv4, those in main.
    let line = |line: &str| line.trim().replace(" table main", "");
    both.lines().map(line).collect()
}

/// The errno with which the kernel refused, or 0.
pub fn errno(result: &Result<(), NetlinkError>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(NetlinkError::Refused { source, .. }) => source.raw_os_error().unwrap_or(-1),
        Err(error) => panic!("{error}"),
    }
}

/// Begins to listen once nothing is announced any more that came of the router's making.
pub async fn watch() -> Watch {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        // The kernel works out these states some time after the links are up.
        let links = ip("-oneline link show up")
            .lines()
            .map(|line| line.contains(" state UP ") || line.contains(" state DOWN "))
            .filter(|settled| *settled)
            .count();
        let addresses = ip("-6 -oneline address show scope link");
        let settled = addresses.lines().count() == 2 && !addresses.contains("tentative");
        // Both uplinks and the tunnel; loopback's state stays unknown.
        if links == 3 && settled {
            // A state is seen before it is announced, but announced under the lock that this waits for.
            ip("link set lo up");
            return Watch::new(OWN).unwrap();
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{links} {addresses}"
        );
    }
}

/// The next news that is not of a neighbour must be of a change.
pub async fn changed(watch: &mut Watch, after: &str) {
    loop {
        match next(watch).await {
            News::Neighbour(_) => {}
            news => return assert_eq!(news, News::Changed, "{after}"),
        }
    }
}

/// The next news, which must come.
pub async fn next(watch: &mut Watch) -> News {
    tokio::time::timeout(DEADLINE, watch.next())
        .await
        .expect("no news")
        .unwrap()
}

/// The neighbour whose addition tells a test that everything before it has been heard.
const MARK: &str = "10.0.0.250";

/// Everything that was announced until here.
pub async fn heard(watch: &mut Watch) -> Vec<News> {
    ip(&format!(
        "neigh replace {MARK} lladdr 02:00:00:00:00:fa dev up0 nud permanent"
    ));
    let is_mark =
        |news: &News| matches!(news, News::Neighbour(entry) if entry.address.to_string() == MARK);
    let mut all = Vec::new();
    loop {
        match next(watch).await {
            news if is_mark(&news) => break,
            news => all.push(news),
        }
    }
    ip(&format!("neigh del {MARK} dev up0"));
    // The deletion's own news.
    while !is_mark(&next(watch).await) {}
    all
}
