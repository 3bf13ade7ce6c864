//! The nftables table `inet pingu`, which marks connections by their uplink and hands the mark to routing, and nothing else of the
//! firewall.
//!
//! It is loaded whole in one transaction by the `nft` program, and looked at again only where the kernel says that some ruleset has
//! changed.

use std::{io, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::{
    config::{Config, FirewallMark},
    firewall::ruleset::{Interface, REMOVAL, ruleset},
    netlink::nftables,
    network::Link,
};

pub mod ruleset;

/// How long one run of `nft` may take: some ten milliseconds are usual, and thousands of other rules are in the way at worst.
const NFT_TIMEOUT: Duration = Duration::from_secs(10);

/// Of what `nft` complains with, so much is told.
const COMPLAINT_CHARS_MAX: usize = 400;

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
    /// Every uplink's interface as configured, and its mark.
    uplinks: Vec<(String, Option<FirewallMark>)>,
    loaded: Option<Loaded>,
}

/// What was there when it was last looked at.
#[derive(Debug)]
struct Loaded {
    ruleset: String,
    /// The kernel's count of changes to all rulesets of this namespace.
    generation: u32,
    /// The table as `nft` lists it; none where no interface can be named.
    listing: Option<String>,
}

impl MarkTable {
    /// The table of a configuration; none where connections are not to be marked.
    pub fn new(config: &Config) -> Option<Self> {
        let marked = config.uplinks.iter().any(|uplink| uplink.fwmark.is_some());
        if !config.mark_connections || !marked {
            return None;
        }
        let uplinks = config.uplinks.iter();
        Some(Self {
            uplinks: uplinks
                .map(|uplink| (uplink.interface.clone(), uplink.fwmark))
                .collect(),
            loaded: None,
        })
    }

    /// nftables knows an interface by its first name only, uplinks also by others.
    fn ruleset(&self, links: &[Link]) -> String {
        let interfaces = self.uplinks.iter().map(|(configured, mark)| {
            let link = links.iter().find(|link| link.is_called(configured));
            let name = link.map_or(configured, |link| &link.name);
            Interface { name, mark: *mark }
        });
        ruleset(&interfaces.collect::<Vec<_>>())
    }

    /// Loads the table where it is not there as it should be, and says whether it did. The first call always loads it; so
    /// does one after an uplink's interface got another name. One netlink question while no ruleset changes, so that every slow look
    /// at the kernel may come here.
    ///
    /// # Errors
    /// When the table is not known to be there; the next call tries again.
    pub async fn keep(&mut self, links: &[Link]) -> Result<bool, FirewallError> {
        // Read before the listing: what changes after it is seen at the next call.
        let generation = nftables::generation().map_err(FirewallError::Kernel)?;
        let ruleset = self.ruleset(links);
        if let Some(loaded) = &mut self.loaded
            && loaded.ruleset == ruleset
        {
            if loaded.generation == generation {
                return Ok(false);
            }
            if list().await? == loaded.listing {
                loaded.generation = generation;
                return Ok(false);
            }
        }
        self.loaded = None;
        load(&ruleset).await?;
        let generation = nftables::generation().map_err(FirewallError::Kernel)?;
        let listing = list().await?;
        if listing.is_none() && ruleset != REMOVAL {
            return Err(FirewallError::Vanished);
        }
        self.loaded = Some(Loaded {
            ruleset,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{network::LinkLayer, units::Ifindex};

    #[test]
    fn an_interface_is_named_as_nftables_knows_it() {
        let text = "mark_connections = true\n[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"first-way\"\n\
                    table = 1\nfwmark = 1\n";
        let (config, _) = Config::parse(text, "f").unwrap();
        let table = MarkTable::new(&config).unwrap();
        let link = Link {
            ifindex: Ifindex(7),
            name: "enp7s0".to_owned(),
            alternative_names: vec!["first-way".to_owned()],
            layer: LinkLayer::Bare,
            admin_up: true,
            carrier: true,
            is_port: false,
            mtu_bytes: 1500,
        };
        assert!(table.ruleset(&[]).contains("\"first-way\" : goto"));
        assert!(table.ruleset(&[link]).contains("\"enp7s0\" : goto"));
        let unmarked = text.replace("mark_connections = true\n", "");
        let (config, _) = Config::parse(&unmarked, "f").unwrap();
        assert!(MarkTable::new(&config).is_none());
    }
}
