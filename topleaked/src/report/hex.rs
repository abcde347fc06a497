//! Addresses and words as text.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::addr::Addr;

/// A word or an address, written with all 16 digits: `0x000055697c45cd78`. A string in JSON too,
/// since JSON numbers lose bits past 2^53.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hex(pub u64);

impl From<u64> for Hex {
    fn from(word: u64) -> Hex {
        Hex(word)
    }
}

impl From<Addr> for Hex {
    fn from(addr: Addr) -> Hex {
        Hex(addr.0)
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", self.0)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
