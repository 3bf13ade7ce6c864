//! What a script that advises defines, called within its budget.

use std::sync::Arc;

use mlua::{Function, IntoLua, Lua, Value};

use super::{Desk, Inbox, PolicyOptions, Word, busy};
use crate::script::{
    module::{self, Host, Timers},
    vm::{self, ScriptError, Vm, VmOptions},
};

/// The script's first run defines its functions, and may compute tables for them.
const START_FACTOR: u32 = 10;

/// A script with what it defines.
pub(super) struct Script {
    pub(super) vm: Vm,
    pub(super) timers: Timers,
    pub(super) desk: Arc<Desk>,
    pub(super) rank: Option<Function>,
    pub(super) veto: Option<Function>,
}

impl Script {
    pub(super) fn start(
        options: &PolicyOptions,
        inbox: &Inbox,
        desk: Arc<Desk>,
    ) -> Result<Self, ScriptError> {
        let printed = Arc::clone(&desk);
        let print: vm::Print = Arc::new(move |text| printed.log(text));
        let vm = Vm::new(&VmOptions {
            print: Some(print),
            ..options.vm.clone()
        })?;
        let own = Arc::clone(vm.budget());
        *inbox.budget.lock().expect("nobody panics while holding it") = Some(own);
        let host: Arc<dyn Host> = Arc::clone(&desk) as _;
        let timers = module::install_pingu_module(vm.lua(), &host, options.clock)
            .and_then(|timers| module::keep(vm.lua()).map(|()| timers))
            .map_err(|error| ScriptError::of(&error))?;
        let main = vm.load(&options.file, &options.text)?;
        let limit = options.vm.time_limit * START_FACTOR;
        let (rank, veto) = busy(inbox, || {
            vm.call_within(limit, |lua| {
                main.call::<()>(())?;
                let of = |name: &str| lua.globals().get::<Option<Function>>(name);
                Ok((of("rank")?, of("veto")?))
            })
        })?;
        Ok(Self {
            vm,
            timers,
            desk,
            rank,
            veto,
        })
    }

    /// What `rank` says; none without one.
    pub(super) fn rank(&self) -> Option<Word> {
        let rank = self.rank.as_ref()?;
        let order = self.vm.call(|lua| {
            let answer: Value = rank.call(module::uplink_tables(lua)?)?;
            names(&answer)
        });
        Some(match order {
            Ok(order) => Word::Order(order),
            Err(error) => Word::Failed("rank", error),
        })
    }

    /// Why traffic may not leave one uplink for another; none: it may.
    pub(super) fn veto(&self, from: &str, to: &str) -> Result<Option<String>, ScriptError> {
        let Some(veto) = &self.veto else {
            return Ok(None);
        };
        self.vm.call(|lua| {
            let all = module::uplink_tables(lua)?;
            let (from, to) = (uplink_named(lua, &all, from)?, uplink_named(lua, &all, to)?);
            match veto.call::<Value>((from, to))? {
                Value::Nil | Value::Boolean(false) => Ok(None),
                Value::Boolean(true) => Ok(Some(String::new())),
                Value::String(reason) => Ok(Some(vm::bounded(
                    &reason.to_string_lossy(),
                    REASON_BYTES_MAX,
                ))),
                other => Err(malformed(&format!(
                    "veto must return true, false, nil or a reason, not a {}",
                    other.type_name()
                ))),
            }
        })
    }
}

fn uplink_named(lua: &Lua, all: &Value, name: &str) -> mlua::Result<Value> {
    for uplink in all
        .as_table()
        .into_iter()
        .flat_map(|all| all.sequence_values::<Value>())
    {
        let uplink = uplink?;
        if module::named(&uplink).as_deref() == Some(name) {
            return Ok(uplink);
        }
    }
    name.into_lua(lua)
}

/// A reason that status shows.
const REASON_BYTES_MAX: usize = 200;

/// As many as there may be uplinks.
const NAMES_MAX: usize = crate::config::UPLINKS_MAX;

fn malformed(why: &str) -> mlua::Error {
    mlua::Error::runtime(why)
}

/// The names in an answer: an array of names or uplinks, or nothing.
fn names(answer: &Value) -> mlua::Result<Option<Vec<String>>> {
    let list = match answer {
        Value::Nil => return Ok(None),
        Value::Table(list) => list,
        other => {
            return Err(malformed(&format!(
                "rank must return an array of uplinks or names, or nil, not a {}",
                other.type_name()
            )));
        }
    };
    let mut names = Vec::new();
    for index in 1..=NAMES_MAX {
        let value: Value = list.raw_get(index)?;
        if value.is_nil() {
            break;
        }
        let name = module::named(&value).ok_or_else(|| {
            malformed(&format!(
                "rank must return uplinks or names; number {index} is a {}",
                value.type_name()
            ))
        })?;
        names.push(name);
    }
    Ok(Some(names))
}
