//! One word, read for a person.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde::Serialize;

use crate::addr::Addr;
use crate::image::{Image, MemoryKind, Region};
use crate::symbols::{SectionKind, SymbolHit, Symbols};
use crate::types::{FunctionTable, V8Objects, Vtables};

use super::known::known_numbers;
use super::number::{read_chunk_size, read_floats, read_halves, read_number};
use super::text::{letters_in_word, part_of_text, plausible_text, text_in_heap, text_in_word};

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
    /// An address of memory that the program asked for, where a text begins.
    PointerToText {
        /// The kind of memory.
        kind: MemoryKind,
        /// The text.
        text: String,
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
    /// A marked pointer to an object of a language's own heap, by what that heap says of it.
    Managed {
        /// The kind of memory.
        kind: MemoryKind,
        /// What it is: `V8 map of JSObject`.
        what: String,
    },
    /// Text in the word's own bytes.
    Text(String),
    /// The end or the beginning of a text, which shares the word with something else.
    PartOfText(String),
    /// A number that the C library drew for this process, by what it is for.
    Known(&'static str),
    /// A number, or two of 4 bytes, the lower address first.
    Halves(u64, i32, i32),
    /// A floating-point number with few digits.
    Float(f64),
    /// Two floating-point numbers of 4 bytes, the lower address first; as one number where one of them is zero.
    FloatPair(Option<u64>, f32, f32),
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
            Reading::Pointer { kind, .. }
            | Reading::PointerTo { kind, .. }
            | Reading::PointerToText { kind, .. }
            | Reading::Managed { kind, .. }
            | Reading::Tagged { kind, .. } => match kind {
                MemoryKind::MainHeap | MemoryKind::Anonymous => WordKind::Heap,
                MemoryKind::Stack => WordKind::Stack,
                MemoryKind::Relro | MemoryKind::Data | MemoryKind::Bss | MemoryKind::Rodata | MemoryKind::Tls => {
                    WordKind::Data
                }
                _ => WordKind::Other,
            },
            Reading::Text(_) | Reading::PartOfText(_) => WordKind::Text,
            Reading::Known(_) | Reading::Halves(..) => WordKind::Other,
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
            Reading::String(_) | Reading::Text(_) | Reading::PartOfText(_) => true,
            Reading::PointerTo { .. } | Reading::PointerToText { .. } | Reading::Managed { .. } => true,
            Reading::Known(_) => true,
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
            Reading::PointerToText { kind, text } => format!("{}, at text {text:?}", place_of(*kind)),
            Reading::GeneratedCode => "code that the program made (executable memory of no file)".to_owned(),
            Reading::Tagged { kind, tag } => format!("{}, {tag} past a word (tagged?)", place_of(*kind)),
            Reading::Managed { what, .. } => what.clone(),
            Reading::Text(text) => format!("text {text:?}"),
            Reading::PartOfText(text) => format!("text {text:?} beside other bytes"),
            Reading::Known(what) => (*what).to_owned(),
            Reading::Halves(number, a, b) => format!("number {number}, or two: {a}, {b}"),
            Reading::Quad([a, b, c, d]) => format!("four numbers {a}, {b}, {c}, {d}"),
            Reading::Mixed(number, text) => format!("number {number}, with text {text:?} in it"),
            Reading::Float(number) => format!("floating point {number:?}"),
            Reading::FloatPair(None, a, b) => format!("two floats {a:?}, {b:?}"),
            Reading::FloatPair(Some(number), a, b) => format!("number {number}, or two floats {a:?}, {b:?}"),
            Reading::Pair(a, b) => format!("two numbers {a}, {b}"),
            // What is far below zero for its width is a negative number rather than a huge one.
            Reading::Number(number) => match *number as i64 {
                below @ FARTHEST_BELOW_ZERO..0 => format!("number {below}"),
                _ => format!("number {number}"),
            },
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

/// Numbers from here up to zero are shown with their sign: addresses have 47 or 48 bits, and so have distances between them.
const FARTHEST_BELOW_ZERO: i64 = -(1 << 47);
/// The longest string that is quoted, in characters.
const LONGEST_QUOTE: usize = 60;
/// The most bytes of read-only data that are looked through for a string's end.
const LONGEST_STRING_BYTES: usize = 4096;

/// How many functions of a table without a name stand for it.
const FUNCTIONS_SHOWN: usize = 3;

/// Reads words of one image.
#[derive(Debug)]
pub struct Reader<'s, 'i> {
    image: &'i Image,
    symbols: &'s Symbols<'i>,
    vtables: &'s Vtables<'s, 'i>,
    v8: V8Objects<'s, 'i>,
    known: OnceLock<Vec<(u64, &'static str)>>,
}

impl<'s, 'i> Reader<'s, 'i> {
    /// A reader that names by these symbols and vtables.
    pub fn new(symbols: &'s Symbols<'i>, vtables: &'s Vtables<'s, 'i>) -> Reader<'s, 'i> {
        Reader { image: symbols.image(), symbols, vtables, v8: V8Objects::new(symbols), known: OnceLock::new() }
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
            .or_else(|| part_of_text(word, self.image.target()).map(Reading::PartOfText))
            .or_else(|| self.known(word).map(Reading::Known))
            .or_else(|| letters_in_word(word, self.image.target()).map(|text| Reading::Mixed(word, text)))
            .or_else(|| read_halves(word, self.image.target()))
            .unwrap_or(Reading::Number(word))
    }

    /// What a number is that the C library draws for each process anew, and that stands in many places.
    fn known(&self, word: u64) -> Option<&'static str> {
        let known = self.known.get_or_init(|| known_numbers(self.symbols));
        known.iter().find(|(number, _)| *number == word).map(|(_, what)| *what)
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
        if symbol.is_none()
            && let Some(name) = self.linker_record(addr)
        {
            return match region.module {
                Some(_) => Reading::Data { name },
                None => Reading::PointerTo { kind: region.kind, what: name },
            };
        }
        if self.holds_constants(addr, region)
            && let Some(text) = self.string_at(addr, symbol.is_none())
        {
            return Reading::String(shortened(text));
        }
        if let Some(table) = self.vtables.function_table(addr) {
            return Reading::FunctionTable { name: table_name(&table) };
        }
        let section = self.symbols.section(addr).map(|section| section.kind);
        let kind = match (region.kind, section) {
            (MemoryKind::Text, Some(SectionKind::ReadOnly)) => MemoryKind::Rodata,
            (kind, _) => kind,
        };
        if let Some(symbol) = symbol {
            let name = symbol_name(&symbol);
            return match kind {
                MemoryKind::Text => Reading::Function { name },
                _ => Reading::Data { name },
            };
        }
        if region.module.is_none() && matches!(region.kind, MemoryKind::MainHeap | MemoryKind::Anonymous) {
            return self.read_pointer(addr, region.kind);
        }
        if let Some(name) = self.vtables.type_info(addr) {
            return Reading::Data { name: format!("typeinfo for {name}") };
        }
        let module = region.module.and_then(|id| self.image.module(id));
        let place = match (module, region.thread.and_then(|id| self.image.threads().get(id.0 as usize))) {
            (Some(module), _) => {
                let name = String::from_utf8_lossy(module.name());
                // The dynamic linker's own allocations belong to it, and lie outside of its mapping.
                let inside = addr.offset_from(module.base()).filter(|_| module.span.contains(addr));
                let linkers = self.symbols.section(addr).map(|section| section.name).filter(|name| is_linkers(name));
                let section = linkers.map(|name| format!(", in {}", String::from_utf8_lossy(name)));
                let place = inside.map_or_else(|| format!("of {name}"), |offset| format!("{name}+{offset:#x}"));
                Some(place + &section.unwrap_or_default())
            }
            (None, Some(thread)) => Some(format!("thread {}", thread.tid)),
            (None, None) => None,
        };
        Reading::Pointer { kind, place }
    }

    /// The dynamic linker's record that `addr` lies in: `link map of libc.so.6`.
    fn linker_record(&self, addr: Addr) -> Option<String> {
        let record = self.image.linker_record(addr)?;
        let module = self.image.module(record.module?)?;
        let name = String::from_utf8_lossy(module.name());
        let offset = addr.offset_from(record.span.start()).filter(|offset| *offset > 0);
        Some(format!("link map of {name}{}", offset.map(|offset| format!("+{offset:#x}")).unwrap_or_default()))
    }

    /// Whether constants stand at `addr`: read-only data, also where the linker put it beside the code (`-z noseparate-code`),
    /// which only the file's sections tell then.
    fn holds_constants(&self, addr: Addr, region: &Region) -> bool {
        let section = self.symbols.section(addr);
        match region.kind {
            MemoryKind::Rodata => section.is_none_or(|section| !is_linkers(section.name)),
            MemoryKind::Text => {
                section.is_some_and(|section| section.kind == SectionKind::ReadOnly && !is_linkers(section.name))
            }
            _ => false,
        }
    }

    /// The text at `addr` among constants. The empty string and those of one character look like parts of numbers: they are
    /// taken for text only where nothing else names the place (`nameless`), between other strings.
    fn string_at(&self, addr: Addr, nameless: bool) -> Option<&'i str> {
        let bytes = self.bytes(addr);
        let text = match bytes.first()? {
            0 => "",
            _ => plausible_text(bytes)?,
        };
        if text.len() > 1 {
            return Some(text);
        }
        let printable = |byte: u8| (0x20..0x7f).contains(&byte);
        let before = addr.checked_sub(1).and_then(|at| self.bytes(at).first().copied());
        // A number begins at an even address, and has a zero where its amount is small.
        let wanted = if addr.0 % 2 == 1 { 1 } else { 2 };
        let next = bytes.get(text.len() + 1..text.len() + 1 + wanted);
        let next = next.filter(|next| next.iter().all(|byte| printable(*byte)));
        let between = match text.is_empty() {
            // The end of another string is an empty one as well: linkers share them.
            true => before.is_some_and(printable) || before == Some(0) && next.is_some(),
            false => before == Some(0) && next.is_some(),
        };
        (nameless && between).then_some(text)
    }

    /// An address in memory that the program asked for, by what stands there.
    fn read_pointer(&self, addr: Addr, kind: MemoryKind) -> Reading {
        if self.image.space().find_segment(addr).is_some_and(|segment| segment.permissions.execute) {
            return Reading::GeneratedCode;
        }
        let width = self.image.target().width.bytes() as u64;
        if let Some(what) = self.v8.describe(addr.0) {
            return Reading::Managed { kind, what };
        }
        if let Some(text) = text_in_heap(self.bytes(addr)) {
            return Reading::PointerToText { kind, text: shortened(text) };
        }
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

/// Whether a section holds tables for the linker and the unwinder: no text, though two of their bytes may look so.
fn is_linkers(section: &[u8]) -> bool {
    let begins: [&[u8]; 7] = [b".dynsym", b".hash", b".gnu.", b".rel", b".eh_frame", b".gcc_except_table", b".note"];
    begins.iter().any(|name| section.starts_with(name))
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
        names.push(function.symbol.map_or_else(|| format!("{:#x}", function.addr.0), |symbol| symbol_name(&symbol)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_value_tells_little() {
        assert_eq!(WordKind::of_value(0), WordKind::Zero);
        assert_eq!(WordKind::of_value(0xffff), WordKind::Small);
        assert_eq!(WordKind::of_value(0x1_0000), WordKind::Other);
        assert_eq!(WordKind::of_value(u64::MAX), WordKind::Small);
        assert_eq!(WordKind::of_value(-0x1_0000_i64 as u64), WordKind::Other);
    }
}
