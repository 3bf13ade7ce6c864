//! What a judgement showed, in words for people.

use std::time::Duration;

use crate::{
    config::{HealthConfig, UplinkConfig},
    engine::evidence::{Basis, Judged},
};

/// What was judged, and where it is bad the limit that it broke.
pub(crate) fn describe(judged: &Judged, config: &UplinkConfig) -> String {
    let report = &judged.report;
    let limits = config.health.limits(judged.was_up);
    let to_recover = ToRecover::new(judged, &config.health);
    let (missing, rtt) = (report.missing(), report.rtt_mean);
    let judged_together = match judged.basis {
        Basis::Burst => config.probe.mode.burst().count.into(),
        Basis::Row | Basis::Window => missing + report.answered,
    };
    let allowed = limits.loss.of(judged_together);
    match (missing, report.answered) {
        (0, 0) => match report.errno {
            Some(errno) => format!("nothing sent: {}", std::io::Error::from_raw_os_error(errno)),
            None => "probes vanish before they leave".to_owned(),
        },
        (_, 0) if judged.basis == Basis::Row => format!("{missing} in a row lost"),
        (_, 0) => format!("{missing} of {judged_together} lost"),
        (_, _) if missing <= allowed && rtt >= limits.max_delay => format!(
            "mean RTT {}, limit {} ms{}",
            rounded(rtt),
            limits.max_delay.as_secs_f64() * 1e3,
            to_recover.delay
        ),
        (_, _) if missing <= allowed && report.is_unsteady(limits) => format!(
            "jitter {}, limit {} ms{}",
            rounded(report.jitter.unwrap_or_default()),
            limits.max_jitter.unwrap_or_default().as_secs_f64() * 1e3,
            to_recover.jitter
        ),
        (0, _) => format!("answers in {}", rounded(rtt)),
        (_, _) => format!(
            "{missing} of {judged_together} lost, limit {}{}; mean RTT {}",
            limits.loss,
            to_recover.loss,
            rounded(rtt)
        ),
    }
}

/// What is put behind a limit that is stricter because the target was not up.
struct ToRecover {
    loss: &'static str,
    delay: &'static str,
    jitter: &'static str,
}

impl ToRecover {
    fn new(judged: &Judged, health: &HealthConfig) -> Self {
        let behind = |is_stricter: bool| {
            if is_stricter && !judged.was_up {
                " to recover"
            } else {
                ""
            }
        };
        let (fail, recover) = (&health.fail, &health.recover);
        Self {
            loss: behind(recover.loss != fail.loss),
            delay: behind(recover.max_delay != fail.max_delay),
            jitter: behind(recover.max_jitter != fail.max_jitter),
        }
    }
}

fn rounded(rtt: Duration) -> String {
    match rtt.as_micros() {
        us if us < 1000 => format!("{us} us"),
        us => format!("{:.1} ms", us as f64 / 1e3),
    }
}
