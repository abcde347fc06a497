//! Debug information from hostile bytes: any sections, any units, any references, and all that can be asked of a type.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topleaked::addr::{ByteOrder, Target};
use topleaked::image::AddressSpace;
use topleaked::task::Task;
use topleaked::types::{DebugInfo, NodeKind, PointerTarget, TypeName, Types};

const SECTIONS: [&str; 6] =
    [".debug_info", ".debug_abbrev", ".debug_str", ".debug_types", ".debug_str_offsets", ".debug_line_str"];

fuzz_target!(|data: &[u8]| {
    // A byte for the order, then each section with its length in front.
    let Some((order, mut rest)) = data.split_first() else { return };
    let order = if order & 1 == 0 { ByteOrder::Little } else { ByteOrder::Big };
    let mut sections = Vec::new();
    for name in SECTIONS {
        let Some((length, after)) = rest.split_first_chunk::<2>() else { break };
        let size = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (bytes, after) = after.split_at(size);
        sections.push((name, bytes));
        rest = after;
    }
    let task = Task { threads: std::num::NonZeroUsize::MIN, ..Task::default() };
    let info = DebugInfo::from_sections("fuzz", &sections, order);
    let names: Vec<TypeName> = ["T", "int", "Node", "A<B>"].iter().filter_map(|name| TypeName::parse(name)).collect();
    let found = info.find_types(&names, &task);
    let mut types = Types::new(info);
    let variables = types.variables(&task);
    let mut ids: Vec<_> = variables.iter().map(|variable| variable.ty).take(8).collect();
    for layout in found.iter().flat_map(|found| &found.names).flat_map(|name| &name.layouts).take(8) {
        ids.push(types.add(layout));
    }
    types.complete(&ids, &task);
    let space = AddressSpace::new(Target { order, ..Target::LITTLE_8 });
    for id in ids {
        types.load(id);
        for target in [PointerTarget::Type(id), PointerTarget::Nodes(NodeKind::Tree, id), PointerTarget::Pointers(id)] {
            let target = types.canonical_target(target);
            let _ = (types.pointer_map(target, 8), types.target_name(target));
        }
        let _ = (types.outline(id, true), types.type_name(id), types.size_bytes(id));
        for leaf in types.leaves(id, &|_, place| place.offset()).list {
            let value = leaf.read(data, &space);
            let _ = types.describe(&leaf, &value);
        }
    }
});
