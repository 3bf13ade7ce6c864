//! What a file is: told by its content.

use clap::ValueEnum;

use super::json;

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// py-pingu's JSON file.
    PyPingu,
    /// The multigateway failover's config.py.
    Multigateway,
    /// The two-gateway failover's config.sh.
    TwoGateway,
    /// OpenWrt's /etc/config/mwan3.
    Mwan3,
    /// A file with command lines of dpinger.
    Dpinger,
}

impl Kind {
    /// In words.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::PyPingu => "a configuration of py-pingu",
            Self::Multigateway => "a config.py of the multigateway failover",
            Self::TwoGateway => "a config.sh of the two-gateway failover",
            Self::Mwan3 => "a configuration of OpenWrt's mwan3",
            Self::Dpinger => "dpinger's command line",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::PyPingu => "py-pingu",
            Self::Multigateway => "multigateway",
            Self::TwoGateway => "two-gateway",
            Self::Mwan3 => "mwan3",
            Self::Dpinger => "dpinger",
        }
    }
}

/// What was looked for.
const LOOKED_FOR: &str = "py-pingu's JSON (a brace at the beginning), config.py (`providers` or `test_cases` with Provider(...) or \
     TestScenarioPing(...)), config.sh (PRIMARY_IF=, BACKUP_IF=), mwan3 (`config interface`, `member`, `policy` or `rule` with \
     `option` or `list`), dpinger's command line; --from says which it is";

/// What a text is, or the line of a message that says why nobody knows. Only where it does not tell at all, the name of its file does,
/// so that it is refused for what is wrong with it.
pub(super) fn recognise(text: &str, file: &str) -> Result<Kind, (usize, String)> {
    if json::first_character(text) == Some('{') {
        return Ok(Kind::PyPingu);
    }
    let signs = [
        (Kind::Multigateway, line_with(text, is_multigateway)),
        (Kind::TwoGateway, line_with(text, is_two_gateway)),
        (Kind::Mwan3, line_with(text, is_mwan3)),
        (Kind::Dpinger, super::dpinger::first_line(text)),
    ];
    let found: Vec<(Kind, usize)> = signs
        .into_iter()
        .filter_map(|(kind, line)| Some((kind, line?)))
        .collect();
    match &found[..] {
        [(kind, _)] => Ok(*kind),
        [] => by_name(text, file).ok_or_else(|| (1, unknown(text))),
        [(_, line), ..] => {
            let all: Vec<String> = found
                .iter()
                .map(|(kind, line)| format!("{} (line {line})", kind.word()))
                .collect();
            let message = format!(
                "it could be more than one thing, {}: say --from",
                all.join(", ")
            );
            Err((*line, message))
        }
    }
}

fn by_name(text: &str, file: &str) -> Option<Kind> {
    let name = file.rsplit('/').next().unwrap_or_default();
    let kind = match name {
        "config.py" => Kind::Multigateway,
        "config.sh" => Kind::TwoGateway,
        "mwan3" => Kind::Mwan3,
        name if name.ends_with(".json") => Kind::PyPingu,
        _ => return None,
    };
    (!text.trim().is_empty()).then_some(kind)
}

fn unknown(text: &str) -> String {
    let is_own = |line: &str| matches!(line.trim(), "[[uplink]]" | "[probe]" | "[[group]]");
    if line_with(text, is_own).is_some() {
        return "this looks like a configuration of pingu's own: `pingu --config` runs it as it is"
            .to_owned();
    }
    let is_script = |line: &str| line.contains("on_update") || line.contains("probe.new");
    if line_with(text, is_script).is_some() {
        return "this looks like a script for failoverd: `pingu --config` runs it as it is"
            .to_owned();
    }
    format!("nobody knows what this is; looked for: {LOOKED_FOR}")
}

fn line_with(text: &str, is_sign: fn(&str) -> bool) -> Option<usize> {
    text.lines().position(is_sign).map(|index| index + 1)
}

fn is_multigateway(line: &str) -> bool {
    let begins = |name: &str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.trim_start().starts_with([':', '=']))
    };
    begins("providers") || begins("test_cases") || begins("STICKY_PROVIDER_FILENAME")
}

fn is_two_gateway(line: &str) -> bool {
    let signs = ["PRIMARY_IF=", "BACKUP_IF=", "PRIMARY_GW=", "BACKUP_GW="];
    let is_sign = |word: &str| signs.iter().any(|sign| word.starts_with(sign));
    !line.trim_start().starts_with('#') && line.split_whitespace().any(is_sign)
}

fn is_mwan3(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let first = words.next();
    let second = words.next().map(|word| word.trim_matches(['\'', '"']));
    let own = ["member", "policy"];
    let option = ["track_ip", "use_member", "use_policy"];
    match (first, second) {
        (Some("config"), Some(section)) => own.contains(&section),
        (Some("option" | "list"), Some(name)) => option.contains(&name),
        _ => false,
    }
}
