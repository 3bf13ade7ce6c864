//! How own rules are told from others'.

use std::collections::HashSet;

use crate::{
    engine::reconcile::is_own,
    network::{Rule, Selector, Snapshot},
    units::{Protocol, TableId},
};

/// How own rules are told from others'.
///
/// systemd-networkd removes foreign rules but those of protocol `kernel`. Own rules may carry that one; then the table that they lead
/// to tells them. Their priority does not: another pingu has the same, and a changed one would leave the old rules behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMark {
    /// The protocol that own rules carry.
    pub protocol: Protocol,
    /// The tables of the uplinks.
    pub tables: Vec<TableId>,
}

impl Default for RuleMark {
    /// Only rules of pingu's own protocol are own.
    fn default() -> Self {
        Self {
            protocol: Protocol(0),
            tables: Vec::new(),
        }
    }
}

impl RuleMark {
    /// The rules of one look that are pingu's.
    pub fn own_rules<'a>(
        &'a self,
        actual: &'a Snapshot,
        own: Protocol,
    ) -> impl Iterator<Item = &'a Rule> {
        // A table that the configuration has no more is known by the own routes that an earlier run left there.
        let own_routes = actual.routes.iter().filter(|route| is_own(route, own));
        let tables = own_routes.map(|route| route.table);
        let tables: HashSet<TableId> = tables.chain(self.tables.iter().copied()).collect();
        let rules = actual.rules.iter();
        rules.filter(move |rule| self.is_own(rule, own, &tables))
    }

    fn is_own(&self, rule: &Rule, own: Protocol, tables: &HashSet<TableId>) -> bool {
        let leads_to_a_made_table = rule.table.0 != 0 && !TableId::BUILT_IN.contains(&rule.table);
        let leads_to_own = leads_to_a_made_table && tables.contains(&rule.table);
        !matches!(rule.selector, Selector::Other(_))
            && (rule.protocol == own || (rule.protocol == self.protocol && leads_to_own))
    }
}
