//! Words that tell what they stand in: pointers into modules' constant data, by what is there.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::addr::Addr;
use crate::image::{Image, MemoryKind};
use crate::types::{Evidence as VtableEvidence, Vtable, VtableKind, Vtables};

use super::identity::{Catalogue, Code, Confidence, Content, Evidence, Identity};
use super::shared_pointer::{self, Control};

const PAGE_SHIFT: u32 = 12;
const FILTER_BITS: u32 = 16;

/// Whether a word may point into modules' data: a table of bits by the hash of its page, which lies in the nearest
/// cache, and the exact spans behind it.
#[derive(Debug)]
struct PageFilter {
    bits: Vec<u64>,
    /// First addresses and the ones behind the last, by address.
    spans: Vec<(u64, u64)>,
    align_mask: u64,
}

impl PageFilter {
    fn new(image: &Image, vtables: &Vtables<'_, '_>) -> PageFilter {
        let kinds = [MemoryKind::Relro, MemoryKind::Rodata, MemoryKind::Data];
        let tables = image.regions().iter().filter(|region| kinds.contains(&region.kind)).map(|region| region.span);
        let mut spans: Vec<(u64, u64)> = (tables.chain(vtables.candidate_ranges()))
            .filter(|span| !span.is_empty())
            .map(|span| (span.start().0, span.end().0))
            .collect();
        spans.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(spans.len());
        for (start, end) in spans {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        let mut filter = PageFilter {
            bits: vec![0; 1 << (FILTER_BITS - 6)],
            spans: joined,
            align_mask: image.target().width.bytes() as u64 - 1,
        };
        for (start, end) in &filter.spans {
            let (first, last) = (start >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT);
            if last - first >= 1 << FILTER_BITS {
                filter.bits.fill(u64::MAX);
                break;
            }
            for page in first..=last {
                let bit = hash(page);
                filter.bits[bit >> 6] |= 1 << (bit & 63);
            }
        }
        filter
    }

    #[inline(always)]
    fn may_hold(&self, word: u64) -> bool {
        let bit = hash(word >> PAGE_SHIFT);
        self.bits.get(bit >> 6).is_some_and(|bits| bits >> (bit & 63) & 1 != 0)
    }

    fn holds(&self, word: u64) -> bool {
        if word & self.align_mask != 0 {
            return false;
        }
        let at = self.spans.partition_point(|(_, end)| *end <= word);
        self.spans.get(at).is_some_and(|(start, _)| *start <= word)
    }
}

#[inline(always)]
fn hash(page: u64) -> usize {
    (page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS)) as usize
}

/// What a word says of the memory it stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    /// Nothing.
    Nothing,
    /// An object of a class begins here.
    Class {
        /// What an allocation is that begins so.
        code: Code,
    },
    /// An object of a class began some bytes before.
    Base {
        /// How many.
        to_top: u64,
    },
    /// A control block of shared pointers begins here, and owns what a word of it points at.
    Control {
        /// What the control block is.
        code: Code,
        /// Where in it that pointer is, in bytes.
        pointer_offset: u64,
        /// What it owns.
        owned: Code,
    },
    /// The word before points at a Rust object.
    Trait {
        /// The object's type.
        code: Code,
        /// The same behind the counts of an `Arc` or `Rc`.
        counted: Code,
        /// The object's size in bytes.
        size: u64,
        /// Its alignment in bytes.
        align: u64,
    },
    /// A C object with a table of functions begins here.
    Functions {
        /// What an allocation is that begins so.
        code: Code,
    },
}

/// Reads marks and remembers them, for all threads.
#[derive(Debug)]
pub(super) struct Marks<'a, 'i> {
    vtables: Vtables<'a, 'i>,
    filter: PageFilter,
    pub(super) catalogue: Catalogue,
    known: Mutex<HashMap<u64, Mark>>,
}

/// One thread's memory of marks.
#[derive(Debug, Default)]
pub(super) struct MarkCache {
    known: HashMap<u64, Mark, BuildHasherDefault<WordHasher>>,
    last: Option<(u64, Mark)>,
    inner: HashMap<(u64, u64), Code>,
    arrays: HashMap<u64, Code>,
}

impl<'a, 'i> Marks<'a, 'i> {
    pub(super) fn new(image: &Image, vtables: Vtables<'a, 'i>) -> Marks<'a, 'i> {
        Marks {
            filter: PageFilter::new(image, &vtables),
            vtables,
            catalogue: Catalogue::default(),
            known: Mutex::default(),
        }
    }

    /// Whether it is worth while to ask [`Marks::mark`]. A few cycles.
    #[inline(always)]
    pub(super) fn may_mark(&self, word: u64) -> bool {
        self.filter.may_hold(word)
    }

    /// What a word says; `at_start` where it is an allocation's first word: tables of functions count there alone.
    pub(super) fn mark(&self, word: u64, at_start: bool, cache: &mut MarkCache) -> Mark {
        if !self.filter.holds(word) {
            return Mark::Nothing;
        }
        // The lowest bit of an aligned word is free.
        let key = word | u64::from(at_start);
        if let Some((known, mark)) = cache.last
            && known == key
        {
            return mark;
        }
        let mark = match cache.known.get(&key) {
            Some(mark) => *mark,
            None => {
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
                let mark = known.unwrap_or_else(|| self.read(Addr(word), at_start));
                self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, mark);
                cache.known.insert(key, mark);
                mark
            }
        };
        cache.last = Some((key, mark));
        mark
    }

    fn read(&self, addr: Addr, at_start: bool) -> Mark {
        match self.vtables.classify(addr) {
            Some(vtable) if vtable.kind == VtableKind::TraitObject => self.trait_object(&vtable),
            Some(vtable) if vtable.offset_to_top < 0 => Mark::Base { to_top: vtable.offset_to_top.unsigned_abs() },
            Some(vtable) if vtable.offset_to_top > 0 => Mark::Nothing,
            Some(vtable) => self.class(vtable),
            None if at_start => self.functions(addr),
            None => Mark::Nothing,
        }
    }

    fn class(&self, vtable: Vtable) -> Mark {
        let evidence = match vtable.evidence {
            VtableEvidence::RttiAndSymbol | VtableEvidence::Rtti => Evidence::VtableAndTypeInfo,
            VtableEvidence::Symbol => Evidence::VtableAndSymbol,
            VtableEvidence::DebugInfo => Evidence::VtableAndDebugInfo,
            VtableEvidence::ShapeAndSymbols | VtableEvidence::Shape => Evidence::Vtable,
        };
        let name = class_name(&vtable);
        // A class of an anonymous namespace has as many namesakes as there are source files.
        let is_local = vtable.class.is_none()
            || vtable.mangled.as_ref().is_some_and(|mangled| memchr::memmem::find(mangled, b"_GLOBAL__N_").is_some());
        let identity = Identity {
            name,
            evidence,
            confidence: vtable.confidence,
            content: None,
            origin: is_local.then_some(vtable.addr),
        };
        match vtable.class.as_deref().and_then(shared_pointer::control_block) {
            None => Mark::Class { code: self.catalogue.code(identity) },
            Some(Control::WithObject { name, object, offset }) => {
                let width = self.width();
                let content = Some(Content { name: object, offset: offset.bytes(width) });
                Mark::Class { code: self.catalogue.code(Identity { name, content, ..identity }) }
            }
            Some(Control::OfPointer { name, object, offset }) => Mark::Control {
                code: self.catalogue.code(Identity { name, ..identity }),
                pointer_offset: offset.bytes(self.width()),
                owned: self.catalogue.code(Identity::new(object, Evidence::SharedPointer, Confidence::Likely)),
            },
        }
    }

    fn trait_object(&self, vtable: &Vtable) -> Mark {
        let Some((size, align)) = vtable.layout else { return Mark::Nothing };
        if size == 0 {
            return Mark::Nothing;
        }
        let name = match (&vtable.class, &vtable.trait_name) {
            (Some(class), _) => class.clone(),
            (None, Some(name)) => format!("an implementation of {name} with vtable {}", vtable.addr),
            (None, None) => format!("Rust type with vtable {}", vtable.addr),
        };
        let identity = |name| Identity::new(name, Evidence::FatPointer, vtable.confidence);
        // The counts of an Arc come first, then the object at its alignment.
        let counts = (2 * self.width()).next_multiple_of(align.clamp(1, 1 << 20));
        let counted = Identity {
            content: Some(Content { name: name.clone(), offset: counts }),
            ..identity(format!("{name}, counted"))
        };
        Mark::Trait { code: self.catalogue.code(identity(name)), counted: self.catalogue.code(counted), size, align }
    }

    fn functions(&self, addr: Addr) -> Mark {
        let Some(table) = self.vtables.function_table(addr) else { return Mark::Nothing };
        let (name, confidence) = match &table.symbol {
            Some(symbol) => (format!("C object with ops {}", symbol.demangled()), Confidence::Likely),
            None => (format!("C object with functions at {addr}"), Confidence::Possible),
        };
        let identity = Identity { origin: Some(addr), ..Identity::new(name, Evidence::FunctionTable, confidence) };
        Mark::Functions { code: self.catalogue.code(identity) }
    }

    /// What an allocation is that has an object of the class with this vtable in its middle.
    pub(super) fn inner(&self, word: u64, code: Code, offset: u64, cache: &mut MarkCache) -> Code {
        *cache.inner.entry((word, offset)).or_insert_with(|| {
            let Some(class) = self.catalogue.get(code) else { return Code::NONE };
            self.catalogue.code(Identity {
                name: format!("{} at +{offset:#x}", class.name),
                evidence: Evidence::InnerVtable,
                confidence: class.confidence.min(Confidence::Likely),
                content: Some(Content { name: class.name, offset }),
                origin: class.origin,
            })
        })
    }

    /// What an allocation is that holds a row of objects of the class with this vtable.
    pub(super) fn array(&self, word: u64, code: Code, cache: &mut MarkCache) -> Code {
        *cache.arrays.entry(word).or_insert_with(|| {
            let Some(class) = self.catalogue.get(code) else { return Code::NONE };
            self.catalogue.code(Identity {
                name: format!("{}[]", class.name),
                evidence: Evidence::VtableArray,
                confidence: class.confidence,
                content: None,
                origin: class.origin,
            })
        })
    }

    /// The class of an object that begins with this word.
    pub(super) fn class_of(&self, word: u64) -> Option<String> {
        if !self.may_mark(word) {
            return None;
        }
        match self.mark(word, false, &mut MarkCache::default()) {
            Mark::Class { code } | Mark::Control { code, .. } => self.catalogue.get(code).map(|class| class.name),
            _ => None,
        }
    }

    pub(super) fn width(&self) -> u64 {
        self.filter.align_mask + 1
    }
}

fn class_name(vtable: &Vtable) -> String {
    let class = match &vtable.class {
        Some(class) => class.clone(),
        None => format!("class with vtable {}", vtable.addr),
    };
    match (vtable.kind, &vtable.constructing) {
        (VtableKind::Construction, Some(derived)) => format!("{derived}, under construction"),
        (VtableKind::Construction, None) => format!("{class}, base of an object under construction"),
        _ => class,
    }
}

/// Mixes words by multiplication: fast, which is all it has to be where what is hashed was put there by allocators and
/// linkers.
#[derive(Debug, Default)]
pub(crate) struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}
