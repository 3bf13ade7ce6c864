//! Rules: what is written is what is read, and others' stay as they are.

use pingu::{
    network::{Change, Rule, Selector},
    units::{Protocol, TableId},
};

use crate::harness::{ip, lab};

/// `RTPROT_KERNEL`.
const KERNEL: Protocol = Protocol(2);

fn rule(selector: Selector, ipv6: bool) -> Rule {
    Rule {
        ipv6,
        priority: 21_000,
        selector,
        table: TableId(201),
        protocol: KERNEL,
    }
}

fn bound_to(interface: &str, from: Option<&str>) -> Selector {
    Selector::Bound {
        interface: interface.to_owned(),
        from: from.map(|from| from.parse().unwrap()),
    }
}

fn all_rules() -> String {
    ip("-details -4 rule show") + &ip("-details -6 rule show")
}

#[test]
fn a_rule_is_added_seen_and_deleted_exactly() {
    lab(async |mut lab| {
        ip("rule add from 10.0.0.2 lookup 201 priority 21000 protocol boot");
        ip("rule add fwmark 0x100/0xff00 lookup 201 priority 21000 iif up0");
        ip("rule add oif up0 lookup 201 priority 21001 protocol kernel");
        ip("rule add oif up0 lookup 202 priority 21000 protocol kernel");
        let foreign = all_rules();
        let before = lab.look().await.rules;
        let kinds = [
            rule(Selector::From("10.0.0.2/32".parse().unwrap()), false),
            rule(Selector::From("2001:db8::2/128".parse().unwrap()), true),
            rule(Selector::From("10.0.0.0/24".parse().unwrap()), false),
            rule(
                Selector::Mark {
                    value: 0x100,
                    mask: 0xff00,
                },
                false,
            ),
            rule(
                Selector::Mark {
                    value: 7,
                    mask: u32::MAX,
                },
                true,
            ),
            rule(bound_to("up0", None), false),
            rule(bound_to("up1", None), true),
            rule(bound_to("up1", Some("10.0.0.2/32")), false),
            rule(bound_to("up0", Some("2001:db8::2/128")), true),
            // A rule may be there before its interface.
            rule(bound_to("nowhere", None), false),
        ];
        for rule in kinds {
            for _ in 0..2 {
                lab.apply(Change::AddRule(rule.clone())).await.unwrap();
            }
            let now = lab.look().await.rules;
            assert_eq!(now.iter().filter(|found| **found == rule).count(), 1);
            assert_eq!(now.len(), before.len() + 1, "{now:?}");
            for _ in 0..2 {
                lab.apply(Change::DeleteRule(rule.clone())).await.unwrap();
            }
            assert_eq!(all_rules(), foreign, "{rule}");
        }
    });
}

#[test]
fn rules_that_say_more_are_others_whatever_their_priority() {
    lab(async |mut lab| {
        for line in [
            "rule add from 10.0.0.2 lookup 201 priority 21000 protocol kernel tos 0x10",
            "rule add from 10.0.0.2 lookup 201 priority 21000 protocol kernel suppress_prefixlength 0",
            "rule add not from 10.0.0.3 lookup 201 priority 21000 protocol kernel",
            "rule add from 10.0.0.2 fwmark 1 lookup 201 priority 21000 protocol kernel",
            "rule add oif up0 fwmark 1 lookup 201 priority 21000 protocol kernel",
            "rule add oif up0 iif up1 lookup 201 priority 21000 protocol kernel",
            "rule add to 10.0.0.2 lookup 201 priority 21000 protocol kernel",
            "rule add from 10.0.0.2 unreachable priority 21000 protocol kernel",
            "rule add from 10.0.0.2 ipproto tcp dport 80 lookup 201 priority 21000 protocol kernel",
        ] {
            ip(line);
            let rules = lab.look().await.rules;
            let others = rules.iter().filter(|rule| rule.priority == 21_000);
            for rule in others {
                assert!(
                    matches!(rule.selector, Selector::Other(_)),
                    "{line}: {rule:?}"
                );
            }
        }
    });
}
