//! Saved results as SVG.

mod bars;
mod figures;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::saved::Saved;

/// What to draw, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where results were saved
    #[arg(long, default_value = "docs/plots/data")]
    pub data: std::path::PathBuf,
    /// Where the plots go
    #[arg(long, default_value = "docs/plots")]
    pub to: std::path::PathBuf,
}

/// Draws what is there, and tells which files.
pub fn run(options: &Options) -> Result<Vec<String>> {
    fs::create_dir_all(&options.to)?;
    let mut drawn = Vec::new();
    for (benchmark, figures) in figures::ALL {
        let Some(saved) = Saved::read(&options.data, benchmark)? else {
            continue;
        };
        for (name, figure) in *figures {
            let bars = figure(&saved.report).with_context(|| format!("{benchmark}.json"))?;
            let path = options.to.join(format!("{name}.svg"));
            write(&path, &bars)?;
            drawn.push(path.display().to_string());
        }
    }
    Ok(drawn)
}

fn write(path: &Path, chart: &bars::Chart) -> Result<()> {
    let text = bars::draw(chart)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}
