//! Nexthop objects, as `net/ipv4/nexthop.c` keeps them, and rules, as `net/core/fib_rules.c` does.

use std::net::IpAddr;

use super::{
    Addition, Answer, Errno, FakeKernel, PROTOCOL_KERNEL, RuleDeletion, Verb,
    request::natural_scope,
};
use crate::{
    network::{NextHop, Nexthop, NexthopKind, Rule, Selector, default_of},
    units::{Ifindex, Metric, NexthopId, TableId},
};

impl FakeKernel {
    /// Makes a nexthop object with a free number.
    pub fn add_nexthop(&mut self, object: &Nexthop) -> Answer {
        self.check_nexthop(object)?;
        if self.objects.contains_key(&object.id) {
            return Err(Errno(libc::EEXIST));
        }
        self.objects.insert(object.id, object.clone());
        Ok(())
    }

    /// Makes a nexthop object or changes it in place.
    pub fn replace_nexthop(&mut self, object: &Nexthop) -> Answer {
        self.check_nexthop(object)?;
        let is_group = matches!(object.kind, NexthopKind::Group(_));
        if self.objects.contains_key(&object.id) && self.is_group(object.id) != is_group {
            return Err(Errno(libc::EINVAL));
        }
        let mut object = object.clone();
        if let Some(before) = self.objects.get(&object.id).filter(|_| is_group) {
            // A group keeps what made it.
            object.protocol = before.protocol;
        }
        self.objects.insert(object.id, object);
        Ok(())
    }

    /// Deletes a nexthop object: it leaves its groups, groups without members go, and so do the routes that used any of them.
    pub fn delete_nexthop(&mut self, id: NexthopId) -> Answer {
        if self.objects.remove(&id).is_none() {
            return Err(Errno(libc::ENOENT));
        }
        let mut gone = vec![id];
        self.objects.retain(|&group, object| {
            let NexthopKind::Group(members) = &mut object.kind else {
                return true;
            };
            members.retain(|(member, _)| *member != id);
            let is_empty = members.is_empty();
            if is_empty {
                gone.push(group);
            }
            !is_empty
        });
        self.drop_entries(
            |_, _, entry| matches!(&entry.next_hop, NextHop::Object(id) if gone.contains(id)),
        );
        Ok(())
    }

    /// Every nexthop object.
    pub fn nexthops(&self) -> Vec<Nexthop> {
        self.objects.values().cloned().collect()
    }

    pub(super) fn flush_nexthops(&mut self, ifindex: Ifindex) {
        let over_it: Vec<NexthopId> = self
            .objects
            .values()
            .filter(|object| matches!(&object.kind, NexthopKind::Single(hop) if hop.ifindex() == Some(ifindex)))
            .map(|object| object.id)
            .collect();
        for id in over_it {
            // It was there, or it went with one before it.
            let _ = self.delete_nexthop(id);
        }
    }

    pub(super) fn is_group(&self, id: NexthopId) -> bool {
        let object = self.objects.get(&id);
        object.is_some_and(|object| matches!(object.kind, NexthopKind::Group(_)))
    }

    /// Every interface that a next hop may leave by.
    pub(super) fn interfaces_of(&self, next_hop: &NextHop) -> Vec<Ifindex> {
        match next_hop {
            NextHop::Object(id) => self
                .single_hops(*id)
                .iter()
                .filter_map(NextHop::ifindex)
                .collect(),
            hop => hop.ifindex().into_iter().collect(),
        }
    }

    pub(super) fn has_gateway(&self, next_hop: &NextHop, ifindex: Ifindex) -> bool {
        let is_gateway = |hop: &NextHop| matches!(hop, NextHop::Gateway { .. });
        match next_hop {
            NextHop::Object(id) => self
                .single_hops(*id)
                .iter()
                .find(|hop| hop.ifindex() == Some(ifindex))
                .is_some_and(is_gateway),
            hop => is_gateway(hop),
        }
    }

    pub(super) fn single_hops(&self, id: NexthopId) -> Vec<NextHop> {
        match self.objects.get(&id).map(|object| &object.kind) {
            Some(NexthopKind::Single(hop)) => vec![hop.clone()],
            Some(NexthopKind::Group(members)) => members
                .iter()
                .flat_map(|(member, _)| self.single_hops(*member))
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn check_nexthop(&self, object: &Nexthop) -> Answer {
        let invalid = Err(Errno(libc::EINVAL));
        match &object.kind {
            NexthopKind::Single(hop) => {
                let Some(ifindex) = hop.ifindex() else {
                    return invalid;
                };
                match self.devices.get(&ifindex) {
                    None => return invalid,
                    Some(device) if !device.link.carrier => return Err(Errno(libc::ENETDOWN)),
                    Some(_) => {}
                }
                // It is checked as a route's next hop in main would be.
                let mut probe = self.clone();
                probe.route(
                    Verb::Replace,
                    &Addition {
                        destination: default_of(object.ipv6),
                        table: TableId::MAIN,
                        tos: 0,
                        metric: Metric(u32::MAX),
                        protocol: object.protocol,
                        next_hop: hop.clone(),
                        scope: natural_scope(hop, object.ipv6),
                        preferred_source: None,
                    },
                )
            }
            NexthopKind::Group(members) => {
                let mut seen = Vec::new();
                for (member, weight) in members {
                    let there = self.objects.contains_key(member) && !self.is_group(*member);
                    if !there || seen.contains(member) || *weight == 0 {
                        return invalid;
                    }
                    seen.push(*member);
                }
                if members.is_empty() { invalid } else { Ok(()) }
            }
            NexthopKind::Other(_) => invalid,
        }
    }

    /// Adds a rule behind those of its priority.
    pub fn add_rule(&mut self, rule: &Rule) -> Answer {
        if self.rules.contains(rule) {
            return Err(Errno(libc::EEXIST));
        }
        let place = self
            .rules
            .partition_point(|other| (other.ipv6, other.priority) <= (rule.ipv6, rule.priority));
        self.rules.insert(place, rule.clone());
        Ok(())
    }

    /// Deletes the first rule with the given attributes.
    pub fn delete_rule(&mut self, asked: &RuleDeletion) -> Answer {
        let takes = |rule: &Rule| {
            rule.ipv6 == asked.ipv6
                && asked.priority.is_none_or(|asked| asked == rule.priority)
                && asked.table.is_none_or(|asked| asked == rule.table)
                && asked.protocol.is_none_or(|asked| asked == rule.protocol)
                && asked
                    .selector
                    .as_ref()
                    .is_none_or(|asked| *asked == rule.selector)
        };
        match self.rules.iter().position(takes) {
            Some(place) => {
                self.rules.remove(place);
                Ok(())
            }
            None => Err(Errno(libc::ENOENT)),
        }
    }

    /// Every rule, IPv4's first, in the order in which they are asked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// `ip rule flush`: all but the one with priority 0.
    pub fn flush_rules(&mut self, ipv6: bool) {
        self.rules
            .retain(|rule| rule.ipv6 != ipv6 || rule.priority == 0);
    }
}

/// What every namespace begins with: tables local, main and, of IPv4, default.
pub(super) fn first_rules() -> Vec<Rule> {
    let all = |ipv6, priority, table| Rule {
        ipv6,
        priority,
        selector: Selector::From(default_of(ipv6)),
        table: TableId(table),
        protocol: PROTOCOL_KERNEL,
    };
    vec![
        all(false, 0, 255),
        all(false, 32_766, 254),
        all(false, 32_767, 253),
        all(true, 0, 255),
        all(true, 32_766, 254),
    ]
}

/// Whether an address belongs to a family.
pub(super) fn of_family(address: IpAddr, ipv6: bool) -> bool {
    address.is_ipv6() == ipv6
}
