//! Tables of functions: how C programs write what C++ has vtables for.

use crate::addr::{Addr, ByteOrder, Width};
use crate::image::{Image, Machine, MemoryKind};
use crate::symbols::{SymbolHit, SymbolKind, Symbols};

/// So many places of a table are read.
const MOST_PLACES: u64 = 64;
/// A table without a name has its first function among the first so many places …
const FIRST_PLACES: usize = 4;
/// … and at least so many functions there.
const FEWEST_FUNCTIONS: usize = 2;

/// A function that a table points at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionEntry<'s> {
    /// Where in the table its pointer stands, in bytes.
    pub offset: u64,
    /// The function.
    pub addr: Addr,
    /// Its name, where a symbol begins at exactly this address.
    pub symbol: Option<SymbolHit<'s>>,
}

/// A table of functions in a module's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FunctionTable<'s> {
    /// Where it begins.
    pub addr: Addr,
    /// The variable that it is; `None` where no symbol begins there.
    pub symbol: Option<SymbolHit<'s>>,
    /// Its functions, in their order; for a table without a name, up to the first place that holds none.
    pub functions: Vec<FunctionEntry<'s>>,
}

/// Whether code is at `addr`, as far as the kinds of memory tell. A function of 64-bit big-endian POWER is a descriptor
/// in data, whose first word points at the code (64-bit PowerPC ELF ABI 1.9, 3.2.5).
pub(super) fn is_function(image: &Image, addr: Addr) -> bool {
    let kind = |addr| image.region(addr).map(|region| region.kind);
    let is_code = |addr| matches!(kind(addr), Some(MemoryKind::Text | MemoryKind::Vdso));
    let target = image.target();
    if image.machine() == Machine::Ppc64 && target.order == ByteOrder::Big && target.width == Width::W8 {
        let described = matches!(kind(addr), Some(MemoryKind::Data | MemoryKind::Relro));
        if described && image.space().word(addr).is_some_and(|code| is_code(Addr(code))) {
            return true;
        }
    }
    is_code(addr)
}

/// The table of functions at `addr`: a variable that begins there, or where no symbol tells, a run of pointers to
/// functions.
///
/// A variable counts if one of its first two words is a function: structures of callbacks begin with a function, or with
/// a name and then a function.
pub(super) fn read_function_table<'s>(symbols: &'s Symbols<'_>, addr: Addr) -> Option<FunctionTable<'s>> {
    let image = symbols.image();
    let width = image.target().width.bytes() as u64;
    let region = image.region(addr)?;
    if !matches!(region.kind, MemoryKind::Relro | MemoryKind::Data | MemoryKind::Rodata | MemoryKind::Bss) {
        return None;
    }
    let hit = symbols.find(addr);
    // In the middle of a variable begins none.
    if hit.is_some_and(|hit| hit.size > 0 && hit.offset > 0) {
        return None;
    }
    let symbol = hit.filter(|hit| hit.offset == 0 && hit.kind != SymbolKind::Function);
    let size = symbol.map_or(0, |symbol| symbol.size);
    let places = if size > 0 { (size / width).min(MOST_PLACES) } else { MOST_PLACES };
    let mut functions = Vec::new();
    for place in 0..places {
        let Some(word) = addr.checked_add(place * width).and_then(|at| image.space().word(at)) else { break };
        if !is_function(image, Addr(word)) {
            // Behind the end of a table without a size comes another one.
            if size == 0 && (place > 0 || symbol.is_none()) && word != 0 {
                break;
            }
            continue;
        }
        let entry = symbols.find(Addr(word));
        functions.push(FunctionEntry {
            offset: place * width,
            addr: Addr(word),
            symbol: entry.filter(|entry| entry.offset == 0),
        });
    }
    let early = functions.iter().take_while(|entry| entry.offset < FIRST_PLACES as u64 * width).count();
    let first = functions.first()?.offset;
    let is_table = if symbol.is_some() { first <= width } else { first == 0 && early >= FEWEST_FUNCTIONS };
    is_table.then_some(FunctionTable { addr, symbol, functions })
}
