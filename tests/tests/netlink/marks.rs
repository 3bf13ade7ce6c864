//! The table that marks connections by their uplink: what stays where it began, what does not, and what the table leaves alone.

use pingu::{config::Config, firewall::MarkTable};
use pingu_tests::lab::{
    flows::{Tcp, Udp},
    wait::wait_until,
};

use crate::router::{BY_UP1, DEADLINE, FAR, FAR_V6, Site, UP0, UP1};

/// What the daemon itself does with `table` and `fwmark`.
const RULES: &str = "
    route add default via 10.0.0.1 table 100
    route add default via 10.1.0.1 table 101
    -6 route add default via 2001:db8::1 table 100
    -6 route add default via 2001:db8:1::1 table 101
    rule add fwmark 0x100/0xff00 table 100
    rule add fwmark 0x200/0xff00 table 101
    -6 rule add fwmark 0x100/0xff00 table 100
    -6 rule add fwmark 0x200/0xff00 table 101";

fn table(marks: [&str; 2]) -> MarkTable {
    let [first, second] = marks;
    let text = format!(
        "mark_connections = true\n[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"up0\"\ntable = 100\n\
         fwmark = \"{first}\"\n[[uplink]]\nname = \"b\"\ninterface = \"up1\"\ntable = 101\nfwmark = \"{second}\"\n"
    );
    let (config, _) = Config::parse(&text, "f").unwrap();
    MarkTable::new(&config).unwrap()
}

/// Runs something in the router, on a runtime like the daemon's.
fn run<R: Send>(site: &Site, job: impl AsyncFnOnce() -> R + Send) -> R {
    site.router.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(job())
    })
}

fn marked_site() -> (Site, MarkTable) {
    let site = Site::new();
    RULES
        .trim()
        .lines()
        .for_each(|line| drop(site.router.ip(line)));
    let mut table = table(["0x100/0xff00", "0x200/0xff00"]);
    let foreign = site.foreign();
    assert!(run(&site, async || table.keep(&[]).await.unwrap()));
    assert_eq!(site.foreign(), foreign);
    (site, table)
}

#[test]
fn connections_stay_on_the_uplink_that_they_first_left_by() {
    let (site, _table) = marked_site();
    let mut old = [
        Tcp::connect(&site.lan, FAR),
        Tcp::connect(&site.router, FAR),
        Tcp::connect(&site.lan, BY_UP1),
    ];
    let old_v6 = Tcp::connect(&site.lan, FAR_V6);
    let udp = Udp::connect(&site.lan, FAR);
    let addresses = [UP0, UP0, UP1];
    site.fail_over();
    // The other way round for the one that began there.
    site.router.ip("route replace 198.51.100.2 via 10.0.0.1");
    for (connection, address) in old.iter_mut().zip(addresses) {
        assert_eq!(connection.seen_as().to_string(), address);
    }
    let mut old_v6 = old_v6;
    assert_eq!(old_v6.seen_as().to_string(), "2001:db8::2");
    assert_eq!(udp.seen_as().to_string(), UP0);
    // New ones follow the main table.
    for from in [&site.lan, &site.router] {
        assert_eq!(Tcp::connect(from, FAR).seen_as().to_string(), UP1);
        assert_eq!(Udp::connect(from, FAR).seen_as().to_string(), UP1);
        assert_eq!(Tcp::connect(from, BY_UP1).seen_as().to_string(), UP0);
    }
    let new_v6 = Tcp::connect(&site.lan, FAR_V6).seen_as().to_string();
    assert_eq!(new_v6, "2001:db8:1::2");
}

#[test]
fn answers_leave_by_the_uplink_that_the_question_came_by() {
    let (site, _table) = marked_site();
    // The main table leads back by the other one, where the Internet drops this source.
    site.router.ip("route del 198.51.100.2 via 10.1.0.1");
    site.internet
        .ip("route add 10.1.0.2 dev p1 src 198.51.100.2");
    let mut to_router = Tcp::connect(&site.internet, UP1);
    assert_eq!(to_router.seen_as().to_string(), BY_UP1);
    site.router.nft(
        "table ip forwarded { chain c { type nat hook prerouting priority dstnat;
         iifname \"up1\" tcp dport 7 dnat to 192.168.1.5; }\n}",
    );
    let mut to_lan = Tcp::connect(&site.internet, UP1);
    assert_eq!(to_lan.seen_as().to_string(), BY_UP1);
    assert_eq!(to_router.seen_as().to_string(), BY_UP1);
    let lines = site.connections();
    let behind = " src=192.168.1.5 dst=198.51.100.2 ";
    assert!(lines.iter().any(|line| line.contains(behind)), "{lines:#?}");
}

/// Such an error belongs to the connection that it is about, and would follow its mark out of the uplink.
#[test]
fn errors_about_a_marked_connection_reach_the_lan() {
    let (site, _table) = marked_site();
    let flow = Udp::connect(&site.lan, FAR);
    site.lan.nft(
        "table ip seen { counter errors { }
         chain c { type filter hook input priority 0; icmp type time-exceeded counter name errors; }\n}",
    );
    flow.0.set_ttl(1).unwrap();
    flow.0.send(b"?").unwrap();
    wait_until("an ICMP error", DEADLINE, || {
        let counters = site.lan.run(&["nft", "list", "counters"]);
        if counters.contains("packets 1 ") {
            Ok(())
        } else {
            Err(counters)
        }
    });
}

#[test]
fn marks_that_others_set_are_left_as_they_are() {
    let (site, _table) = marked_site();
    site.router.nft(
        "table inet others { chain early { type filter hook prerouting priority mangle;
         ip daddr 198.51.100.1 tcp dport 7 meta mark set 0x200;
         ip daddr 198.51.100.2 tcp dport 7 ct state new ct mark set 0x300;
         udp dport 7 ct state new ct mark set 0x10003; }\n}",
    );
    // Somebody's packet mark leads to the second uplink, at first and later.
    let mut tcp = Tcp::connect(&site.lan, FAR);
    let mut other = Tcp::connect(&site.lan, BY_UP1);
    let udp = Udp::connect(&site.lan, FAR);
    assert_eq!(tcp.seen_as().to_string(), UP1);
    assert_eq!(other.seen_as().to_string(), UP1);
    assert_eq!(udp.seen_as().to_string(), UP0);
    let lines = site.connections();
    let mark = |flow: [&str; 2]| {
        let mut lines = lines.iter();
        let line = lines.find(|line| flow.iter().all(|word| line.contains(word)));
        let (_, after) = line.unwrap().split_once("mark=").unwrap();
        let value = after.split_whitespace().next().unwrap();
        value.parse::<u32>().unwrap()
    };
    assert_eq!(mark([" tcp ", FAR]), 0x200);
    // Bits of the mask that somebody has set stay, and so do those beside the mask.
    assert_eq!(mark([" tcp ", BY_UP1]), 0x300);
    assert_eq!(mark([" udp ", FAR]), 0x10103);

    // A packet of a connection of the first uplink that somebody leads to the second goes there.
    site.router.nft(
        "flush table inet others
         table inet others { counter led { }
         chain early { udp dport 7 meta mark set 0x200; }
         chain last { type filter hook postrouting priority 300; oifname \"up1\" udp dport 7 counter name led; }\n}",
    );
    udp.0.send(b"?").unwrap();
    wait_until("a packet on the second uplink", DEADLINE, || {
        let counters = site.router.run(&["nft", "list", "counters"]);
        if counters.contains("packets 1 ") {
            Ok(())
        } else {
            Err(counters)
        }
    });
}

#[test]
fn the_table_comes_back_when_somebody_takes_it_away() {
    let (site, mut table) = marked_site();
    let original = site.router.run(&["nft", "list", "table", "inet", "pingu"]);
    let mut keep = |what: &str, repaired: bool| {
        site.router.nft(what);
        assert_eq!(
            run(&site, async || table.keep(&[]).await.unwrap()),
            repaired,
            "{what}"
        );
        let now = site.router.run(&["nft", "list", "table", "inet", "pingu"]);
        assert_eq!(now, original, "{what}");
    };
    keep("", false);
    keep("add table ip unrelated", false);
    keep("flush ruleset", true);
    keep("", false);
    keep("flush table inet pingu", true);
    keep("flush chain inet pingu restore_0", true);
    keep("add rule inet pingu arrive accept", true);
    keep("delete table inet pingu", true);
    keep("", false);

    site.router.nft(crate::router::FOREIGN);
    let foreign = site.foreign();
    // A start after a crash finds the old table; an end without one is no error.
    let mut next = crate::marks::table(["1", "2"]);
    assert!(run(&site, async || next.keep(&[]).await.unwrap()));
    assert!(
        site.router
            .run(&["nft", "list", "table", "inet", "pingu"])
            .contains("0x00000002")
    );
    for _ in 0..2 {
        run(&site, async || next.remove().await.unwrap());
        assert_eq!(site.router.run(&["nft", "list", "ruleset"]), foreign);
    }
}
