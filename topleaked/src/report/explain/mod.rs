//! What is at one address, who points there, and how the program reaches it.

mod human;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::addr::{Addr, ByteOrder, Span, Target, Width};
use crate::graph::{Holder, Path, Reachability, RootMemory, Step};
use crate::heap::{AllocId, Heap, HeapError, State};
use crate::image::{Content, MemoryKind, MissingReason};
use crate::objects::{Glance, Identity, Objects};
use crate::session::Session;
use crate::types::Vtables;

use super::{Hex, safe_text::lossless};

/// So many incoming references are looked at; all are counted.
const MOST_INCOMING: usize = 4096;
/// So many of them are listed.
const EXAMPLES: usize = 64;
/// So many words of contents are shown.
const MOST_WORDS: u64 = 64;
/// Numbers below this are no pointers: the system maps nothing there.
pub(super) const SMALL: u64 = 0x10000;
/// In a heap of at most so many allocations all are identified for one question, which takes a second or two; in a larger
/// one each says what it can by itself.
const MOST_IDENTIFIED: usize = 4 << 20;
/// Around an address that is in no allocation, so many words are shown.
const WORDS_AROUND: u64 = 8;

/// The answer of `explain`.
#[derive(Clone, Debug, Serialize)]
pub struct Explain {
    address: Hex,
    /// The memory that the address is in; absent where it is in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<SegmentRow>,
    /// The memory nearest to an address that is in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<NearestRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<ModuleRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<SymbolRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<StackRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocation: Option<AllocationRow>,
    /// Whether an allocator keeps its books there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allocator_metadata: bool,
    /// The allocations in front of and behind an address that is in none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    neighbours: Vec<NeighbourRow>,
    contents: Vec<WordRow>,
    /// Words that are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    more_words: u64,
    incoming: Vec<IncomingRow>,
    incoming_total: u64,
    /// The incoming references by where they are; of very many the first some thousand.
    incoming_by: Vec<IncomingGroup>,
    outgoing: Vec<OutgoingRow>,
    /// From a root to the allocation; absent where nothing leads there.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Vec<StepRow>>,
}

#[derive(Clone, Debug, Serialize)]
struct SegmentRow {
    start: Hex,
    end: Hex,
    kind: &'static str,
    permissions: String,
    /// `in the dump`, `from the module's file`, or why it is missing.
    bytes: &'static str,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct NearestRow {
    /// The first address behind the nearest memory below.
    #[serde(skip_serializing_if = "Option::is_none")]
    below_end: Option<Hex>,
    /// The first address of the nearest memory above.
    #[serde(skip_serializing_if = "Option::is_none")]
    above_start: Option<Hex>,
}

#[derive(Clone, Debug, Serialize)]
struct ModuleRow {
    path: String,
    offset: u64,
}

#[derive(Clone, Debug, Serialize)]
struct SymbolRow {
    name: String,
    offset: u64,
    size: u64,
}

#[derive(Clone, Debug, Serialize)]
struct StackRow {
    tid: u32,
    /// From the stack pointer up to the address; negative below it, where the program is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    above_sp: Option<i64>,
    /// The function that the thread was in.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// The nearest code address on the stack at or above the address: a return address, as a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    near: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct AllocationRow {
    address: Hex,
    size: u64,
    /// From its start to the address asked for.
    offset: u64,
    state: &'static str,
    allocator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reachability: Option<&'static str>,
    /// Why it is only possibly leaked.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct NeighbourRow {
    address: Hex,
    size: u64,
    state: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct WordRow {
    offset: i64,
    address: Hex,
    value: Hex,
    what: String,
}

#[derive(Clone, Debug, Serialize)]
struct IncomingRow {
    /// Where the word is; a register has no address.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Hex>,
    /// `allocation`, or the kind of root.
    kind: &'static str,
    /// What is there, in words.
    place: String,
    /// How far behind the start of the target the word points.
    offset: u64,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct IncomingGroup {
    kind: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    count: u64,
}

#[derive(Clone, Debug, Serialize)]
struct OutgoingRow {
    /// Where in the allocation the pointer is.
    offset: u64,
    to: Hex,
    size: u64,
    state: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct StepRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Hex>,
    kind: &'static str,
    place: String,
    to: Hex,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Explain {
    /// Finds out what is at `addr`.
    ///
    /// # Errors
    /// Where the heap cannot be walked.
    pub fn new(session: &Session<'_>, addr: Addr) -> Result<Explain, HeapError> {
        let heap = session.heap()?;
        let context = Context {
            session,
            heap,
            objects: match heap.table.len() {
                0..=MOST_IDENTIFIED => Known::All(session.objects()?),
                _ => Known::Alone(Box::new(Glance::new(session.image(), session.vtables(), &heap.table))),
            },
            vtables: session.vtables(),
        };
        let mut explain = Explain {
            address: addr.into(),
            segment: context.segment(addr),
            nearest: context.nearest(addr),
            module: context.module(addr),
            symbol: None,
            stack: context.stack(addr),
            allocation: None,
            allocator_metadata: covers(&heap.metadata, addr),
            neighbours: Vec::new(),
            contents: Vec::new(),
            more_words: 0,
            incoming: Vec::new(),
            incoming_total: 0,
            incoming_by: Vec::new(),
            outgoing: Vec::new(),
            path: None,
        };
        let width = session.image().target().width.bytes() as u64;
        let found = heap.table.find(addr);
        let mut target = Span::with_size(addr.align_down(width), width).unwrap_or_default();
        match found {
            Some((id, offset)) => {
                target = heap.table.span(id);
                explain.take_allocation(&context, id, offset)?;
            }
            None => {
                if let Some(symbol) = session.symbols().find(addr) {
                    explain.symbol = Some(SymbolRow {
                        name: symbol.demangled().into_owned(),
                        offset: symbol.offset,
                        size: symbol.size,
                    });
                    if symbol.size > symbol.offset {
                        target = Span::with_size(symbol.address, symbol.size).unwrap_or(target);
                    }
                }
                if covers(&heap.claimed, addr) {
                    explain.neighbours = context.neighbours(addr);
                }
            }
        }
        // Machine code says nothing when it is taken for words.
        if explain.segment.as_ref().is_some_and(|segment| segment.kind != MemoryKind::Text.name()) {
            explain.take_contents(&context, addr, found.map(|(id, _)| id), target);
        }
        // A pointer to memory that was given back is worth to be found; a small number is no pointer.
        if explain.segment.is_some() || addr.0 >= SMALL {
            explain.take_incoming(&context, target)?;
        }
        Ok(explain)
    }

    fn take_allocation(&mut self, context: &Context<'_, '_>, id: AllocId, offset: u64) -> Result<(), HeapError> {
        let (heap, session) = (context.heap, context.session);
        let allocation = heap.table.get(id);
        let identity = context.objects.identity(id);
        let mut row = AllocationRow {
            address: allocation.address.into(),
            size: allocation.usable_size,
            offset,
            state: allocation.state.name(),
            allocator: heap
                .allocators
                .get(usize::from(allocation.allocator.0))
                .map_or("unknown", |a| a.name)
                .to_owned(),
            reachability: None,
            reason: None,
            type_name: identity.as_ref().map(|identity| identity.name.clone()),
            evidence: identity.map(|identity| identity.evidence.words()),
        };
        let references = session.references()?;
        if allocation.state.is_used() {
            let Path { reachability, steps } = references.find_path(id, session.task());
            row.reachability = Some(reachability.name());
            row.reason = match reachability {
                Reachability::PossiblyInterior => Some("only pointers into the middle of an allocation lead to it"),
                Reachability::PossiblyStale => Some("only a place that the program is done with leads to it"),
                Reachability::Anchored | Reachability::Leaked => None,
            };
            self.path =
                (reachability != Reachability::Leaked).then(|| steps.iter().map(|step| context.step(step)).collect());
            references.for_each_pointer(allocation.span(), |at, pointer| {
                if self.outgoing.len() < EXAMPLES && pointer.allocation != id {
                    let to = heap.table.get(pointer.allocation);
                    self.outgoing.push(OutgoingRow {
                        offset: at.0 - allocation.address.0,
                        to: to.address.checked_add(pointer.offset).unwrap_or(to.address).into(),
                        size: to.usable_size,
                        state: to.state.name(),
                        type_name: context.type_of(pointer.allocation),
                    });
                }
            });
        }
        self.allocation = Some(row);
        Ok(())
    }

    fn take_contents(&mut self, context: &Context<'_, '_>, addr: Addr, id: Option<AllocId>, target: Span) {
        let width = context.session.image().target().width.bytes() as u64;
        let span = match id {
            Some(_) => target,
            None => {
                let from = addr.align_down(width).checked_sub(WORDS_AROUND / 2 * width).unwrap_or(addr);
                Span::with_size(from, WORDS_AROUND * width).unwrap_or_default()
            }
        };
        let base = if id.is_some() { span.start() } else { addr.align_down(width) };
        let words = span.size_bytes() / width;
        // An address deep in a large allocation is shown with what is around it.
        let first = match words > MOST_WORDS {
            true => {
                (addr.0.saturating_sub(span.start().0) / width).saturating_sub(MOST_WORDS / 2).min(words - MOST_WORDS)
            }
            false => 0,
        };
        for index in first..(first + MOST_WORDS).min(words) {
            let Some(at) = span.start().checked_add(index * width) else { break };
            let Some(value) = context.session.image().space().word(at) else { continue };
            self.contents.push(WordRow {
                offset: at.0.wrapping_sub(base.0) as i64,
                address: at.into(),
                value: value.into(),
                what: context.describe(value),
            });
        }
        self.more_words = if id.is_some() { words.saturating_sub(MOST_WORDS) } else { 0 };
    }

    fn take_incoming(&mut self, context: &Context<'_, '_>, target: Span) -> Result<(), HeapError> {
        let references = context.session.references()?;
        let found = references.find_incoming(target, MOST_INCOMING, context.session.task());
        self.incoming_total = found.total;
        let mut groups: BTreeMap<(&'static str, Option<String>), u64> = BTreeMap::new();
        for (at, incoming) in found.examples.iter().enumerate() {
            let (from, kind, place, type_name) = context.holder(&incoming.holder);
            *groups.entry((kind, type_name.clone())).or_default() += 1;
            if at < EXAMPLES {
                let offset = incoming.to.0.saturating_sub(target.start().0);
                self.incoming.push(IncomingRow { from: from.map(Hex::from), kind, place, offset, type_name });
            }
        }
        let rows = groups.into_iter().map(|((kind, type_name), count)| IncomingGroup { kind, type_name, count });
        self.incoming_by = rows.collect();
        self.incoming_by.sort_by_key(|group| std::cmp::Reverse(group.count));
        Ok(())
    }
}

fn covers(spans: &[Span], addr: Addr) -> bool {
    let at = spans.partition_point(|span| span.end() <= addr);
    spans.get(at).is_some_and(|span| span.contains(addr))
}

/// What is known of allocations.
enum Known<'s, 'i> {
    /// As much as `types` and `leaks` know.
    All(&'s Objects),
    /// What each shows alone.
    Alone(Box<Glance<'s, 'i>>),
}

impl Known<'_, '_> {
    fn identity(&self, id: AllocId) -> Option<Identity> {
        match self {
            Known::All(objects) => objects.of(id).map(|identity| objects.identity(identity).clone()),
            Known::Alone(glance) => glance.identity(id),
        }
    }
}

struct Context<'s, 'i> {
    session: &'s Session<'i>,
    heap: &'s Heap,
    objects: Known<'s, 'i>,
    vtables: Vtables<'s, 'i>,
}

impl Context<'_, '_> {
    fn segment(&self, addr: Addr) -> Option<SegmentRow> {
        let image = self.session.image();
        let segment = image.space().find_segment(addr)?;
        let region = image.region(addr);
        let span = region.map_or(segment.span, |region| region.span);
        let flag = |set: bool, letter: char| if set { letter } else { '-' };
        let permissions = segment.permissions;
        Some(SegmentRow {
            start: span.start().into(),
            end: span.end().into(),
            kind: region.map_or(MemoryKind::Anonymous, |region| region.kind).name(),
            permissions: [flag(permissions.read, 'r'), flag(permissions.write, 'w'), flag(permissions.execute, 'x')]
                .iter()
                .collect(),
            bytes: match segment.content {
                Content::Present(..) => "in the dump",
                Content::Elided(..) => "from the module's file",
                Content::Missing(MissingReason::Guard) => "never readable",
                Content::Missing(MissingReason::Truncated) => "missing: the dump ends before them",
                Content::Missing(MissingReason::FileNotFound) => "missing: in a file that was not found",
                Content::Missing(_) => "missing: left out of the dump",
            },
        })
    }

    fn nearest(&self, addr: Addr) -> Option<NearestRow> {
        let segments = self.session.image().space().segments();
        let next = segments.partition_point(|segment| segment.span.end() <= addr);
        let above = segments.get(next);
        if above.is_some_and(|segment| segment.span.contains(addr)) {
            return None;
        }
        let below = next.checked_sub(1).and_then(|at| segments.get(at));
        Some(NearestRow {
            below_end: below.map(|segment| segment.span.end().into()),
            above_start: above.map(|segment| segment.span.start().into()),
        })
    }

    fn module(&self, addr: Addr) -> Option<ModuleRow> {
        let (_, module) = self.session.image().module_at(addr)?;
        Some(ModuleRow { path: lossless(&module.path), offset: addr.0 - module.base().0 })
    }

    fn stack(&self, addr: Addr) -> Option<StackRow> {
        let image = self.session.image();
        let thread = image.threads().iter().find(|thread| thread.stack.is_some_and(|stack| stack.contains(addr)))?;
        let function = |addr: Addr| symbol_text(self.session, addr);
        Some(StackRow {
            tid: thread.tid,
            above_sp: thread.sp.map(|sp| addr.0.wrapping_sub(sp.0) as i64),
            function: thread.pc.and_then(function),
            near: self.near_frame(addr, thread.stack?),
        })
    }

    /// The nearest word at or above `addr` that points into code.
    fn near_frame(&self, addr: Addr, stack: Span) -> Option<String> {
        let image = self.session.image();
        let width = image.target().width.bytes() as u64;
        let from = addr.align_down(width);
        (0..1024_u64).find_map(|index| {
            let at = from.checked_add(index * width).filter(|at| stack.contains(*at))?;
            let value = Addr(image.space().word(at)?);
            let code = image.region(value).is_some_and(|region| region.kind == MemoryKind::Text);
            if code { symbol_text(self.session, value) } else { None }
        })
    }

    fn neighbours(&self, addr: Addr) -> Vec<NeighbourRow> {
        let table = &self.heap.table;
        let before = table.find_before(addr);
        let after = match before {
            Some(id) => AllocId(id.0.saturating_add(1)),
            None => AllocId(0),
        };
        let after = Some(after).filter(|id| (id.0 as usize) < table.len());
        // What lies in another piece of memory is no neighbour.
        let own = self.heap.claimed.get(self.heap.claimed.partition_point(|span| span.end() <= addr));
        let near = |id: &AllocId| own.is_some_and(|span| span.contains(table.address(*id)));
        let rows = before.into_iter().chain(after).filter(near).map(|id| table.get(id));
        rows.map(|allocation| NeighbourRow {
            address: allocation.address.into(),
            size: allocation.usable_size,
            state: allocation.state.name(),
        })
        .collect()
    }

    fn type_of(&self, id: AllocId) -> Option<String> {
        self.objects.identity(id).map(|identity| identity.name)
    }

    /// What a word is, in words.
    fn describe(&self, value: u64) -> String {
        if let Some((id, offset)) = self.heap.table.find(Addr(value)) {
            return self.allocation_text(id, offset);
        }
        let image = self.session.image();
        let Some(region) = image.region(Addr(value)) else { return number_text(value, image.target()) };
        if let Some(vtable) = self.vtables.classify(Addr(value)) {
            return vtable.to_string();
        }
        if let Some(symbol) = symbol_text(self.session, Addr(value)) {
            return symbol;
        }
        if let Some(thread) = region.thread.and_then(|id| image.threads().get(id.0 as usize)) {
            return format!("{} memory of thread {}", region.kind, thread.tid);
        }
        match image.module_at(Addr(value)) {
            Some((_, module)) => {
                format!("{} memory, {}+{:#x}", region.kind, lossless(module.name()), value - module.base().0)
            }
            None => format!("{} memory", region.kind),
        }
    }

    fn allocation_text(&self, id: AllocId, offset: u64) -> String {
        let allocation = self.heap.table.get(id);
        let what = self.type_of(id).unwrap_or_else(|| match allocation.state {
            State::Used => "allocation".to_owned(),
            state => format!("{} memory", state.name()),
        });
        let into = if offset == 0 { String::new() } else { format!("+{offset:#x} in ") };
        format!("{into}{what} of {} bytes at {:#x}", allocation.usable_size, allocation.address.0)
    }

    /// Where a holder's word is, its kind, its place in words, and the type it is in.
    fn holder(&self, holder: &Holder) -> (Option<Addr>, &'static str, String, Option<String>) {
        match holder {
            Holder::Allocation(id, offset) => {
                let at = self.heap.table.address(*id).checked_add(*offset);
                (at, "allocation", self.allocation_text(*id, *offset), self.type_of(*id))
            }
            Holder::Memory(root, at) => (Some(*at), root.kind.name(), self.root_text(root, *at), None),
            Holder::Register(register) => {
                let tid = self.session.image().threads().get(register.thread.0 as usize).map_or(0, |thread| thread.tid);
                (None, "register", format!("{} of thread {tid}", register.name), None)
            }
        }
    }

    fn root_text(&self, root: &RootMemory, at: Addr) -> String {
        if let Some(symbol) = symbol_text(self.session, at) {
            return symbol;
        }
        let image = self.session.image();
        if let Some(thread) = root.thread.and_then(|id| image.threads().get(id.0 as usize)) {
            return match self.near_frame(at, root.span) {
                Some(near) => format!("thread {}, below {near}", thread.tid),
                None => format!("thread {}", thread.tid),
            };
        }
        match image.module_at(at) {
            Some((_, module)) => format!("{}+{:#x}", lossless(module.name()), at.0 - module.base().0),
            None => format!("{:#x}", at.0),
        }
    }

    fn step(&self, step: &Step) -> StepRow {
        let (from, kind, place, _) = self.holder(&step.holder);
        StepRow { from: from.map(Hex::from), kind, place, to: step.to.into() }
    }
}

fn symbol_text(session: &Session<'_>, addr: Addr) -> Option<String> {
    let symbol = session.symbols().find(addr)?;
    Some(match symbol.offset {
        0 => symbol.demangled().into_owned(),
        offset => format!("{}+{offset:#x}", symbol.demangled()),
    })
}

/// A word that is no address: text where all of its bytes are, else a number; a large one also as what else it may be:
/// a floating-point number, or two members of four bytes.
fn number_text(value: u64, target: Target) -> String {
    let mut bytes = value.to_le_bytes();
    let bytes = bytes.get_mut(..target.width.bytes()).unwrap_or_default();
    if target.order == ByteOrder::Big {
        bytes.reverse();
    }
    let text = bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    let signed = match target.width {
        Width::W4 => i64::from(value as u32 as i32),
        Width::W8 => value as i64,
    };
    match value {
        0 => "zero".to_owned(),
        _ if text => format!("text {:?}", String::from_utf8_lossy(bytes)),
        _ if (-0xffff..0).contains(&signed) => format!("number {signed}"),
        _ if value >> 32 == 0 => format!("number {value}"),
        _ => match plausible_float(value) {
            Some(float) => format!("number {value}, or {float:?} in floating point"),
            None => {
                let (low, high) = (value as u32, (value >> 32) as u32);
                let (first, second) = if target.order == ByteOrder::Big { (high, low) } else { (low, high) };
                format!("number {value}, or {first} and {second} of 4 bytes each")
            }
        },
    }
}

/// The word as a double, where that is of a size and a precision that people use.
fn plausible_float(value: u64) -> Option<f64> {
    let float = f64::from_bits(value);
    // The last bits of a number that was written down in decimals are not zero, those of a computed one are anything:
    // the exponent alone tells.
    ((1e-6..1e12).contains(&float.abs())).then_some(float)
}
