//! A script in its machine: loaded, its variables read, its callbacks called.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use mlua::{IntoLuaMulti, Lua, Value};

use super::{
    alone::Alone,
    api::{self, GlobalStatistics, Statistics},
    dns, programs,
    shared::{self, Call, Shared},
    variables::{self, Variables},
};
use crate::script::{
    module::{Host, Pen, Timers, install_pingu_module},
    vm::{Fault, ScriptError, Vm, VmOptions},
};

/// Processor time of a callback. The slowest that is of any use takes some milliseconds; time in which it waits for a program or a name
/// does not count.
const CALLBACK_TIME_MAX: Duration = Duration::from_secs(1);

/// Processor time of loading: a script may build long lists.
const LOAD_TIME_MAX: Duration = Duration::from_secs(10);

/// All that a script keeps: some hundred thousand short strings in tables.
const MEMORY_BYTES_MAX: usize = 64 << 20;

/// A loaded script.
pub(super) struct Machine {
    vm: Vm,
    shared: Arc<Shared>,
    timers: Timers,
}

impl Machine {
    /// Runs the file's text once, as failoverd does, and reads the variables that it has set.
    pub(super) fn load(
        name: &Path,
        text: &[u8],
        shared: &Arc<Shared>,
    ) -> Result<(Self, Variables), Vec<String>> {
        let told = |error: ScriptError| vec![error.to_string()];
        let machine = Self::build(shared).map_err(told)?;
        let chunk = machine.vm.load(name, text).map_err(told)?;
        let run = |_: &Lua| chunk.call::<()>(());
        machine.vm.call_within(LOAD_TIME_MAX, run).map_err(told)?;
        let variables = variables::read(machine.vm.lua())?;
        Ok((machine, variables))
    }

    fn build(shared: &Arc<Shared>) -> Result<Self, ScriptError> {
        let vm = Vm::new(&VmOptions {
            sandbox: false,
            time_limit: CALLBACK_TIME_MAX,
            memory_limit: MEMORY_BYTES_MAX,
            print: None,
        })?;
        let timers = define(vm.lua(), shared).map_err(|error| ScriptError::of(&error))?;
        Ok(Self {
            vm,
            shared: Arc::clone(shared),
            timers,
        })
    }

    /// What the script has set.
    #[cfg(test)]
    pub(super) fn global(&self, name: &str) -> Value {
        let globals = self.vm.lua().globals();
        globals.raw_get(name).expect("a name")
    }

    /// Calls one of the script's functions, if it has that.
    pub(super) fn call(&self, call: &Call) -> Result<(), ScriptError> {
        let gps = GlobalStatistics(Arc::clone(&self.shared));
        match call {
            Call::Timer => self
                .timers
                .run_due(&self.vm, shared::now())
                .unwrap_or(Ok(())),
            Call::Quit | Call::Update => self.function(call.name(), gps),
            Call::Receive(path) => {
                let ps = Statistics::new(path.as_ref().clone(), &self.shared);
                self.function(call.name(), (gps, ps))
            }
        }
    }

    /// When the script wants one of its timers' functions called.
    pub(super) fn timer_at(&self) -> Option<Instant> {
        self.timers.next_due()
    }

    fn function(&self, name: &str, arguments: impl IntoLuaMulti) -> Result<(), ScriptError> {
        // A script may define its functions anew while it runs, or do without.
        let found = self.vm.lua().globals().raw_get(name);
        match found.map_err(|error| ScriptError::of(&error))? {
            Value::Nil => Ok(()),
            Value::Function(function) => self.vm.call(|_| function.call::<()>(arguments)),
            other => {
                let found = api::with_article(other.type_name());
                let text = format!("`{name}` must be a function, not {found}");
                Err(ScriptError::new(Fault::Raised, &text))
            }
        }
    }
}

/// What a script finds beside Lua's own library.
fn define(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<Timers> {
    api::define(lua, shared)?;
    dns::define(lua)?;
    programs::define(lua)?;
    lua.globals().set("probes", lua.create_table()?)?;
    // What a script writes is seen at once, also by the programs that it runs, and before what these write.
    lua.load("io.stdout:setvbuf('no')").exec()?;
    let host: Arc<dyn Host> = Arc::new(Alone(Pen::new(shared::now)));
    install_pingu_module(lua, &host, shared::now)
}
