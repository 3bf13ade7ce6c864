//! The global `pingu` of a script that decides alone: its log and its timers. There are no uplinks to rank.

use std::sync::Arc;

use crate::{
    engine::UplinkView,
    script::module::{Host, Pen, RouteOrder},
};

/// What the script's wishes are made to.
pub(super) struct Alone(pub(super) Pen);

impl Host for Alone {
    fn uplinks(&self) -> Arc<Vec<UplinkView>> {
        Arc::default()
    }

    fn prefer(&self, _: Option<&str>) -> Result<(), String> {
        refuse("prefers no uplink")
    }

    fn pin(&self, _: Option<&str>) -> Result<(), String> {
        refuse("pins no uplink")
    }

    fn route(&self, _: RouteOrder) -> Result<(), String> {
        refuse("has os.execute(\"ip route ...\") for routes")
    }

    fn log(&self, text: &str) {
        if let Some(text) = self.0.take(text) {
            tracing::info!("{text}");
        }
    }
}

fn refuse(what: &str) -> Result<(), String> {
    Err(format!(
        "a script that runs alone {what}; `script =` in a configuration runs one that does"
    ))
}
