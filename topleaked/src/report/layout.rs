//! `layout`: a type's members as they lie in memory.

use std::io;

use serde::Serialize;

use crate::insight::InferredMember;
use crate::types::{FoundLayout, Layout, Row, RowKind, TypeId, TypeKind, Types};

use super::inferred::says;
use super::{Answer, Grouped, Look, SafeText};

/// Enumerators that are shown.
const MOST_ENUMERATORS: usize = 200;
/// Bytes that one access of the processor's memory brings in.
const CACHE_LINE: u64 = 64;

/// The layouts that one name has.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Layouts {
    /// As a rule one; several where modules or units disagree.
    pub types: Vec<LayoutView>,
}

/// One type's layout.
#[derive(Clone, Debug, Serialize)]
pub struct LayoutView {
    /// Its full name.
    pub name: String,
    /// `struct`, `class`, `union`, `enum`, `typedef`, `base`.
    pub kind: &'static str,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The alignment that the source asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub align: Option<u64>,
    /// The modules whose debug information has it.
    pub modules: Vec<String>,
    /// How many compilation units have it so.
    pub units: usize,
    /// What a typedef or a base type stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Members, holes and padding, in the order of memory; nested ones follow what they are in.
    pub members: Vec<MemberView>,
    /// An enumeration's values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enumerators: Vec<EnumeratorView>,
    /// How many holes.
    pub holes: usize,
    /// Bytes in them.
    pub hole_bytes: u64,
    /// Unused bytes at the end.
    pub padding_bytes: u64,
    /// The objects in use from which it was found out, where no debug information tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
}

/// One row of a layout.
#[derive(Clone, Debug, Serialize)]
pub struct MemberView {
    /// `field`, `base`, `virtual-base`, `hole`, `padding`, `variant`.
    pub kind: &'static str,
    /// How deep it is nested.
    pub depth: usize,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub ty: Option<String>,
    /// Bytes from the beginning; absent for virtual bases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a bit field: bits from the beginning of the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_offset: Option<u64>,
    /// Of a bit field: bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_size: Option<u64>,
    /// The compiler added it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub artificial: bool,
    /// What its values say of it, where no debug information does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// As it would stand in the source.
    #[serde(skip)]
    declaration: String,
}

/// One value of an enumeration.
#[derive(Clone, Debug, Serialize)]
pub struct EnumeratorView {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: i64,
}

impl LayoutView {
    /// Lays out a loaded type. With `expand`, members that are structs show theirs.
    pub fn new(types: &Types, id: TypeId, found: &FoundLayout, name: &str, expand: bool) -> LayoutView {
        // A typedef of a struct without a name is that struct.
        let target = types.resolve(id);
        let named = types.get(id);
        let shown = match types.get(target) {
            layout if layout.name.is_none() => layout,
            layout if std::ptr::eq(layout, named) => layout,
            _ => named,
        };
        let outline = types.outline(target, expand);
        let is_shown = shown.is_record();
        let members =
            if is_shown { outline.rows.iter().map(|row| MemberView::new(types, row)).collect() } else { Vec::new() };
        LayoutView {
            name: name.to_owned(),
            kind: kind_word(shown),
            size: types.size_bytes(id),
            align: shown.align,
            modules: found.modules.clone(),
            units: found.units,
            target: target_of(types, shown),
            members,
            enumerators: enumerators(types, shown),
            holes: if is_shown { outline.holes } else { 0 },
            hole_bytes: if is_shown { outline.hole_bytes } else { 0 },
            padding_bytes: if is_shown { outline.padding_bytes } else { 0 },
            objects: None,
        }
    }

    /// A layout that objects alone tell.
    pub(super) fn inferred(name: String, objects: u64, members: Vec<MemberView>) -> LayoutView {
        LayoutView {
            name,
            kind: "inferred",
            size: None,
            align: None,
            modules: Vec::new(),
            units: 0,
            target: None,
            members,
            enumerators: Vec::new(),
            holes: 0,
            hole_bytes: 0,
            padding_bytes: 0,
            objects: Some(objects),
        }
    }
}

fn target_of(types: &Types, layout: &Layout) -> Option<String> {
    match &layout.kind {
        TypeKind::Typedef(target) => Some(types.type_name(*target)),
        TypeKind::Enum(Some(target)) => Some(types.type_name(*target)),
        TypeKind::Base(encoding) => Some(format!("{encoding:?}").to_lowercase()),
        _ => None,
    }
}

fn enumerators(types: &Types, layout: &Layout) -> Vec<EnumeratorView> {
    let signed = match layout.kind {
        TypeKind::Enum(Some(underlying)) => types.is_signed(underlying),
        _ => false,
    };
    let shift = layout.size_bytes.filter(|size| (1..8).contains(size)).map_or(0, |size| 64 - size * 8);
    layout
        .enumerators
        .iter()
        .map(|known| EnumeratorView {
            name: known.name.clone(),
            value: if signed { ((known.value << shift) as i64) >> shift } else { known.value as i64 },
        })
        .collect()
}

fn kind_word(layout: &Layout) -> &'static str {
    match layout.kind {
        TypeKind::Struct if layout.variants.is_some() => "enum",
        TypeKind::Struct => "struct",
        TypeKind::Class => "class",
        TypeKind::Union => "union",
        TypeKind::Enum(_) => "enum",
        TypeKind::Typedef(_) => "typedef",
        _ => "base",
    }
}

impl MemberView {
    fn new(types: &Types, row: &Row) -> MemberView {
        let kind = match row.kind {
            RowKind::Field => "field",
            RowKind::Base => "base",
            RowKind::VirtualBase => "virtual-base",
            RowKind::Hole => "hole",
            RowKind::Padding => "padding",
            RowKind::Variant => "variant",
        };
        let gap = matches!(row.kind, RowKind::Hole | RowKind::Padding);
        MemberView {
            kind,
            depth: row.depth,
            name: row.name.clone(),
            ty: (!gap).then(|| types.type_name(row.ty)),
            offset: row.offset,
            size: row.size_bytes,
            bit_offset: row.bits.map(|bits| bits.offset),
            bit_size: row.bits.map(|bits| bits.size),
            artificial: row.artificial,
            says: None,
            declaration: match row.kind {
                RowKind::Field => types.declaration(row.ty, row.name.as_deref().unwrap_or_default()),
                _ => String::new(),
            },
        }
    }

    /// A member that the values of `objects` objects tell.
    pub(super) fn inferred(member: &InferredMember, objects: usize) -> MemberView {
        MemberView {
            kind: "field",
            depth: 0,
            name: None,
            ty: Some(member.type_name()),
            offset: Some(member.offset),
            size: Some(member.width),
            bit_offset: None,
            bit_size: None,
            artificial: false,
            says: Some(says(member, objects)),
            declaration: String::new(),
        }
    }

    fn write_human(&self, out: &mut dyn io::Write, columns: usize) -> io::Result<()> {
        let indent = "    ".repeat(self.depth + 1);
        let name = self.name.as_deref().unwrap_or_default();
        let ty = self.ty.as_deref().unwrap_or_default();
        let bits = match (self.bit_size, self.bit_offset) {
            (Some(size), _) if self.kind == "field" => format!(":{size}"),
            _ => String::new(),
        };
        let text = match self.kind {
            "hole" => {
                return writeln!(out, "{indent}/* hole: {} */", amount(self.size, self.bit_size));
            }
            "padding" => return writeln!(out, "{indent}/* padding: {} */", amount(self.size, self.bit_size)),
            "base" => format!("/* base */ {ty}"),
            "virtual-base" => format!("/* virtual base, where the vtable says */ {ty}"),
            "variant" => format!("/* variant */ {name}"),
            _ => self.declaration.clone(),
        };
        let line = format!("{indent}{}{bits};", SafeText::from(&*text));
        let width = columns.max(line.chars().count());
        let pad = " ".repeat(width - line.chars().count());
        let at = match (self.offset, self.bit_offset) {
            // A bit field lies where its bits are, whatever the unit of storage.
            (_, Some(bit)) => format!("{:>5}:{:<2}", bit / 8, bit % 8),
            (Some(offset), None) => format!("{offset:>5}   "),
            (None, None) => "    ?   ".to_owned(),
        };
        let size = self.size.map_or_else(|| "?".to_owned(), |size| size.to_string());
        writeln!(out, "{line}{pad} /* {at} {size:>5} */")
    }
}

fn amount(bytes: Option<u64>, bits: Option<u64>) -> String {
    let plural = |count: u64, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    match (bytes.unwrap_or(0), bits.unwrap_or(0)) {
        (bytes, 0) => plural(bytes, "byte"),
        (0, bits) => plural(bits, "bit"),
        (bytes, bits) => format!("{}, {}", plural(bytes, "byte"), plural(bits, "bit")),
    }
}

impl Answer for Layouts {
    fn write_human(&self, out: &mut dyn io::Write, _look: &Look) -> io::Result<()> {
        for (at, view) in self.types.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            view.write_human(out)?;
        }
        Ok(())
    }
}

impl LayoutView {
    fn write_human(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let name = SafeText::from(&*self.name);
        if let Some(objects) = self.objects {
            writeln!(out, "{name}: no debug information; from {} objects in use", Grouped(objects))?;
            for member in &self.members {
                let (ty, says) = (member.ty.as_deref().unwrap_or_default(), member.says.as_deref().unwrap_or_default());
                let offset = format!("+{:#x}", member.offset.unwrap_or(0));
                writeln!(out, "    {offset:<6} {ty:<9} {}", SafeText::from(says))?;
            }
            return Ok(());
        }
        let modules = self.modules.join(", ");
        let from = SafeText::from(&*modules);
        let units = if self.units == 1 { "1 unit".to_owned() } else { format!("{} units", self.units) };
        writeln!(out, "/* {from}: {units} */")?;
        match (self.kind, &self.target) {
            ("typedef", Some(target)) => return writeln!(out, "typedef {} {name};", SafeText::from(&**target)),
            ("base", Some(target)) => return writeln!(out, "{name}; /* {} */", SafeText::from(&**target)),
            _ => {}
        }
        let underlying =
            self.target.as_ref().map_or(String::new(), |target| format!(" : {}", SafeText::from(&**target)));
        writeln!(out, "{} {name}{underlying} {{", self.kind)?;
        for known in self.enumerators.iter().take(MOST_ENUMERATORS) {
            writeln!(out, "    {} = {},", SafeText::from(&*known.name), known.value)?;
        }
        if self.enumerators.len() > MOST_ENUMERATORS {
            writeln!(out, "    /* … {} more */", self.enumerators.len() - MOST_ENUMERATORS)?;
        }
        let widest = self.members.iter().map(|member| {
            let extra = if member.kind == "field" { 0 } else { 20 + member.ty.as_deref().map_or(0, str::len) };
            member.depth * 4 + 8 + member.declaration.chars().count() + extra
        });
        let columns = widest.filter(|width| *width <= 72).max().unwrap_or(0).clamp(40, 72);
        let mut line = 0;
        for member in &self.members {
            member.write_human(out, columns)?;
            if let (0, Some(end)) =
                (member.depth, member.offset.zip(member.size).and_then(|(at, size)| at.checked_add(size)))
                && end / CACHE_LINE > line
                && Some(end) != self.size
            {
                line = end / CACHE_LINE;
                writeln!(out, "    /* --- cache line {line} ({} bytes) --- */", line * CACHE_LINE)?;
            }
        }
        let size = self.size.map_or_else(|| "?".to_owned(), |size| size.to_string());
        let fields = self.members.iter().filter(|member| member.depth == 0 && member.kind == "field").count();
        write!(out, "    /* size: {size}")?;
        if !self.members.is_empty() {
            write!(
                out,
                ", members: {fields}, holes: {} ({}), padding: {}",
                self.holes,
                amount(Some(self.hole_bytes), None),
                self.padding_bytes
            )?;
        }
        if let Some(align) = self.align {
            write!(out, ", aligned: {align}")?;
        }
        writeln!(out, " */\n}};")
    }
}
