//! C++ classes as the process itself describes them: `type_info` records.
//!
//! After the Itanium C++ ABI, 2.9.5 "RTTI Layout". A record is a vtable pointer, a pointer to the mangled name, and
//! for a class with bases: the base's record (`__si_class_type_info`), or flags, a count and that many
//! pairs of record and offset (`__vmi_class_type_info`). Which of the kinds a record is, its vtable pointer tells: it
//! leads into the vtable of one of these three classes, which has a record of its own that names it. So neither symbols
//! nor the C++ library's file are needed, and libstdc++ and libc++abi are read alike.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use memchr::memchr;

use crate::addr::{Addr, Width};
use crate::image::{Image, MemoryKind};
use crate::symbols::{Symbols, demangle_type};

/// A longer mangled name of a type is not read, in bytes: it would not be demangled either.
const LONGEST_NAME: usize = 32 << 10;
/// More direct bases than any class has.
const MOST_BASES: u64 = 1024;
/// So many records are remembered, with so many bytes of names; past that each is read anew.
const MOST_REMEMBERED: usize = 1 << 18;
const MOST_REMEMBERED_BYTES: u64 = 64 << 20;
/// All the work that records may ask for, in steps of some nanoseconds. Records of a process are as many as its classes, and
/// their names have some dozens of letters; made by an enemy, a million can share a name of the greatest length,
/// or have all the others for bases. A minute's worth: past that, records are taken for unreadable.
const MOST_STEPS: u64 = 1 << 32;
/// What a name costs whose demangling goes far beyond its length, in the same steps.
const COSTLY_NAME: u64 = 1 << 20;

/// Which of the ABI's classes describes a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RecordKind {
    /// No bases: `__class_type_info`.
    Plain,
    /// One public, non-virtual base at offset 0: `__si_class_type_info`.
    Single,
    /// Any other bases: `__vmi_class_type_info`.
    Multiple,
    /// Some `type_info`, but its name is not in the dump.
    Unknown,
}

/// A direct base as the record of the derived class has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BaseRecord {
    pub(super) type_info: Addr,
    /// In bytes: from the derived class's start to the base; for a virtual base the place in the vtable, relative to the
    /// address point, that holds this distance.
    pub(super) offset: i64,
    pub(super) is_virtual: bool,
    pub(super) is_public: bool,
}

/// One class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClassRecord {
    /// The mangled name, without the mark of a module's own class; `None` where the dump does not have it.
    pub(super) mangled: Option<Vec<u8>>,
    /// The name as the programmer wrote it.
    pub(super) name: Option<String>,
    pub(super) bases: Vec<BaseRecord>,
    /// Whether the record's own vtable pointer was shown to be that of one of the three kinds.
    pub(super) proven: bool,
}

impl ClassRecord {
    fn size_bytes(&self) -> u64 {
        let names = self.mangled.as_ref().map_or(0, Vec::len) + self.name.as_ref().map_or(0, String::len);
        (names + size_of_val(self.bases.as_slice())) as u64
    }
}

/// Reads records, and remembers them.
#[derive(Debug)]
pub(super) struct Records<'a, 'i> {
    image: &'i Image,
    symbols: &'a Symbols<'i>,
    kinds: Mutex<HashMap<u64, Option<RecordKind>>>,
    classes: Mutex<HashMap<u64, Option<Arc<ClassRecord>>>>,
    remembered_bytes: AtomicU64,
    steps: AtomicU64,
}

impl<'a, 'i> Records<'a, 'i> {
    pub(super) fn new(symbols: &'a Symbols<'i>) -> Records<'a, 'i> {
        Records {
            image: symbols.image(),
            symbols,
            kinds: Mutex::default(),
            classes: Mutex::default(),
            remembered_bytes: AtomicU64::new(0),
            steps: AtomicU64::new(0),
        }
    }

    fn width(&self) -> u64 {
        self.image.target().width.bytes() as u64
    }

    fn word_at(&self, addr: Addr, words: i64) -> Option<u64> {
        self.image.space().word(addr.checked_offset(words.checked_mul(self.width() as i64)?)?)
    }

    /// Whether `addr` is a place for static data of a module, aligned for a word.
    pub(super) fn is_static(&self, addr: Addr) -> bool {
        addr.is_aligned(self.width()) && self.image.region(addr).is_some_and(|region| region.module.is_some())
    }

    /// Whether a record of a library may be at `addr`. Dumps of emulated processes can leave a library's memory without
    /// anything that tells whose it is; the records in it read as well.
    fn may_hold_records(&self, addr: Addr) -> bool {
        let elsewhere = [MemoryKind::MainHeap, MemoryKind::Stack, MemoryKind::Tls, MemoryKind::Guard];
        addr.is_aligned(self.width()) && self.image.region(addr).is_some_and(|region| !elsewhere.contains(&region.kind))
    }

    /// The class that the `type_info` at `addr` describes; `None` where there is no such record.
    pub(super) fn class(&self, addr: Addr) -> Option<Arc<ClassRecord>> {
        if let Ok(classes) = self.classes.lock()
            && let Some(known) = classes.get(&addr.0)
        {
            return known.clone();
        }
        let class = self.read_class(addr).map(Arc::new);
        let bytes = class.as_ref().map_or(0, |class| class.size_bytes());
        if let Ok(mut classes) = self.classes.lock()
            && classes.len() < MOST_REMEMBERED
            && self.remembered_bytes.load(Ordering::Relaxed) < MOST_REMEMBERED_BYTES
        {
            self.remembered_bytes.fetch_add(bytes, Ordering::Relaxed);
            classes.insert(addr.0, class.clone());
        }
        class
    }

    #[cfg(test)]
    pub(super) fn remembered_bytes(&self) -> u64 {
        self.remembered_bytes.load(Ordering::Relaxed)
    }

    /// Takes `steps` of the work that is allowed in all; whether there were so many left.
    pub(super) fn spend(&self, steps: u64) -> bool {
        self.steps.fetch_add(steps, Ordering::Relaxed) < MOST_STEPS
    }

    fn read_class(&self, addr: Addr) -> Option<ClassRecord> {
        if !self.may_hold_records(addr) || !self.spend(1) {
            return None;
        }
        let kind = self.kind(Addr(self.word_at(addr, 0)?))?;
        let (mangled, name) = match self.text(Addr(self.word_at(addr, 1)?)) {
            Text::Read(text) => {
                // A record whose kind is not proven has to have a name that is one.
                let name = demangle_type(&text);
                let usual = name.as_ref().is_some_and(|name| name.len() <= 16 * text.len());
                self.spend(if usual || text.len() < 64 { 64 * text.len() as u64 } else { COSTLY_NAME });
                if kind == RecordKind::Unknown && name.is_none() {
                    return None;
                }
                let mangled = text.strip_prefix(b"*").unwrap_or(&text).to_vec();
                let name = name.unwrap_or_else(|| String::from_utf8_lossy(&mangled).into_owned());
                (Some(mangled), Some(name))
            }
            Text::Missing => (None, None),
            Text::Nonsense => return None,
        };
        let bases = match kind {
            RecordKind::Plain => Vec::new(),
            RecordKind::Single => self.single_base(addr).into_iter().collect(),
            RecordKind::Multiple => self.multiple_bases(addr),
            RecordKind::Unknown => {
                self.single_base(addr).filter(|base| self.looks_like_record(base.type_info)).into_iter().collect()
            }
        };
        Some(ClassRecord { mangled, name, bases, proven: kind != RecordKind::Unknown })
    }

    /// What a record's vtable pointer tells of it; `None` where it is no class's record.
    fn kind(&self, vptr: Addr) -> Option<RecordKind> {
        if let Ok(kinds) = self.kinds.lock()
            && let Some(known) = kinds.get(&vptr.0)
        {
            return *known;
        }
        let kind = self.read_kind(vptr);
        if let Ok(mut kinds) = self.kinds.lock()
            && kinds.len() < MOST_REMEMBERED
        {
            kinds.insert(vptr.0, kind);
        }
        kind
    }

    fn read_kind(&self, vptr: Addr) -> Option<RecordKind> {
        if !self.may_hold_records(vptr) {
            return None;
        }
        // The record of the record's class, whose name says what it is.
        let of_kind = match (self.word_at(vptr, -2), self.word_at(vptr, -1)) {
            (Some(0), Some(record)) => Some(Addr(record)),
            (Some(_), Some(_)) => return None,
            _ => None,
        };
        let text = of_kind.and_then(|record| self.word_at(record, 1)).map(|text| self.text(Addr(text)));
        match text {
            Some(Text::Read(text)) => kind_by_name(text.strip_prefix(b"*").unwrap_or(&text)),
            Some(Text::Nonsense) => None,
            Some(Text::Missing) | None => {
                let hit = self.symbols.find(vptr);
                let named = hit.filter(|hit| hit.offset == 2 * self.width());
                match named.and_then(|hit| hit.name.strip_prefix(b"_ZTV")) {
                    Some(name) => kind_by_name(name.split(|byte| *byte == b'@').next().unwrap_or_default()),
                    // Without the file of a stripped C++ library, all that shows is a record at the right place; and where a
                    // dump ends before the library, that the place is a module's and nothing is known of it. Then the
                    // name has to prove it.
                    None if !self.is_static(vptr) => None,
                    None => match of_kind {
                        Some(record) => self.may_hold_records(record).then_some(RecordKind::Unknown),
                        None => Some(RecordKind::Unknown),
                    },
                }
            }
        }
    }

    fn single_base(&self, addr: Addr) -> Option<BaseRecord> {
        let type_info = Addr(self.word_at(addr, 2)?);
        self.may_hold_records(type_info).then_some(BaseRecord {
            type_info,
            offset: 0,
            is_virtual: false,
            is_public: true,
        })
    }

    /// Whether there could be a record: two pointers into modules.
    fn looks_like_record(&self, addr: Addr) -> bool {
        self.is_static(addr)
            && self.word_at(addr, 0).is_some_and(|vptr| self.kind(Addr(vptr)).is_some())
            && self.word_at(addr, 1).is_some_and(|text| self.image.module_at(Addr(text)).is_some())
    }

    fn multiple_bases(&self, addr: Addr) -> Vec<BaseRecord> {
        let width = self.width();
        let mut half = [0; 8];
        let Some(flags_at) = addr.checked_add(2 * width) else { return Vec::new() };
        if self.image.space().read_into(flags_at, &mut half) < half.len() {
            return Vec::new();
        }
        let target = self.image.target();
        let count = half.get(4..).and_then(|count| target.u32(count)).map_or(0, u64::from).min(MOST_BASES);
        let mut bases = Vec::new();
        for index in 0..count {
            let at = flags_at.checked_add(8 + index * 2 * width);
            let Some((record, packed)) = at.and_then(|at| Some((self.word_at(at, 0)?, self.word_at(at, 1)?))) else {
                break;
            };
            let type_info = Addr(record);
            if !self.may_hold_records(type_info) {
                break;
            }
            let packed = signed(packed, target.width);
            bases.push(BaseRecord {
                type_info,
                offset: packed >> 8,
                is_virtual: packed & 1 != 0,
                is_public: packed & 2 != 0,
            });
        }
        bases
    }

    fn text(&self, addr: Addr) -> Text {
        let Some(region) = self.image.region(addr).filter(|region| region.module.is_some()) else {
            return Text::Nonsense;
        };
        let bytes = self.image.space().bytes_from(addr);
        if bytes.is_empty() {
            return Text::Missing;
        }
        let bytes = bytes.get(..bytes.len().min(LONGEST_NAME)).unwrap_or_default();
        let Some(text) = memchr(0, bytes).and_then(|end| bytes.get(..end)) else {
            // A name that runs past what the dump has.
            let cut = region.span.end().0 - addr.0 > bytes.len() as u64 && bytes.len() < LONGEST_NAME;
            return if cut { Text::Missing } else { Text::Nonsense };
        };
        let plausible = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.$*".contains(byte) || *byte >= 0x80;
        self.spend(text.len() as u64);
        if text.is_empty() || !text.iter().all(plausible) { Text::Nonsense } else { Text::Read(text.to_vec()) }
    }
}

enum Text {
    Read(Vec<u8>),
    Missing,
    Nonsense,
}

fn kind_by_name(name: &[u8]) -> Option<RecordKind> {
    match name {
        b"N10__cxxabiv117__class_type_infoE" => Some(RecordKind::Plain),
        b"N10__cxxabiv120__si_class_type_infoE" => Some(RecordKind::Single),
        b"N10__cxxabiv121__vmi_class_type_infoE" => Some(RecordKind::Multiple),
        _ => None,
    }
}

/// A word as the signed number of its width.
pub(super) fn signed(word: u64, width: Width) -> i64 {
    match width {
        Width::W4 => i64::from(word as u32 as i32),
        Width::W8 => word as i64,
    }
}
