//! The nftables table `inet pingu`, which marks connections by their uplink and hands the mark to routing, and nothing else of the
//! firewall.
//!
//! It is loaded whole in one transaction by the `nft` program, and looked at again only where the kernel says that some ruleset has
//! changed.

use std::{io, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::{
    config::Config,
    firewall::ruleset::{Interface, ruleset},
    netlink::nftables,
};

pub mod ruleset;

/// How long one run of `nft` may take: some ten milliseconds are usual, and thousands of other rules are in the way at worst.
const NFT_TIMEOUT: Duration = Duration::from_secs(10);

/// Of what `nft` complains with, so much is told.
const COMPLAINT_CHARS_MAX: usize = 400;

/// Removes the table; that it is declared first makes it right where it is not there.
const REMOVAL: &str = "table inet pingu\ndelete table inet pingu\n";

/// Why the table could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// `nft` could not be run.
    #[error("cannot run `nft`, which `mark_connections` needs")]
    NoProgram(#[source] io::Error),
    /// `nft` did not end.
    #[error("`nft` did not end within {} s", NFT_TIMEOUT.as_secs())]
    TimedOut,
    /// `nft` refused.
    #[error("`nft` refused the table inet pingu: {0}")]
    Refused(String),
    /// The kernel was asked whether rulesets have changed.
    #[error("cannot ask the kernel about nftables")]
    Kernel(#[source] io::Error),
    /// Somebody took the table away just after it was loaded.
    #[error("the table inet pingu was removed at once by somebody else")]
    Vanished,
}

/// The table that should be there.
#[derive(Debug)]
pub struct MarkTable {
    ruleset: String,
    loaded: Option<Loaded>,
}

/// What was there when it was last looked at.
#[derive(Debug)]
struct Loaded {
    /// The kernel's count of changes to all rulesets of this namespace.
    generation: u32,
    /// The table as `nft` lists it.
    listing: String,
}

impl MarkTable {
    /// The table of a configuration; none where connections are not to be marked.
    pub fn new(config: &Config) -> Option<Self> {
        let marked = config.uplinks.iter().any(|uplink| uplink.fwmark.is_some());
        if !config.mark_connections || !marked {
            return None;
        }
        let interfaces = config.uplinks.iter().map(|uplink| Interface {
            name: &uplink.interface,
            mark: uplink.fwmark,
        });
        Some(Self {
            ruleset: ruleset(&interfaces.collect::<Vec<_>>()),
            loaded: None,
        })
    }

    /// Loads the table where it is not there as it should be, and says whether it did. The first call always loads it. One netlink
    /// question while no ruleset changes, so that every slow look at the kernel may come here.
    ///
    /// # Errors
    /// When the table is not known to be there; the next call tries again.
    pub async fn keep(&mut self) -> Result<bool, FirewallError> {
        // Read before the listing: what changes after it is seen at the next call.
        let generation = nftables::generation().map_err(FirewallError::Kernel)?;
        if let Some(loaded) = &mut self.loaded {
            if loaded.generation == generation {
                return Ok(false);
            }
            if list().await?.as_ref() == Some(&loaded.listing) {
                loaded.generation = generation;
                return Ok(false);
            }
        }
        self.loaded = None;
        load(&self.ruleset).await?;
        let generation = nftables::generation().map_err(FirewallError::Kernel)?;
        let listing = list().await?.ok_or(FirewallError::Vanished)?;
        self.loaded = Some(Loaded {
            generation,
            listing,
        });
        Ok(true)
    }

    /// Removes the table. Connections keep their marks, which nobody reads any more.
    ///
    /// # Errors
    /// When it may still be there.
    pub async fn remove(&mut self) -> Result<(), FirewallError> {
        self.loaded = None;
        load(REMOVAL).await
    }
}

async fn load(rules: &str) -> Result<(), FirewallError> {
    let output = nft(&["-f", "-"], rules).await?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = complaint.lines().map(str::trim).collect();
    let complaint = lines.join(" ").chars().take(COMPLAINT_CHARS_MAX).collect();
    Err(FirewallError::Refused(complaint))
}

/// The table as it is; none where it is not there.
async fn list() -> Result<Option<String>, FirewallError> {
    let output = nft(&["--stateless", "list", "table", "inet", "pingu"], "").await?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(output.status.success().then_some(listing))
}

async fn nft(arguments: &[&str], input: &str) -> Result<std::process::Output, FirewallError> {
    let mut child = Command::new("nft")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(FirewallError::NoProgram)?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let run = async {
        // One that ends without reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    match timeout(NFT_TIMEOUT, run).await {
        Ok(output) => output.map_err(FirewallError::NoProgram),
        Err(_) => Err(FirewallError::TimedOut),
    }
}
