//! What a judgement showed, in words for people.

use std::time::Duration;

use crate::{
    config::{HealthConfig, Limits, LossLimit, ProbeMode, Rule, UplinkConfig},
    engine::{
        causes::{CauseKind, words},
        evidence::{Basis, Judged},
        health::Verdict,
        path::Path,
    },
    network::Link,
};

/// What was judged last of a path, and where probes were not answered the main cause; none if nothing was judged yet.
pub(crate) fn of_path(path: &Path, config: &UplinkConfig, links: &[Link]) -> Option<String> {
    let judged = path.record.judged.as_ref()?;
    let mut told = describe(judged, config);
    if let Some(limit) = path.rate_limit(&config.probe) {
        told = format!(
            "{told}; rate-limited: {} answers {limit} at a time",
            path.target
        );
    }
    if let Some(interval) = path.slowed_to(&config.probe) {
        told = format!(
            "{told}; rate-limited: {} is asked each {} ms",
            path.target,
            interval.as_millis()
        );
    }
    Some(match cause_of(path, judged, config, links) {
        Some(cause) => format!("{told}; {cause}"),
        None => told,
    })
}

/// The main cause of what was not answered, in words; none where it is silence, which the numbers tell already.
fn cause_of(path: &Path, judged: &Judged, config: &UplinkConfig, links: &[Link]) -> Option<String> {
    let report = &judged.report;
    let missing = report.missing() + report.not_sent;
    let causes = &path.record.causes;
    if missing == 0 {
        return None;
    }
    let said = judged.cause.map(|(id, count)| (causes.get(id), count));
    if let Some((cause, count)) = said.filter(|(cause, _)| cause.kind != CauseKind::NoReply) {
        let count = count.min(missing);
        return words::phrase(
            cause,
            (links, &config.interface),
            &format!(" {count} of {missing}"),
        );
    }
    // A router gives up its own search for the next hop, and says so, seconds after the probes count as lost.
    let since = judged.started.checked_sub(config.probe.mode.period() * 2)?;
    let reports = causes.list().iter().filter(|cause| {
        cause.kind == CauseKind::IcmpError && cause.count > 0 && cause.last >= since
    });
    let newest = reports.max_by_key(|cause| cause.last)?;
    (judged.verdict == Verdict::Bad)
        .then(|| words::phrase(newest, (links, &config.interface), ""))?
}

/// What was judged, and where it is bad the limit that it broke.
pub(crate) fn describe(judged: &Judged, config: &UplinkConfig) -> String {
    let report = &judged.report;
    let limits = config.health.limits(judged.was_up);
    let to_recover = ToRecover::new(judged, &config.health);
    let (missing, rtt) = (report.missing(), report.rtt_mean);
    let judged_together = judged.of;
    let allowed = match &config.probe.mode {
        // Of a burst that is cut short, as large a share as of a whole one.
        ProbeMode::Burst(burst) => {
            limits.loss.of(burst.count.into()) * judged_together / u32::from(burst.count)
        }
        ProbeMode::Rolling(_) => limits.loss.of(judged_together),
    };
    let limit = match limits.loss {
        LossLimit::Probes(_) => allowed.to_string(),
        LossLimit::Percent(_) => limits.loss.to_string(),
    };
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
            "{missing} of {judged_together} lost, limit {limit}{}; mean RTT {}",
            to_recover.loss,
            rounded(rtt)
        ),
    }
}

/// What it takes to be up, with every number.
pub(crate) fn limits(config: &UplinkConfig) -> String {
    let (health, mode) = (&config.health, &config.probe.mode);
    let ms = |time: Duration| format!("{} ms", time.as_secs_f64() * 1e3);
    let of = |limits: &Limits| {
        let lost = match limits.loss {
            LossLimit::Probes(most) => format!("at most {most} lost"),
            LossLimit::Percent(most) => format!("at most {most} % lost"),
        };
        let jitter = limits
            .max_jitter
            .map(|jitter| format!(", jitter below {}", ms(jitter)));
        format!(
            "{lost}, mean RTT below {}{}",
            ms(limits.max_delay),
            jitter.unwrap_or_default()
        )
    };
    let what = match mode {
        ProbeMode::Burst(burst) => format!(
            "bursts of {} every {} s",
            burst.count,
            burst.period.as_secs_f64()
        ),
        ProbeMode::Rolling(rolling) => format!(
            "a probe every {}, over {} s",
            ms(rolling.interval),
            rolling.window.as_secs_f64()
        ),
    };
    let (good, bad) = match mode {
        ProbeMode::Burst(_) => ("good ones", "bad ones"),
        ProbeMode::Rolling(_) => ("answers", "losses"),
    };
    let rule = match health.rule {
        Rule::InARow { fall, rise } => {
            format!("up after {rise} {good} in a row, down after {fall} {bad}")
        }
        Rule::Window {
            window,
            max_failed,
            min_consecutive,
        } => format!(
            "up while at most {max_failed} of the last {window} are bad and more than {min_consecutive} at the end good"
        ),
    };
    let recover = if health.recover == health.fail {
        String::new()
    } else {
        format!("; to come up {}", of(&health.recover))
    };
    format!(
        "{what}, answers within {}: {}{recover}; {rule}",
        ms(config.probe.timeout),
        of(&health.fail)
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        engine::{burst::Report, test_clock},
    };

    #[test]
    fn of_a_burst_that_is_cut_short_the_limit_is_told_that_it_was_judged_by() {
        let text =
            "[probe]\ntargets = [\"192.0.2.9\"]\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n";
        let (config, _) = Config::parse(text, "f").unwrap_or_else(|problems| panic!("{problems}"));
        let said = |lost, of| {
            let report = Report {
                lost,
                answered: of - lost,
                rtt_mean: Duration::from_millis(1),
                ..Report::default()
            };
            let judged = Judged {
                basis: Basis::Burst,
                verdict: Verdict::Bad,
                report,
                of,
                was_up: true,
                cause: None,
                started: test_clock(),
            };
            describe(&judged, &config.uplinks[0])
        };
        assert_eq!(said(6, 10), "6 of 10 lost, limit 5; mean RTT 1.0 ms");
        assert_eq!(said(3, 5), "3 of 5 lost, limit 2; mean RTT 1.0 ms");
    }
}
