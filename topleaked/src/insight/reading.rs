//! One word, read for a person.

use std::borrow::Cow;

use serde::Serialize;

use crate::addr::{Addr, Width};
use crate::image::{Image, MemoryKind, Region};
use crate::symbols::{SymbolHit, Symbols};
use crate::types::{FunctionTable, Vtables};

use super::text::{letters_in_word, plausible_text, text_in_word};

/// What a word is, in the fewest kinds that are worth asking for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordKind {
    /// All bits clear.
    Zero,
    /// A number too small for an address: below 65,536, or above −65,536 as a signed number; or two of 4 bytes,
    /// or four of 2.
    Small,
    /// The size field of an allocator's chunk.
    ChunkSize,
    /// The address point of a vtable.
    Vtable,
    /// A function, or an address in one.
    Function,
    /// Static data of a module: a variable, a constant, a table of functions.
    Data,
    /// An address in a heap, or in other memory without a name.
    Heap,
    /// An address in a thread's stack.
    Stack,
    /// Text: readable characters in the word itself.
    Text,
    /// Nothing of the above, or nothing that can be known.
    Other,
}

impl WordKind {
    /// All kinds, with the names that the command line and JSON use.
    pub const ALL: [(WordKind, &'static str); 10] = [
        (WordKind::Zero, "zero"),
        (WordKind::Small, "small"),
        (WordKind::ChunkSize, "chunk-size"),
        (WordKind::Vtable, "vtable"),
        (WordKind::Function, "function"),
        (WordKind::Data, "data"),
        (WordKind::Heap, "heap"),
        (WordKind::Stack, "stack"),
        (WordKind::Text, "text"),
        (WordKind::Other, "other"),
    ];

    /// What the value alone tells, without the memory that it came from: zero, small or other.
    pub fn of_value(word: u64) -> WordKind {
        match word {
            0 => WordKind::Zero,
            // Linux maps nothing in the first 64 KiB by default (vm.mmap_min_addr), and no process has the last.
            1..0x1_0000 | 0xffff_ffff_ffff_0001.. => WordKind::Small,
            _ => WordKind::Other,
        }
    }
}

/// What a word is, with what is known of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Reading {
    /// All bits clear.
    Zero,
    /// A number too small for an address, signed by the target's width.
    Small(i64),
    /// One byte, repeated: memory that was filled.
    Fill(u8),
    /// Probably the size field in front of a chunk of glibc's malloc.
    ChunkSize {
        /// The chunk's size in bytes, header included.
        bytes: u64,
    },
    /// The address point of a vtable.
    Vtable {
        /// The class, and the base that it serves: `vtable of D for its base B`.
        name: String,
        /// Whether the class itself has a name.
        named: bool,
    },
    /// A table of functions, as C has them: a variable, or where it has no name, its first functions.
    FunctionTable {
        /// `tcp_ops`, or the functions in it.
        name: String,
    },
    /// A function, or an address in one.
    Function {
        /// Its name with the offset into it.
        name: String,
    },
    /// A named variable or constant of a module.
    Data {
        /// Its name with the offset into it.
        name: String,
    },
    /// Text in a module's read-only data.
    String(String),
    /// An address of this kind of memory that nothing names.
    Pointer {
        /// The kind of memory.
        kind: MemoryKind,
        /// Where it lies: `libc.so.6+0x1f0`, `thread 17`.
        place: Option<String>,
    },
    /// An address of memory that the program asked for, where an object begins that something names.
    PointerTo {
        /// The kind of memory.
        kind: MemoryKind,
        /// What names it: `vtable of Session`, or the variable that one of its first two words points at.
        what: String,
    },
    /// An address in executable memory of no module: code that the program made itself.
    GeneratedCode,
    /// An address of memory that the program asked for, not at a word: many programs keep marks in the low bits, and some
    /// point into strings.
    Tagged {
        /// The kind of memory.
        kind: MemoryKind,
        /// How far it is from the word before it, in bytes.
        tag: u8,
    },
    /// Text in the word's own bytes.
    Text(String),
    /// A floating-point number with few digits.
    Float(f64),
    /// Two floating-point numbers of 4 bytes, the lower address first.
    FloatPair(f32, f32),
    /// Two numbers of 4 bytes, the lower address first.
    Pair(i32, i32),
    /// Four numbers of 2 bytes, the lowest address first.
    Quad([u16; 4]),
    /// A number, of whose bytes some in a row are letters and digits: a part of a string behind something else.
    Mixed(u64, String),
    /// A number, and nothing more is known.
    Number(u64),
}

impl Reading {
    /// The kind it belongs to.
    pub fn kind(&self) -> WordKind {
        match self {
            Reading::Zero => WordKind::Zero,
            Reading::Small(_) | Reading::Pair(..) | Reading::Quad(_) => WordKind::Small,
            Reading::ChunkSize { .. } => WordKind::ChunkSize,
            Reading::Vtable { .. } => WordKind::Vtable,
            Reading::Function { .. } | Reading::Pointer { kind: MemoryKind::Text, .. } => WordKind::Function,
            Reading::FunctionTable { .. } | Reading::Data { .. } | Reading::String(_) => WordKind::Data,
            Reading::GeneratedCode => WordKind::Function,
            Reading::Pointer { kind, .. } | Reading::PointerTo { kind, .. } | Reading::Tagged { kind, .. } => {
                match kind {
                    MemoryKind::MainHeap | MemoryKind::Anonymous => WordKind::Heap,
                    MemoryKind::Stack => WordKind::Stack,
                    MemoryKind::Relro | MemoryKind::Data | MemoryKind::Bss | MemoryKind::Rodata | MemoryKind::Tls => {
                        WordKind::Data
                    }
                    _ => WordKind::Other,
                }
            }
            Reading::Text(_) => WordKind::Text,
            Reading::Fill(_) | Reading::Float(_) | Reading::FloatPair(..) => WordKind::Other,
            Reading::Mixed(..) | Reading::Number(_) => WordKind::Other,
        }
    }

    /// Whether it is what every process is full of, leaking or not: zero, small numbers, size fields, fill patterns.
    pub fn is_noise(&self) -> bool {
        matches!(
            self,
            Reading::Zero
                | Reading::Small(_)
                | Reading::Pair(..)
                | Reading::Quad(_)
                | Reading::Fill(_)
                | Reading::ChunkSize { .. }
        )
    }

    /// Whether it has a name of its own: a class, a symbol, a string.
    pub fn is_named(&self) -> bool {
        match self {
            Reading::Vtable { named, .. } => *named,
            Reading::FunctionTable { .. } | Reading::Function { .. } | Reading::Data { .. } => true,
            Reading::String(_) | Reading::Text(_) | Reading::PointerTo { .. } => true,
            _ => false,
        }
    }

    /// It in words, for people; names as they stand in the dump.
    pub fn describe(&self) -> String {
        match self {
            Reading::Zero => "zero".to_owned(),
            Reading::Small(number) => format!("small number {number}"),
            Reading::Fill(byte) => format!("fill pattern {byte:#04x}"),
            Reading::ChunkSize { bytes } => format!("size field: {bytes}-byte chunk"),
            Reading::Vtable { name, .. } | Reading::Function { name } | Reading::Data { name } => name.clone(),
            Reading::FunctionTable { name } => format!("table of functions {name}"),
            Reading::String(text) => format!("string {text:?}"),
            Reading::Pointer { kind, place } => {
                let what = place_of(*kind);
                match place {
                    Some(place) => format!("{what}, {place}"),
                    None => what.to_owned(),
                }
            }
            Reading::PointerTo { kind, what } => format!("{}, at an object: {what}", place_of(*kind)),
            Reading::GeneratedCode => "code that the program made (executable memory of no file)".to_owned(),
            Reading::Tagged { kind, tag } => format!("{}, {tag} past a word (tagged?)", place_of(*kind)),
            Reading::Text(text) => format!("text {text:?}"),
            Reading::Quad([a, b, c, d]) => format!("four numbers {a}, {b}, {c}, {d}"),
            Reading::Mixed(number, text) => format!("number {number}, with text {text:?} in it"),
            Reading::Float(number) => format!("floating point {number:?}"),
            Reading::FloatPair(a, b) => format!("two floats {a:?}, {b:?}"),
            Reading::Pair(a, b) => format!("two numbers {a}, {b}"),
            Reading::Number(number) => format!("number {number}"),
        }
    }
}

/// What an address of this kind of memory is.
fn place_of(kind: MemoryKind) -> &'static str {
    match kind {
        MemoryKind::MainHeap => "pointer into the main heap",
        MemoryKind::Anonymous => "pointer into unnamed memory",
        MemoryKind::Stack => "pointer into a stack",
        MemoryKind::Tls => "pointer into thread-local storage",
        MemoryKind::Text => "code",
        MemoryKind::Rodata => "read-only data",
        MemoryKind::Relro => "relocated constant data",
        MemoryKind::Data => "data",
        MemoryKind::Bss => "zero-initialised data",
        MemoryKind::Shared => "pointer into shared memory",
        MemoryKind::FileMapping => "pointer into a mapped file",
        MemoryKind::Vdso => "pointer into the vdso",
        MemoryKind::Guard => "pointer into a guard page",
    }
}

/// The longest string that is quoted, in characters.
const LONGEST_QUOTE: usize = 60;
/// The most bytes of read-only data that are looked through for a string's end.
const LONGEST_STRING_BYTES: usize = 4096;

/// How many functions of a table without a name stand for it.
const FUNCTIONS_SHOWN: usize = 3;

/// Reads words of one image.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'s, 'i> {
    image: &'i Image,
    symbols: &'s Symbols<'i>,
    vtables: &'s Vtables<'s, 'i>,
}

impl<'s, 'i> Reader<'s, 'i> {
    /// A reader that names by these symbols and vtables.
    pub fn new(symbols: &'s Symbols<'i>, vtables: &'s Vtables<'s, 'i>) -> Reader<'s, 'i> {
        Reader { image: symbols.image(), symbols, vtables }
    }

    /// The image whose words are read.
    pub fn image(&self) -> &'i Image {
        self.image
    }

    /// What recognises vtables.
    pub fn vtables(&self) -> &'s Vtables<'s, 'i> {
        self.vtables
    }

    /// What `word` is. `found_in` says how often it occurs in which kind of memory, empty where that is not known: a
    /// small odd number that hardly occurs outside of heaps is a size field rather than a number.
    pub fn read(&self, word: u64, found_in: &[(MemoryKind, u64)]) -> Reading {
        let width = self.image.target().width;
        if word == 0 {
            return Reading::Zero;
        }
        if let Some(region) = self.image.region(Addr(word)) {
            return self.read_address(Addr(word), region);
        }
        if is_heap_word(found_in)
            && let Some(reading) = read_chunk_size(word, width)
        {
            return reading;
        }
        read_number(word, width)
            .or_else(|| text_in_word(word, self.image.target()).map(Reading::Text))
            .or_else(|| read_floats(word, self.image.target()))
            .or_else(|| letters_in_word(word, self.image.target()).map(|text| Reading::Mixed(word, text)))
            .unwrap_or(Reading::Number(word))
    }

    /// What `word` is wherever it was found; `None` where that makes a difference: for what may be a size field.
    pub(super) fn read_value(&self, word: u64) -> Option<Reading> {
        read_chunk_size(word, self.image.target().width).is_none().then(|| self.read(word, &[]))
    }

    fn read_address(&self, addr: Addr, region: &Region) -> Reading {
        if let Some(vtable) = self.vtables.classify(addr) {
            let named = vtable.class.is_some();
            let module = self.image.module(vtable.module).filter(|_| !named);
            let place = module.and_then(|module| addr.offset_from(module.base()));
            let place = place.map(|offset| format!(", {}+{offset:#x}", String::from_utf8_lossy(&vtable.module_name)));
            return Reading::Vtable { name: format!("{vtable}{}", place.unwrap_or_default()), named };
        }
        let symbol = self.symbols.find(addr);
        if matches!(region.kind, MemoryKind::Rodata)
            && let Some(text) = plausible_text(self.bytes(addr))
            && text.chars().count() > 1
        {
            return Reading::String(shortened(text));
        }
        if let Some(table) = self.vtables.function_table(addr) {
            return Reading::FunctionTable { name: table_name(&table) };
        }
        if let Some(symbol) = symbol {
            let name = symbol_name(&symbol);
            return match region.kind {
                MemoryKind::Text => Reading::Function { name },
                _ => Reading::Data { name },
            };
        }
        if region.module.is_none() && matches!(region.kind, MemoryKind::MainHeap | MemoryKind::Anonymous) {
            return self.read_pointer(addr, region.kind);
        }
        let module = region.module.and_then(|id| self.image.module(id));
        let place = match (module, region.thread.and_then(|id| self.image.threads().get(id.0 as usize))) {
            (Some(module), _) => {
                let name = String::from_utf8_lossy(module.name());
                // The dynamic linker's own allocations belong to it, and lie outside of its mapping.
                let inside = addr.offset_from(module.base()).filter(|_| module.span.contains(addr));
                Some(inside.map_or_else(|| format!("of {name}"), |offset| format!("{name}+{offset:#x}")))
            }
            (None, Some(thread)) => Some(format!("thread {}", thread.tid)),
            (None, None) => None,
        };
        Reading::Pointer { kind: region.kind, place }
    }

    /// An address in memory that the program asked for, by what stands there.
    fn read_pointer(&self, addr: Addr, kind: MemoryKind) -> Reading {
        if self.image.space().find_segment(addr).is_some_and(|segment| segment.permissions.execute) {
            return Reading::GeneratedCode;
        }
        let width = self.image.target().width.bytes() as u64;
        let tag = addr.0 % width;
        if tag != 0 {
            return Reading::Tagged { kind, tag: tag as u8 };
        }
        match self.name_of_object(addr) {
            Some(what) => Reading::PointerTo { kind, what },
            None => Reading::Pointer { kind, place: None },
        }
    }

    /// What the first words of an object tell of it: C++ begins objects with a pointer to their vtable; objects of C point at
    /// a description of their type with the first word, or behind a reference count.
    fn name_of_object(&self, addr: Addr) -> Option<String> {
        let width = self.image.target().width.bytes() as u64;
        let word = |at: u64| self.image.space().word(addr.checked_add(at)?).map(Addr);
        if let Some(vtable) = word(0).and_then(|first| self.vtables.classify(first)) {
            return vtable.class.is_some().then(|| vtable.to_string());
        }
        let variable = |at: Addr| {
            let region = self.image.region(at)?;
            let is_data = matches!(region.kind, MemoryKind::Relro | MemoryKind::Data | MemoryKind::Bss);
            let symbol = self.symbols.find(at).filter(|symbol| is_data && symbol.offset == 0)?;
            Some(symbol_name(&symbol))
        };
        let counted = |first: Addr| (1..1 << 32).contains(&first.0);
        match word(0) {
            Some(first) if counted(first) => word(width).and_then(variable),
            first => first.and_then(variable),
        }
    }

    fn bytes(&self, addr: Addr) -> &'i [u8] {
        let bytes = self.image.space().bytes_from(addr);
        bytes.get(..LONGEST_STRING_BYTES).unwrap_or(bytes)
    }
}

/// `name` or `name+0x10`, demangled.
fn symbol_name(symbol: &SymbolHit<'_>) -> String {
    match symbol.offset {
        0 => symbol.demangled().into_owned(),
        offset => format!("{}+{offset:#x}", symbol.demangled()),
    }
}

fn table_name(table: &FunctionTable<'_>) -> String {
    if let Some(symbol) = &table.symbol {
        return symbol_name(symbol);
    }
    let mut names: Vec<String> = Vec::new();
    for function in table.functions.iter().take(FUNCTIONS_SHOWN) {
        names.push(function.symbol.map_or_else(|| function.addr.to_string(), |symbol| symbol_name(&symbol)));
    }
    let rest = if table.functions.len() > FUNCTIONS_SHOWN { ", …" } else { "" };
    format!("({}{rest})", names.join(", "))
}

fn shortened(text: &str) -> String {
    let cut: Cow<'_, str> = match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    };
    cut.into_owned()
}

/// Whether nine of ten occurrences are in heaps. The same number stands elsewhere by chance.
fn is_heap_word(found_in: &[(MemoryKind, u64)]) -> bool {
    let all: u64 = found_in.iter().map(|(_, count)| count).sum();
    let in_heaps = found_in.iter().filter(|(kind, _)| matches!(kind, MemoryKind::MainHeap | MemoryKind::Anonymous));
    let in_heaps: u64 = in_heaps.map(|(_, count)| count).sum();
    all > 0 && all - in_heaps <= all / 10
}

/// The largest chunk that the default threshold for mapping leaves in a heap, rounded up: 128 KiB and a page.
pub(super) const LARGEST_CHUNK_BYTES: u64 = 0x2_1000;

/// A size field of glibc's malloc (malloc/malloc.c, `struct malloc_chunk`, `mchunk_size`): a multiple of twice the width, with
/// flags in the low three bits: 1 the chunk in front is in use, 2 mapped, 4 not from the main arena. Only fields with flag 1 and
/// without flag 2 are taken: the others are rare, and even numbers are mostly numbers.
fn read_chunk_size(word: u64, width: Width) -> Option<Reading> {
    let unit = 2 * width.bytes() as u64;
    let (bytes, flags) = (word & !7, word & 7);
    let fits = bytes % unit == 0 && (2 * unit..=LARGEST_CHUNK_BYTES).contains(&bytes);
    (fits && matches!(flags, 1 | 5)).then_some(Reading::ChunkSize { bytes })
}

fn read_number(word: u64, width: Width) -> Option<Reading> {
    let signed = match width {
        Width::W4 => i64::from(word as u32 as i32),
        Width::W8 => word as i64,
    };
    if signed.unsigned_abs() < 0x1_0000 {
        return Some(Reading::Small(signed));
    }
    let bytes = word.to_le_bytes();
    let filled = bytes.get(..width.bytes())?;
    filled.iter().all(|byte| *byte == bytes[0]).then_some(Reading::Fill(bytes[0]))
}

/// Numbers of 2 bytes below this are taken for four in a word: counts, flags, positions. Of random words one in 65,536 looks so.
const SMALL_QUARTER: u16 = 0x1000;

/// Numbers that a program would write down: a double or two floats with few digits, or two or four small integers.
fn read_floats(word: u64, target: crate::addr::Target) -> Option<Reading> {
    if target.width == Width::W4 {
        let single = f32::from_bits(word as u32);
        return plausible_single(single).then_some(Reading::Float(f64::from(single)));
    }
    let (first, second) = match target.order {
        crate::addr::ByteOrder::Little => (word as u32, (word >> 32) as u32),
        crate::addr::ByteOrder::Big => ((word >> 32) as u32, word as u32),
    };
    let number = f64::from_bits(word);
    let magnitude = number.abs();
    if (1e-6..1e15).contains(&magnitude) && format!("{magnitude:?}").len() <= 9 {
        return Some(Reading::Float(number));
    }
    let (a, b) = (f32::from_bits(first), f32::from_bits(second));
    let plausible = |number: f32| number == 0.0 || plausible_single(number);
    if plausible(a) && plausible(b) {
        return Some(Reading::FloatPair(a, b));
    }
    // The greatest and the least number of 4 bytes stand for "none" and "no limit".
    let small = |half: u32| (half as i32).unsigned_abs() < 0x1_0000 || matches!(half as i32, i32::MAX | i32::MIN);
    if small(first) && small(second) {
        return Some(Reading::Pair(first as i32, second as i32));
    }
    let halves = |word: u32| match target.order {
        crate::addr::ByteOrder::Little => [word as u16, (word >> 16) as u16],
        crate::addr::ByteOrder::Big => [(word >> 16) as u16, word as u16],
    };
    let ([a, b], [c, d]) = (halves(first), halves(second));
    let quad = [a, b, c, d];
    quad.iter().all(|number| *number < SMALL_QUARTER).then_some(Reading::Quad(quad))
}

fn plausible_single(number: f32) -> bool {
    (1e-3..1e7).contains(&number.abs()) && format!("{:?}", number.abs()).len() <= 6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{ByteOrder, Target};

    #[test]
    fn a_bare_value_tells_little() {
        assert_eq!(WordKind::of_value(0), WordKind::Zero);
        assert_eq!(WordKind::of_value(0xffff), WordKind::Small);
        assert_eq!(WordKind::of_value(0x1_0000), WordKind::Other);
        assert_eq!(WordKind::of_value(u64::MAX), WordKind::Small);
        assert_eq!(WordKind::of_value(-0x1_0000_i64 as u64), WordKind::Other);
    }

    #[test]
    fn numbers_too_small_for_an_address_are_small() {
        assert_eq!(read_number(42, Width::W8), Some(Reading::Small(42)));
        assert_eq!(read_number(u64::MAX, Width::W8), Some(Reading::Small(-1)));
        assert_eq!(read_number(0xffff_fffe, Width::W4), Some(Reading::Small(-2)));
        assert_eq!(read_number(0xffff_fffe, Width::W8), None);
        assert_eq!(read_number(0x1_0000, Width::W8), None);
    }

    #[test]
    fn one_repeated_byte_is_a_fill_pattern() {
        assert_eq!(read_number(0xcdcd_cdcd_cdcd_cdcd, Width::W8), Some(Reading::Fill(0xcd)));
        assert_eq!(read_number(0xcdcd_cdcd, Width::W4), Some(Reading::Fill(0xcd)));
        assert_eq!(read_number(0xcdcd_cdcd_cdcd_cdce, Width::W8), None);
    }

    #[test]
    fn a_size_field_is_a_multiple_of_two_words_with_its_flag() {
        let chunk = |bytes| Some(Reading::ChunkSize { bytes });
        assert_eq!(read_chunk_size(0x21, Width::W8), chunk(0x20));
        assert_eq!(read_chunk_size(0x35, Width::W8), chunk(0x30));
        assert_eq!(read_chunk_size(0x29, Width::W8), None);
        assert_eq!(read_chunk_size(0x29, Width::W4), chunk(0x28));
        assert_eq!(read_chunk_size(0x11, Width::W8), None, "the least chunk has 32 bytes");
        assert_eq!(read_chunk_size(0x2_1012, Width::W8), None, "mapped");
    }

    #[test]
    fn numbers_with_few_digits_are_floating_point() {
        let read = |word| read_floats(word, Target::LITTLE_8);
        assert_eq!(read(1.5_f64.to_bits()), Some(Reading::Float(1.5)));
        assert_eq!(read((-250.0_f64).to_bits()), Some(Reading::Float(-250.0)));
        assert_eq!(read(0x3fd5_5555_5555_5555), None, "a third has sixteen digits");
        assert_eq!(read(0x4000_0000_3f80_0000), Some(Reading::FloatPair(1.0, 2.0)));
        assert_eq!(read(0x0000_0007_0000_0003), Some(Reading::Pair(3, 7)));
        assert_eq!(read(0x7fff_ffff_0000_0000), Some(Reading::Pair(0, i32::MAX)));
        assert_eq!(read(0x7fff_fffe_0000_0000), None);
        assert_eq!(read(0x0018_0002_0001_0000), Some(Reading::Quad([0, 1, 2, 24])));
        assert_eq!(read(0x1018_0002_0001_0000), None);
        let big = Target { order: ByteOrder::Big, ..Target::LITTLE_8 };
        assert_eq!(read_floats(0x0018_0002_0001_0000, big), Some(Reading::Quad([24, 2, 1, 0])));
        assert_eq!(read_floats(0x0000_0007_0000_0003, big), Some(Reading::Pair(7, 3)));
    }
}
