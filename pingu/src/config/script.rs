//! The script that advises the daemon: `script` and `sandbox`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeValue;

use super::{
    bytes,
    check::between,
    duration,
    reader::{At, Reader},
    write,
};
use crate::script::vm::{Vm, VmOptions};

/// Nobody writes a longer one by hand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Below this not even the libraries fit; more is no budget on a router.
const MEMORY_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 30);

/// A script that ranks uplinks and vetoes switches (`script`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptConfig {
    /// The script.
    pub file: PathBuf,
    /// Without whatever reaches out of the machine that it runs on.
    pub sandbox: bool,
    /// Processor time of one call.
    pub time_limit: Duration,
    /// Memory of the whole script, in bytes.
    pub memory_bytes: u64,
}

impl ScriptConfig {
    /// What applies where nothing else is said.
    fn of(file: PathBuf) -> Self {
        Self {
            file,
            sandbox: true,
            time_limit: Duration::from_millis(100),
            memory_bytes: 16 << 20,
        }
    }

    /// The text of the script.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        let read = |file: File| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text);
        File::open(&self.file)
            .and_then(read)
            .map_err(|error| format!("{} cannot be read: {error}", self.file.display()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let file = self.file.display();
            return Err(format!("{file} is larger than {FILE_BYTES_MAX} bytes"));
        }
        Ok(text)
    }

    /// Why it is no script that could run.
    fn fault(&self) -> Option<String> {
        let text = match self.read() {
            Ok(text) => text,
            Err(fault) => return Some(fault),
        };
        let options = VmOptions {
            sandbox: self.sandbox,
            time_limit: self.time_limit,
            memory_limit: usize::try_from(self.memory_bytes).unwrap_or(usize::MAX),
            print: None,
        };
        let compiled = Vm::new(&options).and_then(|vm| vm.load(&self.file, &text).map(drop));
        compiled.err().map(|error| error.summary().to_owned())
    }
}

/// Reads `script` and `sandbox`; none without a script. A relative path begins at the directory of the configuration.
pub(super) fn script(top: &mut Reader<'_, '_, '_>, configuration: &str) -> Option<ScriptConfig> {
    let sandbox = top.boolean("sandbox");
    if !top.has("script") {
        if let Some(At { span, .. }) = sandbox {
            top.error(
                span,
                "`sandbox` without a `script` means nothing".to_owned(),
            );
        }
        top.value("script");
        return None;
    }
    let given = top.value("script")?;
    let (file, mut config) = if matches!(given.get_ref(), DeValue::String(_)) {
        let file = top.string("script")?;
        (file, ScriptConfig::of(PathBuf::new()))
    } else {
        let mut reader = top.table_or(
            "script",
            "the path of a Lua file, or a table with it as `file`",
        )?;
        let file = reader.required("file", |path| !path.is_empty(), "the path of a Lua file");
        let mut config = ScriptConfig::of(PathBuf::new());
        let inner = reader.boolean("sandbox");
        let time_limit = reader.duration("time_limit", between(1, 10_000));
        let memory = reader.string("memory_limit");
        if let (Some(inner), Some(_)) = (&inner, &sandbox) {
            let message = "`sandbox` is given twice: beside `script` and in it".to_owned();
            reader.error(inner.span.clone(), message);
        }
        if let Some(memory) = memory {
            let bytes =
                bytes::parse_size(&memory.value).filter(|bytes| MEMORY_BYTES.contains(bytes));
            let allowed = "bytes with their unit, such as \"16MiB\", from 1MiB to 1GiB";
            match bytes {
                Some(bytes) => config.memory_bytes = bytes,
                None => reader
                    .wrong("memory_limit", memory.span, allowed)
                    .unwrap_or_default(),
            }
        }
        config.sandbox = inner.is_none_or(|at| at.value);
        config.time_limit = time_limit.map_or(config.time_limit, |at| at.value);
        reader.finish();
        (file?, config)
    };
    config.sandbox = sandbox.map_or(config.sandbox, |at| at.value);
    let directory = Path::new(configuration).parent().unwrap_or(Path::new(""));
    let path = directory.join(&file.value);
    config.file = std::path::absolute(&path).unwrap_or(path);
    if let Some(fault) = config.fault() {
        top.error(file.span, format!("`script`: {fault}"));
        return None;
    }
    Some(config)
}

/// Writes it so that it reads back to the same.
pub(super) fn write(out: &mut String, script: &ScriptConfig) {
    let value = format!(
        "{{ file = {}, sandbox = {}, time_limit = {}, memory_limit = {} }}",
        write::text(&script.file.to_string_lossy()),
        script.sandbox,
        write::text(&duration::write(script.time_limit)),
        write::text(&bytes::write_size(script.memory_bytes)),
    );
    write::line(out, "script", &value);
}
