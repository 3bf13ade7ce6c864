//! Where requests may come from: the prefixes that were asked for, without the addresses that cannot be another host's. The kernel drops
//! packets from such sources as martians, and so leaves nothing to answer.

use std::{collections::BTreeSet, io, net::IpAddr};

use aya::maps::{LpmTrie, MapData, MapError, lpm_trie::Key};
use ipnet::IpNet;

use super::words;

/// Prefix length of `::ffff:0:0/96`.
const MAPPED_BITS: u32 = 96;

/// What stands at an address of no family: no request comes from there.
const NOBODY: u8 = 0;

pub(super) struct Sources {
    trie: LpmTrie<MapData, [u32; 4], u8>,
    from: Vec<IpNet>,
    refused: BTreeSet<IpAddr>,
}

impl Sources {
    pub(super) fn new(
        mut trie: LpmTrie<MapData, [u32; 4], u8>,
        from: &[IpNet],
    ) -> Result<Self, MapError> {
        for prefix in from {
            trie.insert(&key(*prefix), family(prefix.addr()), 0)?;
        }
        Ok(Self {
            trie,
            from: from.to_vec(),
            refused: BTreeSet::new(),
        })
    }

    /// Refuses these addresses, and no others any more.
    pub(super) fn refuse(&mut self, wanted: BTreeSet<IpAddr>) -> io::Result<()> {
        let gone: Vec<IpAddr> = self.refused.difference(&wanted).copied().collect();
        for address in gone {
            let whole = IpNet::from(address);
            if self.from.iter().any(|prefix| prefix.trunc() == whole) {
                self.set(address, family(address))?;
            } else {
                self.trie.remove(&key(whole)).map_err(io::Error::other)?;
            }
            self.refused.remove(&address);
        }
        for address in wanted {
            if !self.refused.contains(&address) {
                self.set(address, NOBODY)?;
                self.refused.insert(address);
            }
        }
        Ok(())
    }

    fn set(&mut self, address: IpAddr, family: u8) -> io::Result<()> {
        let key = key(IpNet::from(address));
        self.trie.insert(&key, family, 0).map_err(io::Error::other)
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 6,
    }
}

fn key(prefix: IpNet) -> Key<[u32; 4]> {
    let bits = u32::from(prefix.prefix_len());
    let bits = match prefix {
        IpNet::V4(_) => MAPPED_BITS + bits,
        IpNet::V6(_) => bits,
    };
    Key::new(bits, words(prefix.network()))
}
