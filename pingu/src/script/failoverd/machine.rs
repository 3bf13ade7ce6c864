//! A script in its machine: loaded, its variables read, its callbacks called.

use std::{path::Path, sync::Arc};

use mlua::{IntoLuaMulti, Lua, Value, chunk::ChunkMode};

use super::{
    api::{self, GlobalStatistics, Statistics},
    dns, programs,
    shared::{Call, Shared},
    variables::{self, Variables},
};

/// A loaded script.
pub(super) struct Machine {
    lua: Lua,
    shared: Arc<Shared>,
}

impl Machine {
    /// Runs the file's text once, as failoverd does, and reads the variables that it has set.
    pub(super) fn load(
        name: &Path,
        text: &[u8],
        shared: &Arc<Shared>,
    ) -> Result<(Self, Variables), Vec<String>> {
        let machine = Self::build(shared).map_err(|error| vec![error.to_string()])?;
        let chunk = machine.lua.load(without_first_comment(text));
        let chunk = chunk
            .set_name(format!("@{}", name.display()))
            .set_mode(ChunkMode::Text);
        chunk.exec().map_err(|error| vec![error.to_string()])?;
        let variables = variables::read(&machine.lua)?;
        Ok((machine, variables))
    }

    fn build(shared: &Arc<Shared>) -> mlua::Result<Self> {
        // SAFETY: with `debug` and modules in C a script can do whatever its user can, as it could in failoverd; whoever writes it is
        // that user.
        let lua = unsafe { Lua::unsafe_new() };
        api::define(&lua, shared)?;
        dns::define(&lua)?;
        programs::define(&lua)?;
        lua.globals().set("probes", lua.create_table()?)?;
        // What a script writes is seen at once, also by the programs that it runs, and before what these write.
        lua.load("io.stdout:setvbuf('no')").exec()?;
        Ok(Self {
            lua,
            shared: Arc::clone(shared),
        })
    }

    /// What the script has set.
    #[cfg(test)]
    pub(super) fn global(&self, name: &str) -> Value {
        self.lua.globals().raw_get(name).expect("a name")
    }

    /// Calls one of the script's functions, if it has that.
    pub(super) fn call(&self, call: &Call) -> Result<(), String> {
        let gps = || GlobalStatistics(Arc::clone(&self.shared));
        match call {
            Call::Quit => self.function("on_quit", gps()),
            Call::Update => self.function("on_update", gps()),
            Call::Receive(path) => {
                self.function("on_recv", (gps(), Statistics(path.as_ref().clone())))
            }
        }
    }

    fn function(&self, name: &str, arguments: impl IntoLuaMulti) -> Result<(), String> {
        // A script may define its functions anew while it runs, or do without.
        match self.lua.globals().raw_get(name) {
            Ok(Value::Nil) => Ok(()),
            Ok(Value::Function(function)) => function
                .call::<()>(arguments)
                .map_err(|error| error.to_string()),
            Ok(other) => {
                let found = api::with_article(other.type_name());
                Err(format!("`{name}` must be a function, not {found}"))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The first line of a file may name the program that runs it, behind `#`. The numbers of lines stay.
fn without_first_comment(text: &[u8]) -> &[u8] {
    if !text.starts_with(b"#") {
        return text;
    }
    let end = text.iter().position(|byte| *byte == b'\n');
    end.map_or(&[], |end| &text[end..])
}
