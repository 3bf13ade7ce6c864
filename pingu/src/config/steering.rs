//! What keeps traffic from going to and fro: `[damping]` and `prefer_better`.

use std::time::Duration;

use super::{
    check::between,
    duration, keys,
    reader::{At, Reader},
};
use crate::engine::penalty_ceiling;

/// Far more than anything that falls a thousand at a time can gather.
const PENALTY_MAX: u32 = 1_000_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// Flap damping in the manner of RFC 2439 (`[damping]`). Each fall of an uplink adds 1000 to its penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DampingConfig {
    /// In this time a penalty halves.
    pub half_life: Duration,
    /// Above this penalty an uplink is suppressed: used only if nothing else is up.
    pub suppress: u32,
    /// Until the penalty has decayed to this; below `suppress`.
    pub reuse: u32,
    /// No penalty grows so high that its decay to `reuse` would take longer.
    pub max_suppress: Duration,
}

/// When a healthy uplink takes over from one that is healthy but worse (`prefer_better`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreferBetter {
    /// Better by so much mean RTT.
    pub by_delay: Duration,
    /// Or by so much loss, in percent.
    pub by_loss_percent: u8,
    /// For so long without a break.
    pub for_time: Duration,
}

/// Reads `[damping]`; none without it.
pub(super) fn damping(top: &mut Reader<'_, '_, '_>) -> Option<DampingConfig> {
    let mut reader = top.table("damping")?;
    let half_life = reader.duration("half_life", between(1000, DAY_MS));
    let suppress = reader.integer("suppress", 1..=PENALTY_MAX);
    let reuse = reader.integer("reuse", 1..=PENALTY_MAX);
    let max_suppress = reader.duration("max_suppress", between(1000, DAY_MS));
    let defaults = keys::DAMPING_DEFAULT;
    let value = |at: &Option<At<Duration>>, default| at.as_ref().map_or(default, |at| at.value);
    let config = DampingConfig {
        half_life: value(&half_life, defaults.half_life),
        suppress: suppress.as_ref().map_or(defaults.suppress, |at| at.value),
        reuse: reuse.as_ref().map_or(defaults.reuse, |at| at.value),
        max_suppress: value(&max_suppress, defaults.max_suppress),
    };
    let header = reader.span.clone();
    if config.reuse >= config.suppress {
        let span = reuse.or(suppress).map_or(header.clone(), |at| at.span);
        let message = format!(
            "`damping.reuse` {} is not below `damping.suppress` {}",
            config.reuse, config.suppress
        );
        reader.error(span, message);
    } else if penalty_ceiling(&config) <= f64::from(config.suppress) {
        let span = max_suppress.or(half_life).map_or(header, |at| at.span);
        let message = format!(
            "`damping.max_suppress` {} is too short for `damping.half_life` {}: no penalty would ever exceed `damping.suppress` {}",
            duration::write(config.max_suppress),
            duration::write(config.half_life),
            config.suppress
        );
        reader.error(span, message);
    }
    reader.finish();
    Some(config)
}

/// Reads `prefer_better`; none without it.
pub(super) fn prefer_better(top: &mut Reader<'_, '_, '_>) -> Option<PreferBetter> {
    let mut reader = top.table("prefer_better")?;
    let by_delay = reader.duration("by_delay", between(1, 60_000));
    let by_loss = reader.integer("by_loss", 1..=100);
    let for_time = reader.duration("for", between(1000, DAY_MS));
    reader.finish();
    let defaults = keys::PREFER_BETTER_DEFAULT;
    Some(PreferBetter {
        by_delay: by_delay.map_or(defaults.by_delay, |at| at.value),
        by_loss_percent: by_loss.map_or(defaults.by_loss_percent, |at| {
            u8::try_from(at.value).expect("a percentage is at most 100")
        }),
        for_time: for_time.map_or(defaults.for_time, |at| at.value),
    })
}
