//! Recognising the vtable that a word points at.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::addr::{Addr, Span};
use crate::image::{Image, MemoryKind, ModuleId, Region};
use crate::symbols::{Symbols, demangle_type};
use crate::task::Diagnostic;

use super::functions::{FunctionTable, read_function_table};
use super::rtti::{ClassRecord, Records, signed};
use super::rust::{RustVtables, TraitObject};

/// Objects larger than this are not believed in: the bound of an offset-to-top, in bytes.
const LARGEST_OFFSET: i64 = 1 << 24;
/// How far from a secondary vtable its primary one is looked for, in bytes.
const FARTHEST_PRIMARY: u64 = 64 << 10;
/// More base subobjects than any class has.
const MOST_SUBOBJECTS: usize = 4096;

/// Which language's vtable it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum VtableKind {
    /// Of a C++ class.
    Class,
    /// Of a base while an object of a derived C++ class is under construction.
    Construction,
    /// Of a Rust trait object.
    TraitObject,
}

/// What shows that it is a vtable, and whose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Evidence {
    /// Run-time type information in the dump, and a symbol that says the same.
    RttiAndSymbol,
    /// Run-time type information in the dump.
    Rtti,
    /// A symbol alone: the class was compiled without run-time type information.
    Symbol,
    /// Debug information names the vtable.
    DebugInfo,
    /// The shape of a trait object's vtable, and the symbols of its functions.
    ShapeAndSymbols,
    /// The shape of a trait object's vtable alone.
    Shape,
}

/// How sure the answer is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Confidence {
    /// Something could look like this by accident.
    Possible,
    /// Something else would have to be made to look like this.
    Likely,
    /// The structure proves itself.
    Certain,
}

/// The base subobject whose vtable pointer leads to a secondary vtable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServedBase {
    /// Where the subobject lies in the object, in bytes.
    pub offset: u64,
    /// The base class; `None` where its name is not in the dump, or no base was found there.
    pub class: Option<String>,
}

/// A vtable, as a word in an object points at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vtable {
    /// The address point: what the word holds.
    pub addr: Addr,
    /// In which module it lies.
    pub module: ModuleId,
    /// That module's file name, as in the dump.
    pub module_name: Vec<u8>,
    /// Which language's.
    pub kind: VtableKind,
    /// The class (C++) or the concrete type (Rust), as the programmer wrote it; `None` where nothing names it.
    /// Text from the dump: not yet safe for a terminal.
    pub class: Option<String>,
    /// The mangled name of a C++ class, by which the same class is known in several modules.
    pub mangled: Option<Vec<u8>>,
    /// For a secondary vtable, which base it serves.
    pub base: Option<ServedBase>,
    /// From the subobject with this vtable pointer to the start of the object, in bytes: 0 or negative, as a rule.
    pub offset_to_top: i64,
    /// The record that describes the class; `None` for Rust, and for classes without run-time type information.
    pub type_info: Option<Addr>,
    /// The trait, for a Rust trait object, where something names it.
    pub trait_name: Option<String>,
    /// For a construction vtable, the class under construction, where a symbol names it.
    pub constructing: Option<String>,
    /// Size and alignment of the concrete type in bytes, for a Rust trait object.
    pub layout: Option<(u64, u64)>,
    /// What shows it.
    pub evidence: Evidence,
    /// How sure it is.
    pub confidence: Confidence,
}

impl fmt::Display for Vtable {
    /// `vtable of net::Client`, `vtable of D for its base B`, `Rust vtable of <Circle as Shape>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class.as_deref();
        match self.kind {
            VtableKind::Class => write!(f, "vtable of {}", class.unwrap_or("an unnamed class"))?,
            VtableKind::Construction => {
                write!(f, "construction vtable of {}", class.unwrap_or("an unnamed class"))?;
                if let Some(derived) = &self.constructing {
                    write!(f, " in {derived}")?;
                }
            }
            VtableKind::TraitObject => match (class, self.trait_name.as_deref()) {
                (Some(class), Some(name)) => write!(f, "Rust vtable of <{class} as {name}>")?,
                (Some(class), None) => write!(f, "Rust vtable of {class}")?,
                (None, name) => {
                    f.write_str("Rust trait object vtable")?;
                    if let Some(name) = name {
                        write!(f, " of {name}")?;
                    }
                    if let Some((size, align)) = self.layout {
                        write!(f, ", size {size}, align {align}")?;
                    }
                    write!(f, ", in module {}", String::from_utf8_lossy(&self.module_name))?;
                }
            },
        }
        match &self.base {
            Some(ServedBase { class: Some(base), .. }) => write!(f, " for its base {base}"),
            Some(ServedBase { class: None, offset }) => write!(f, " for its base at offset {offset}"),
            None => Ok(()),
        }
    }
}

/// A direct base of a C++ class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Base {
    /// Its own record.
    pub type_info: Addr,
    /// Its name; `None` where the dump does not have it.
    pub class: Option<String>,
    /// Where it lies in the derived class, in bytes; `None` for a virtual base, whose place depends on the object.
    pub offset: Option<i64>,
    /// Whether it is shared by all who derive from it so.
    pub is_virtual: bool,
    /// Whether everybody may know of it.
    pub is_public: bool,
}

/// Recognises vtables, and remembers what was found on the way.
#[derive(Debug)]
pub struct Vtables<'a, 'i> {
    image: &'i Image,
    symbols: &'a Symbols<'i>,
    pub(super) records: Records<'a, 'i>,
    rust: RustVtables<'a, 'i>,
    diagnostics: Mutex<BTreeMap<u64, Diagnostic>>,
}

impl<'a, 'i> Vtables<'a, 'i> {
    /// Prepares to recognise vtables; reads nothing yet.
    pub fn new(image: &'i Image, symbols: &'a Symbols<'i>) -> Vtables<'a, 'i> {
        Vtables {
            image,
            symbols,
            records: Records::new(symbols),
            rust: RustVtables::new(symbols),
            diagnostics: Mutex::default(),
        }
    }

    fn width(&self) -> u64 {
        self.image.target().width.bytes() as u64
    }

    fn word_at(&self, addr: Addr, words: i64) -> Option<u64> {
        self.image.space().word(addr.checked_offset(words.checked_mul(self.width() as i64)?)?)
    }

    /// The values that a pointer to a vtable can have: the spans of modules' data, by address, without overlap. A word
    /// outside of them points at no vtable that [`Vtables::classify`] would recognise.
    pub fn candidate_ranges(&self) -> Vec<Span> {
        let regions = self.image.regions();
        // Where constants were linked into the code's segment, vtables can lie there as well.
        let with_constants: HashSet<ModuleId> = regions
            .iter()
            .filter(|region| region.kind == MemoryKind::Rodata)
            .filter_map(|region| region.module)
            .collect();
        let mut spans: Vec<Span> = Vec::new();
        for region in regions.iter().filter(|region| self.may_hold_vtables(region, &with_constants)) {
            match spans.last_mut() {
                Some(last) if last.end() == region.span.start() => {
                    *last = Span::new(last.start(), region.span.end()).unwrap_or(*last);
                }
                _ => spans.push(region.span),
            }
        }
        spans
    }

    fn may_hold_vtables(&self, region: &Region, with_constants: &HashSet<ModuleId>) -> bool {
        let Some(module) = region.module else { return false };
        match region.kind {
            MemoryKind::Relro | MemoryKind::Rodata | MemoryKind::Data | MemoryKind::Bss => true,
            MemoryKind::Text => !with_constants.contains(&module),
            _ => false,
        }
    }

    /// The vtable that a word with this value points at; `None` where it points at none. The same address gives the
    /// same answer each time.
    pub fn classify(&self, addr: Addr) -> Option<Vtable> {
        if !self.records.is_static(addr) {
            return None;
        }
        self.classify_class(addr).or_else(|| self.classify_trait_object(addr))
    }

    /// The table of functions that a word with this value points at: `tcp_ops`. `None` where there is none.
    /// Vtables look like one as well: ask [`Vtables::classify`] first.
    pub fn function_table(&self, addr: Addr) -> Option<FunctionTable<'_>> {
        if self.records.is_static(addr) { read_function_table(self.symbols, addr) } else { None }
    }

    /// The class whose run-time type information begins at `addr`; `None` where none does, or nothing names it.
    pub fn type_info(&self, addr: Addr) -> Option<String> {
        if !self.records.is_static(addr) {
            return None;
        }
        self.records.class(addr).filter(|class| class.proven)?.name.clone()
    }

    fn classify_class(&self, addr: Addr) -> Option<Vtable> {
        let offset_to_top = signed(self.word_at(addr, -2)?, self.image.target().width);
        let type_info = Addr(self.word_at(addr, -1)?);
        if offset_to_top.unsigned_abs() > LARGEST_OFFSET.unsigned_abs() || offset_to_top % self.width() as i64 != 0 {
            return None;
        }
        let symbol = self.vtable_symbol(addr);
        let (module, _) = self.image.module_at(addr)?;
        if type_info == Addr(0) {
            return self.classify_without_rtti(addr, module, offset_to_top, symbol?);
        }
        let class = self.records.class(type_info)?;
        if symbol.is_none() && !self.has_slots(addr, &class) {
            return None;
        }
        let mut vtable = self.bare(addr, module, VtableKind::Class);
        vtable.class = class.name.clone();
        vtable.mangled = class.mangled.clone();
        vtable.offset_to_top = offset_to_top;
        vtable.type_info = Some(type_info);
        vtable.evidence = Evidence::Rtti;
        vtable.confidence = if class.proven { Confidence::Certain } else { Confidence::Likely };
        if offset_to_top != 0 {
            vtable.base = self.served_base(addr, type_info, &class, offset_to_top);
        }
        if let Some(symbol) = symbol {
            self.check_with_symbol(&mut vtable, &symbol);
        }
        Some(vtable)
    }

    /// Holds a vtable known from its record to the symbol that covers it.
    fn check_with_symbol(&self, vtable: &mut Vtable, symbol: &VtableSymbol) {
        if let Some((derived, base)) = &symbol.construction {
            // The record of a construction vtable is the base's.
            vtable.kind = VtableKind::Construction;
            vtable.constructing = Some(derived.clone());
            vtable.base = vtable.base.take().filter(|_| vtable.class.as_ref() == Some(base));
            vtable.evidence = Evidence::RttiAndSymbol;
            return;
        }
        match &vtable.mangled {
            None => {
                vtable.class = demangle_type(&symbol.class);
                vtable.mangled = Some(symbol.class.clone());
                vtable.evidence = Evidence::RttiAndSymbol;
            }
            Some(mangled) if *mangled == symbol.class => vtable.evidence = Evidence::RttiAndSymbol,
            Some(mangled) => {
                vtable.confidence = Confidence::Possible;
                let (ours, theirs) = (String::from_utf8_lossy(mangled), String::from_utf8_lossy(&symbol.class));
                let diagnostic = Diagnostic {
                    code: "vtable-names-disagree",
                    at: vtable.addr.to_string(),
                    effect: format!("its type information says {ours}, the symbol table {theirs}; the former is shown"),
                };
                if let Ok(mut diagnostics) = self.diagnostics.lock() {
                    diagnostics.insert(vtable.addr.0, diagnostic);
                }
            }
        }
    }

    /// A class compiled without run-time type information has 0 in place of the record; so has a vtable's middle now and
    /// then, but no function behind it.
    fn classify_without_rtti(&self, addr: Addr, module: ModuleId, offset: i64, symbol: VtableSymbol) -> Option<Vtable> {
        if offset > 0 || !self.word_at(addr, 0).is_some_and(|slot| self.is_function(Addr(slot))) {
            return None;
        }
        let mut vtable = self.bare(addr, module, VtableKind::Class);
        vtable.class = demangle_type(&symbol.class);
        vtable.mangled = Some(symbol.class);
        vtable.offset_to_top = offset;
        vtable.evidence = Evidence::Symbol;
        vtable.confidence = Confidence::Likely;
        vtable.base = u64::try_from(-offset).ok().filter(|at| *at > 0).map(|offset| ServedBase { offset, class: None });
        if let Some((derived, base)) = symbol.construction {
            vtable.kind = VtableKind::Construction;
            vtable.constructing = Some(derived);
            vtable.class = Some(base);
        }
        Some(vtable)
    }

    fn bare(&self, addr: Addr, module: ModuleId, kind: VtableKind) -> Vtable {
        Vtable {
            addr,
            module,
            module_name: self.image.module(module).map(|module| module.name().to_vec()).unwrap_or_default(),
            kind,
            class: None,
            mangled: None,
            base: None,
            offset_to_top: 0,
            type_info: None,
            trait_name: None,
            constructing: None,
            layout: None,
            evidence: Evidence::Shape,
            confidence: Confidence::Possible,
        }
    }

    /// The `_ZTV` or `_ZTC` symbol that covers `addr`.
    fn vtable_symbol(&self, addr: Addr) -> Option<VtableSymbol> {
        // One word before: the address point of a vtable without functions is its end.
        let hit = self.symbols.find(addr.checked_sub(self.width())?)?;
        if hit.offset < self.width() {
            return None;
        }
        if let Some(class) = hit.name.strip_prefix(b"_ZTV") {
            // The version of a library's symbol, where an executable has a copy of the vtable: `_ZTVSt9bad_alloc@GLIBCXX_3.4`.
            let class = class.split(|byte| *byte == b'@').next().unwrap_or_default();
            return Some(VtableSymbol { class: class.to_vec(), construction: None });
        }
        hit.name.strip_prefix(b"_ZTC")?;
        // `construction vtable for B-in-D`
        let text = hit.demangled();
        let (base, derived) = text.strip_prefix("construction vtable for ")?.split_once("-in-")?;
        Some(VtableSymbol { class: Vec::new(), construction: Some((derived.to_owned(), base.to_owned())) })
    }

    /// Whether functions follow, as they do behind an address point. A class without any has virtual bases, or it would
    /// have no vtable; a pure virtual destructor leaves two empty places.
    fn has_slots(&self, addr: Addr, class: &ClassRecord) -> bool {
        match self.word_at(addr, 0) {
            Some(slot) if self.is_function(Addr(slot)) => true,
            Some(0) => {
                matches!(self.word_at(addr, 1), Some(0)) && self.word_at(addr, 2) != Some(0)
                    || self.has_virtual_base(class)
            }
            _ => self.has_virtual_base(class),
        }
    }

    fn is_function(&self, addr: Addr) -> bool {
        super::functions::is_function(self.image, addr)
    }

    fn has_virtual_base(&self, class: &ClassRecord) -> bool {
        let mut waiting: Vec<_> = class.bases.clone();
        let mut seen = HashSet::new();
        for _ in 0..MOST_SUBOBJECTS {
            let Some(base) = waiting.pop() else { return false };
            if base.is_virtual {
                return true;
            }
            // One class can be a base by many ways; and what is no class of a program can be its own base.
            if !seen.insert(base.type_info) || !self.records.spend(16) {
                continue;
            }
            let Some(class) = self.records.class(base.type_info) else { continue };
            let room = MOST_SUBOBJECTS.saturating_sub(waiting.len());
            waiting.extend(class.bases.iter().take(room));
        }
        false
    }

    /// Which base lies where a secondary vtable's pointer lies: the outermost one, nearest to the class.
    fn served_base(&self, addr: Addr, type_info: Addr, class: &ClassRecord, offset_to_top: i64) -> Option<ServedBase> {
        let wanted = offset_to_top.checked_neg()?;
        let offset = u64::try_from(wanted).ok()?;
        let points = self.address_points(addr, type_info);
        let mut waiting = VecDeque::from([(Arc::new(class.clone()), 0_i64)]);
        let mut looked_at = 0;
        let mut seen = HashSet::new();
        while let Some((class, at)) = waiting.pop_front() {
            for base in &class.bases {
                looked_at += 1;
                if looked_at > MOST_SUBOBJECTS || !self.records.spend(16) {
                    return Some(ServedBase { offset, class: None });
                }
                let place = if base.is_virtual {
                    // The distance stands in the vtable of the subobject that has the virtual base.
                    let point = points.get(&at.wrapping_neg());
                    let slot = point.and_then(|point| point.checked_offset(base.offset));
                    let distance = slot.and_then(|slot| self.image.space().word(slot));
                    distance.and_then(|distance| at.checked_add(signed(distance, self.image.target().width)))
                } else {
                    at.checked_add(base.offset)
                };
                let Some(place) = place else { continue };
                let record = self.records.class(base.type_info);
                if place == wanted {
                    return Some(ServedBase { offset, class: record.and_then(|record| record.name.clone()) });
                }
                // A place holds one subobject of a class, by however many ways it was found.
                if seen.insert((base.type_info, place)) {
                    waiting.extend(record.map(|record| (record, place)));
                }
            }
        }
        Some(ServedBase { offset, class: None })
    }

    /// The address points of all vtables of one class's group, by offset-to-top: the linker lays them out one behind
    /// the other, the primary one first.
    fn address_points(&self, addr: Addr, type_info: Addr) -> BTreeMap<i64, Addr> {
        let mut points = BTreeMap::new();
        let width = self.width();
        if !self.records.spend(2 * FARTHEST_PRIMARY / width) {
            return points;
        }
        let is_point = |at: Addr| {
            let offset = signed(self.word_at(at, -2)?, self.image.target().width);
            (self.word_at(at, -1)? == type_info.0 && (-LARGEST_OFFSET..=0).contains(&offset)).then_some(offset)
        };
        let mut primary = None;
        for back in 0..FARTHEST_PRIMARY / width {
            let Some(at) = addr.checked_sub(back * width) else { break };
            if is_point(at) == Some(0) {
                primary = Some(at);
                break;
            }
        }
        let Some(primary) = primary else { return points };
        points.insert(0, primary);
        for ahead in 1..FARTHEST_PRIMARY / width {
            let Some(at) = primary.checked_add(ahead * width) else { break };
            match is_point(at) {
                Some(0) => break,
                Some(offset) => {
                    points.entry(offset).or_insert(at);
                }
                None => {}
            }
        }
        points
    }

    /// The direct bases of the class whose `type_info` is given, in their order; empty where it has none or is none.
    pub fn bases(&self, type_info: Addr) -> Vec<Base> {
        let Some(class) = self.records.class(type_info) else { return Vec::new() };
        let read = |base: &super::rtti::BaseRecord| Base {
            type_info: base.type_info,
            class: self.records.class(base.type_info).and_then(|class| class.name.clone()),
            offset: (!base.is_virtual).then_some(base.offset),
            is_virtual: base.is_virtual,
            is_public: base.is_public,
        };
        class.bases.iter().map(read).collect()
    }

    fn classify_trait_object(&self, addr: Addr) -> Option<Vtable> {
        let (module, _) = self.image.module_at(addr)?;
        let TraitObject { size, align, class, trait_name, evidence } = self.rust.read(addr, module)?;
        let mut vtable = self.bare(addr, module, VtableKind::TraitObject);
        vtable.layout = Some((size, align));
        vtable.class = class;
        vtable.trait_name = trait_name;
        vtable.evidence = evidence;
        vtable.confidence = match evidence {
            Evidence::DebugInfo => Confidence::Certain,
            Evidence::ShapeAndSymbols => Confidence::Likely,
            _ => Confidence::Possible,
        };
        Some(vtable)
    }

    /// What was doubtful in the answers so far, by address.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let own = self.diagnostics.lock().map(|known| known.values().cloned().collect::<Vec<_>>()).unwrap_or_default();
        own.into_iter().chain(self.rust.diagnostics()).collect()
    }
}

/// What the symbol over a vtable says.
struct VtableSymbol {
    /// The mangled name of the class; empty for a construction vtable.
    class: Vec<u8>,
    /// The class under construction, and the base whose vtable this is.
    construction: Option<(String, String)>,
}
