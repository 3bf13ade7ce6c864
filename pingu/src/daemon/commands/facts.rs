//! What a hook is told: `PINGU_*` variables, and the same as one JSON object. All are data: nothing of them is ever read by a shell of
//! pingu's.

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    config::HookEvent,
    engine::{State, UplinkFacts},
};

/// The kernel takes 128 KiB of one variable (`MAX_ARG_STRLEN`); nothing that helps is as long as this.
const VALUE_CHARS_MAX: usize = 4096;

/// Something that happened, with everything that there was to say of it then.
#[derive(Debug, Serialize)]
pub(in crate::daemon) struct Facts {
    /// What happened: the word of `on`.
    event: &'static str,
    /// When (RFC 3339, UTC).
    time: String,
    /// The uplink that it happened to; of a switch the one that traffic leaves by since.
    uplink: Option<String>,
    interface: Option<String>,
    group: String,
    state: Option<State>,
    /// Its state before, of `up` and `down`.
    previous: Option<State>,
    /// Of a switch, the uplinks that traffic left by.
    from: Option<String>,
    /// Of a switch, the uplinks that traffic leaves by.
    to: Option<String>,
    gateway: Option<IpAddr>,
    gateway_v6: Option<IpAddr>,
    source: Option<IpAddr>,
    source_v6: Option<IpAddr>,
    metric: Option<u32>,
    reason: Option<String>,
    cause: Option<Value>,
    loss_percent: Option<f64>,
    rtt_ms: Option<f64>,
}

impl Facts {
    /// Of an uplink.
    pub(super) fn of_uplink(
        event: HookEvent,
        uplink: UplinkFacts,
        previous: Option<State>,
        time: String,
    ) -> Arc<Self> {
        let group = uplink.group.clone();
        Arc::new(Self {
            previous,
            ..Self::new(event, group, Some(uplink), time)
        })
    }

    /// Of a group whose traffic leaves by other uplinks: their names, and the first of those that it leaves by since.
    pub(super) fn of_switch(
        group: String,
        (from, to): (Vec<&str>, Vec<&str>),
        uplink: Option<UplinkFacts>,
        time: String,
    ) -> Arc<Self> {
        let joined = |names: Vec<&str>| (!names.is_empty()).then(|| names.join(","));
        Arc::new(Self {
            from: joined(from),
            to: joined(to),
            ..Self::new(HookEvent::Switch, group, uplink, time)
        })
    }

    fn new(event: HookEvent, group: String, uplink: Option<UplinkFacts>, time: String) -> Self {
        let uplink = uplink.as_ref();
        let first = |of: [Option<IpAddr>; 2]| of[0].or(of[1]);
        let cause = uplink.and_then(|uplink| uplink.cause);
        Self {
            event: event.word(),
            time,
            uplink: uplink.map(|uplink| uplink.name.clone()),
            interface: uplink.map(|uplink| uplink.interface.clone()),
            group,
            state: uplink.map(|uplink| uplink.state),
            previous: None,
            from: None,
            to: None,
            gateway: uplink.and_then(|uplink| first(uplink.gateways)),
            gateway_v6: uplink.and_then(|uplink| uplink.gateways[1]),
            source: uplink.and_then(|uplink| first(uplink.sources)),
            source_v6: uplink.and_then(|uplink| uplink.sources[1]),
            metric: uplink.map(|uplink| uplink.metric.0),
            reason: uplink.map(|uplink| uplink.reason.clone()),
            cause: cause.and_then(|cause| serde_json::to_value(cause).ok()),
            loss_percent: uplink.and_then(|uplink| uplink.loss_percent),
            rtt_ms: uplink.and_then(|uplink| uplink.rtt_ms),
        }
    }

    /// What happened.
    pub(super) fn event(&self) -> &'static str {
        self.event
    }

    /// The uplink's name; a group's where traffic leaves by none.
    pub(super) fn subject(&self) -> &str {
        self.uplink.as_deref().unwrap_or(&self.group)
    }

    /// When.
    pub(super) fn time(&self) -> &str {
        &self.time
    }

    /// All of them by their names, with the hook's.
    fn all(&self, hook: &str) -> Map<String, Value> {
        let mut all = match serde_json::to_value(self) {
            Ok(Value::Object(all)) => all,
            Ok(_) | Err(_) => unreachable!("the facts are a struct of texts and numbers"),
        };
        all.insert("hook".to_owned(), Value::from(hook));
        all
    }

    /// The variables. All are there always; what is not known is empty.
    pub(super) fn environment(&self, hook: &str) -> Vec<(String, String)> {
        let variable = |(name, value): (String, Value)| {
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => text,
                other => other.to_string(),
            };
            // A NUL would end it, and nothing could be run.
            let text = text.chars().filter(|c| *c != '\0').take(VALUE_CHARS_MAX);
            (
                format!("PINGU_{}", name.to_ascii_uppercase()),
                text.collect(),
            )
        };
        let mut all: Vec<(String, String)> = self.all(hook).into_iter().map(variable).collect();
        all.push(("LANG".to_owned(), "C.UTF-8".to_owned()));
        all
    }

    /// The same as one line of JSON; what is not known is null.
    pub(super) fn json(&self, hook: &str) -> String {
        format!("{}\n", Value::Object(self.all(hook)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::CauseKind, units::Metric};

    fn uplink(name: &str, reason: &str) -> UplinkFacts {
        UplinkFacts {
            name: name.to_owned(),
            interface: "wan0".to_owned(),
            group: "default".to_owned(),
            state: State::Down,
            reason: reason.to_owned(),
            metric: Metric(88),
            gateways: [Some([192, 0, 2, 1].into()), None],
            sources: [None, None],
            cause: Some(CauseKind::NoReply),
            loss_percent: Some(12.5),
            rtt_ms: None,
        }
    }

    fn variable<'a>(all: &'a [(String, String)], name: &str) -> &'a str {
        let mut found = all.iter().filter(|(key, _)| key == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("{name}: {all:?}"));
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    #[test]
    fn variables_and_json_say_the_same() {
        let facts = Facts::of_uplink(
            HookEvent::Down,
            uplink("fibre", "2 of 2 lost"),
            Some(State::Up),
            "2026-01-02T03:04:05.678Z".to_owned(),
        );
        let all = facts.environment("mail");
        for (name, value) in [
            ("PINGU_HOOK", "mail"),
            ("PINGU_EVENT", "down"),
            ("PINGU_TIME", "2026-01-02T03:04:05.678Z"),
            ("PINGU_UPLINK", "fibre"),
            ("PINGU_INTERFACE", "wan0"),
            ("PINGU_GROUP", "default"),
            ("PINGU_STATE", "down"),
            ("PINGU_PREVIOUS", "up"),
            ("PINGU_GATEWAY", "192.0.2.1"),
            ("PINGU_GATEWAY_V6", ""),
            ("PINGU_METRIC", "88"),
            ("PINGU_CAUSE", "no-reply"),
            ("PINGU_LOSS_PERCENT", "12.5"),
            ("PINGU_RTT_MS", ""),
            ("PINGU_FROM", ""),
            ("PINGU_TO", ""),
        ] {
            assert_eq!(variable(&all, name), value, "{name}");
        }
        let json: Value = serde_json::from_str(&facts.json("mail")).unwrap();
        let object = json.as_object().unwrap();
        assert_eq!(object.len() + 1, all.len(), "one of them is LANG");
        for (key, value) in object {
            let text = variable(&all, &format!("PINGU_{}", key.to_ascii_uppercase()));
            match value {
                Value::Null => assert_eq!(text, "", "{key}"),
                Value::String(value) => assert_eq!(text, value, "{key}"),
                other => assert_eq!(text, other.to_string(), "{key}"),
            }
        }
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let name = "$(reboot) `id`; \"x\" 'y' \\ \u{202e}";
        let facts = Facts::of_uplink(
            HookEvent::Bad,
            uplink(name, "line\nof\0a\u{1b}[2Jprogram"),
            None,
            String::new(),
        );
        let all = facts.environment("a\"b");
        assert_eq!(variable(&all, "PINGU_UPLINK"), name);
        assert_eq!(variable(&all, "PINGU_REASON"), "line\nofa\u{1b}[2Jprogram");
        let text = facts.json("a\"b");
        assert_eq!(text.lines().count(), 1, "one line: {text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["uplink"], name);
        assert_eq!(json["hook"], "a\"b");
    }

    #[test]
    fn a_variable_has_an_end() {
        let facts = Facts::of_uplink(
            HookEvent::Bad,
            uplink("fibre", &"ü".repeat(100_000)),
            None,
            String::new(),
        );
        let all = facts.environment("x");
        assert_eq!(variable(&all, "PINGU_REASON").chars().count(), 4096);
    }

    #[test]
    fn a_switch_tells_from_where_to_where() {
        let to = vec!["lte", "dsl"];
        let facts = Facts::of_switch(
            "wan".to_owned(),
            (Vec::new(), to),
            Some(uplink("lte", "fine")),
            String::new(),
        );
        let all = facts.environment("x");
        assert_eq!(variable(&all, "PINGU_FROM"), "");
        assert_eq!(variable(&all, "PINGU_TO"), "lte,dsl");
        assert_eq!(variable(&all, "PINGU_UPLINK"), "lte");
        assert_eq!(variable(&all, "PINGU_GROUP"), "wan");
        let nowhere = Facts::of_switch(
            "wan".to_owned(),
            (vec!["lte"], Vec::new()),
            None,
            String::new(),
        );
        let json: Value = serde_json::from_str(&nowhere.json("x")).unwrap();
        assert_eq!(
            (&json["from"], &json["to"], &json["uplink"]),
            (&Value::from("lte"), &Value::Null, &Value::Null)
        );
    }
}
