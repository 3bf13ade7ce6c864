//! A Lua 5.1 machine whose calls end within their time and memory, whatever the script does.
//!
//! A machine belongs on a thread of its own ([`thread::spawn`]): what is written in C, or waits for a program, is interrupted by nobody.

use std::{path::Path, sync::Arc, time::Duration};

use mlua::{
    Function, HookTriggers, Lua, LuaOptions, StdLib, VmState,
    chunk::ChunkMode,
    state::{GcIncParams, GcMode},
};

pub mod budget;
mod describe;
mod guard;
mod pattern;
mod raising;
mod sandbox;
pub mod thread;

pub(in crate::script) use describe::bounded;
pub use describe::{Fault, ScriptError};

pub use raising::raising;

use budget::Budget;

/// The clock of the thread is read once in so many instructions, which take some hundred microseconds at most.
const INSTRUCTIONS_PER_CHECK: u32 = 5_000;

/// Lua 5.1 collects nothing when memory runs short, so it has to be early: garbage takes up to a tenth beside what is in use.
const COLLECT_AT_PERCENT: i32 = 110;

/// How much faster than it grows the heap is collected, in percent.
const COLLECT_SPEED_PERCENT: i32 = 400;

/// What the libraries and pingu's own functions take; the script's budget counts from there.
const OWN_BYTES_MAX: usize = 1 << 20;

/// What editors that come from elsewhere put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Takes what a script prints.
pub type Print = Arc<dyn Fn(&str) + Send + Sync>;

/// What a machine may do.
#[derive(Clone)]
pub struct VmOptions {
    /// Without `os`, `io`, `require`, byte code and whatever else reaches out of the machine.
    pub sandbox: bool,
    /// Processor time of one call; time in which the script waits for something does not count.
    pub time_limit: Duration,
    /// Memory of the whole machine, in bytes.
    pub memory_limit: usize,
    /// Where `print` writes to; without it, to standard output.
    pub print: Option<Print>,
}

/// A Lua 5.1 machine.
pub struct Vm {
    lua: Lua,
    budget: Arc<Budget>,
    time_limit: Duration,
}

impl Vm {
    /// A machine with nothing loaded but its libraries.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(options: &VmOptions) -> Result<Self, ScriptError> {
        let budget = Arc::new(Budget::default());
        let lua = Self::build(options, &budget).map_err(|error| ScriptError::of(&error))?;
        Ok(Self {
            lua,
            budget,
            time_limit: options.time_limit,
        })
    }

    fn build(options: &VmOptions, budget: &Arc<Budget>) -> mlua::Result<Lua> {
        let mut libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        if !options.sandbox {
            libraries |= StdLib::IO | StdLib::PACKAGE;
        }
        let lua = if options.sandbox {
            Lua::new_with(libraries, LuaOptions::default())?
        } else {
            // SAFETY: of `debug`, the guard leaves only functions that look; and a script that may load modules and run programs can do
            // whatever its user can.
            unsafe { Lua::unsafe_new_with(libraries | StdLib::DEBUG, LuaOptions::default()) }
        };
        guard::install(&lua, budget, options)?;
        if options.sandbox {
            sandbox::close(&lua)?;
        }
        let collecting = GcIncParams::default()
            .pause(COLLECT_AT_PERCENT)
            .step_multiplier(COLLECT_SPEED_PERCENT);
        lua.gc_set_mode(GcMode::Incremental(collecting));
        lua.set_memory_limit(options.memory_limit.saturating_add(OWN_BYTES_MAX))?;
        let watched = Arc::clone(budget);
        let triggers = HookTriggers::new().every_nth_instruction(INSTRUCTIONS_PER_CHECK);
        lua.set_global_hook(triggers, move |lua, _| {
            watched.check_in(lua)?;
            Ok(VmState::Continue)
        })?;
        Ok(lua)
    }

    /// The machine itself, to add functions and values to. Script code is only to run within [`Vm::call`].
    pub fn lua(&self) -> &Lua {
        &self.lua
    }

    /// The budget of the call under way: who follows it from another thread sees what the machine cannot.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Compiles a script; nothing of it runs yet. Byte code is refused.
    ///
    /// # Errors
    /// When it is no Lua.
    pub fn load(&self, name: &Path, text: &[u8]) -> Result<Function, ScriptError> {
        let text = without_shebang(text);
        if text.starts_with(&[guard::BYTE_CODE]) {
            return Err(ScriptError::new(
                Fault::Syntax,
                &format!("{}: this is byte code, not a script", name.display()),
            ));
        }
        let chunk = self.lua.load(text).set_mode(ChunkMode::Text);
        let chunk = chunk.set_name(format!("@{}", name.display()));
        chunk
            .into_function()
            .map_err(|error| ScriptError::of(&error))
    }

    /// Runs code of the script within the time limit.
    ///
    /// # Errors
    /// Whatever the script raised, and when it used up its time or memory.
    pub fn call<R>(&self, run: impl FnOnce(&Lua) -> mlua::Result<R>) -> Result<R, ScriptError> {
        self.call_within(self.time_limit, run)
    }

    /// Runs code of the script within a time limit of its own.
    ///
    /// # Errors
    /// Whatever the script raised, and when it used up its time or memory.
    pub fn call_within<R>(
        &self,
        limit: Duration,
        run: impl FnOnce(&Lua) -> mlua::Result<R>,
    ) -> Result<R, ScriptError> {
        self.budget.begin(limit);
        let outcome = run(&self.lua);
        // Some way to swallow the error that nobody knows of makes it no success.
        let outcome = match self.budget.end() {
            true => Err(self.budget.error()),
            false => outcome,
        };
        outcome.map_err(|error| {
            // A failed call leaves its garbage behind, and the next one starts with it.
            if let Err(error) = self.lua.gc_collect() {
                tracing::debug!(%error, "a script's memory was not collected");
            }
            ScriptError::of(&error)
        })
    }
}

/// A file may begin with the mark that some editors write, and its first line may name the program that runs it. The numbers of lines
/// stay.
fn without_shebang(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if !text.starts_with(b"#") {
        return text;
    }
    let end = text.iter().position(|&byte| byte == b'\n');
    end.map_or(&[], |end| &text[end..])
}

#[cfg(test)]
mod tests;
