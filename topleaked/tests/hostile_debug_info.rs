//! Debug information that wants to waste time, memory or the stack.

use std::time::{Duration, Instant};

use testkit::dwarf::{Form, Unit};
use topleaked::addr::{Addr, ByteOrder, Target};
use topleaked::image::AddressSpace;
use topleaked::task::Task;
use topleaked::types::{DebugInfo, MemberPlace, NodeKind, PointerTarget, TypeId, TypeName, Types};

const NAME: u64 = 0x03;
const BYTE_SIZE: u64 = 0x0b;
const COUNT: u64 = 0x37;
const LOCATION: u64 = 0x38;
const SIBLING: u64 = 0x01;
const TYPE: u64 = 0x49;
const SPECIFICATION: u64 = 0x47;
const STRUCT: u64 = 0x13;
const MEMBER: u64 = 0x0d;
const INHERITANCE: u64 = 0x1c;
const TYPEDEF: u64 = 0x16;
const POINTER: u64 = 0x0f;
const ARRAY: u64 = 0x01;
const SUBRANGE: u64 = 0x21;
const FUNCTION: u64 = 0x15;
const PARAMETER: u64 = 0x05;
const BASE: u64 = 0x24;

/// All that can be asked of a type, within a time that no honest file needs.
fn ask(abbrev: &[u8], info: &[u8], name: &str) -> Option<(Types, TypeId)> {
    let started = Instant::now();
    let sections = [(".debug_abbrev", abbrev), (".debug_info", info)];
    let info = DebugInfo::from_sections("hostile", &sections, ByteOrder::Little);
    let found = info.find_type(&TypeName::parse(name).unwrap(), &Task::default());
    let mut types = Types::new(info);
    let layouts: Vec<_> = found.names.iter().flat_map(|found| found.layouts.clone()).collect();
    let mut first = None;
    for layout in layouts.iter().take(4) {
        let id = types.add(layout);
        first = first.or(Some(id));
        types.complete(&[id], &Task::default());
        types.outline(id, false);
        types.outline(id, true);
        assert!(types.type_name(id).len() < 10_000);
        let leaves = types.leaves(id, &|_, place| match place {
            MemberPlace::InVtable(_) => Some(0),
            other => other.offset(),
        });
        let space = AddressSpace::new(Target::LITTLE_8);
        for leaf in &leaves.list {
            let value = leaf.read(&[0xff; 64], &space);
            types.describe(leaf, &value);
        }
        for kind in [NodeKind::Tree, NodeKind::Hash, NodeKind::List, NodeKind::Forward] {
            let nodes = types.canonical_target(PointerTarget::Nodes(kind, id));
            assert!(types.pointer_map(nodes, 8).slots.len() < 100_000);
            types.target_name(PointerTarget::NodePointers(kind, id));
        }
        let target = types.canonical_target(PointerTarget::Type(id));
        types.pointer_map(target, 4);
        let _ = types.virtual_base_offset(MemberPlace::InVtable(-24), Addr(0x1000), &space);
    }
    types.variables(&Task::default());
    assert!(started.elapsed() < Duration::from_secs(20), "it took {:?}", started.elapsed());
    Some((types, first?))
}

fn ask_unit(unit: Unit, name: &str) -> Option<(Types, TypeId)> {
    let (abbrev, info) = unit.finish();
    ask(&abbrev, &info, name)
}

fn member(unit: &mut Unit, name: &str, ty: u32, offset: u64) {
    unit.open(MEMBER, false, &[(NAME, Form::Text(name)), (TYPE, Form::Entry(ty)), (LOCATION, Form::Number(offset))]);
}

#[test]
fn references_in_circles_end() {
    let mut unit = Unit::new();
    let first = unit.here();
    let second = unit.open(TYPEDEF, false, &[(NAME, Form::Text("Loop")), (TYPE, Form::Entry(first))]);
    assert_eq!(first, second);
    let there = unit.here();
    let pointer = unit.open(POINTER, false, &[(TYPE, Form::Entry(there))]);
    let whole = unit.open(STRUCT, true, &[(NAME, Form::Text("Self")), (BYTE_SIZE, Form::Number(16))]);
    member(&mut unit, "inside", whole, 0);
    member(&mut unit, "again", whole, 8);
    member(&mut unit, "pointer", pointer, 0);
    member(&mut unit, "loop", first, 0);
    unit.open(INHERITANCE, false, &[(TYPE, Form::Entry(whole)), (LOCATION, Form::Number(0))]);
    unit.close();
    let (types, id) = ask_unit(unit, "Self").unwrap();
    assert_eq!(types.get(id).members.len(), 5);
    // A typedef of itself is nothing.
    let looped = types.get(id).find_member("loop").unwrap().ty;
    assert_eq!((types.resolve(looped), types.size_bytes(looped)), (TypeId::VOID, None));
}

#[test]
fn declarations_in_circles_end() {
    let mut unit = Unit::new();
    let first = unit.here();
    // Each of both is said to be declared by the other, and neither has a name.
    let size = 1 + 4 + 8;
    let second = first + size;
    unit.open(STRUCT, false, &[(SPECIFICATION, Form::Entry(second)), (BYTE_SIZE, Form::Number(8))]);
    assert_eq!(unit.here(), second);
    unit.open(STRUCT, false, &[(SPECIFICATION, Form::Entry(first)), (BYTE_SIZE, Form::Number(8))]);
    unit.open(STRUCT, true, &[(NAME, Form::Text("Holder")), (BYTE_SIZE, Form::Number(8))]);
    member(&mut unit, "it", first, 0);
    unit.close();
    let (types, id) = ask_unit(unit, "Holder").unwrap();
    assert_eq!(types.get(types.get(id).members[0].ty).name, None);
}

#[test]
fn abstract_origins_in_circles_end() {
    const ORIGIN: u64 = 0x31;
    const VARIABLE: u64 = 0x34;
    let mut unit = Unit::new();
    let int = unit.open(BASE, false, &[(NAME, Form::Text("int")), (BYTE_SIZE, Form::Number(4))]);
    let first = unit.here();
    // Each is an instance of the other, at an address, and neither says its type; a third is one of itself.
    let place = [&[3u8][..], &0x1000u64.to_le_bytes()].concat();
    let size = 1 + 4 + 1 + 9;
    let second = first + size;
    unit.open(VARIABLE, false, &[(ORIGIN, Form::Entry(second)), (0x02, Form::Expression(&place))]);
    assert_eq!(unit.here(), second);
    unit.open(VARIABLE, false, &[(ORIGIN, Form::Entry(first)), (0x02, Form::Expression(&place))]);
    let own = unit.here();
    unit.open(VARIABLE, false, &[(ORIGIN, Form::Entry(own)), (0x02, Form::Expression(&place))]);
    let own = unit.here();
    unit.open(STRUCT, false, &[(ORIGIN, Form::Entry(own)), (BYTE_SIZE, Form::Number(8))]);
    unit.open(STRUCT, true, &[(NAME, Form::Text("Around")), (BYTE_SIZE, Form::Number(8))]);
    member(&mut unit, "int", int, 0);
    member(&mut unit, "nameless", own, 0);
    unit.close();
    let (mut types, id) = ask_unit(unit, "Around").unwrap();
    assert_eq!(types.get(types.get(id).members[1].ty).name, None);
    assert!(types.variables(&Task::default()).is_empty());
}

#[test]
fn absurd_sizes_stay_numbers() {
    let mut unit = Unit::new();
    let byte = unit.open(BASE, false, &[(NAME, Form::Text("int")), (BYTE_SIZE, Form::Number(4))]);
    let huge = unit.here();
    unit.open(ARRAY, true, &[(TYPE, Form::Entry(byte))]);
    unit.open(SUBRANGE, false, &[(COUNT, Form::Number(1 << 40))]);
    unit.open(SUBRANGE, false, &[(COUNT, Form::Number(1 << 40))]);
    unit.close();
    let long = unit.here();
    unit.open(ARRAY, true, &[(TYPE, Form::Entry(byte))]);
    unit.open(SUBRANGE, false, &[(COUNT, Form::Number(1 << 40))]);
    unit.close();
    unit.open(STRUCT, true, &[(NAME, Form::Text("Huge")), (BYTE_SIZE, Form::Number(1 << 60))]);
    member(&mut unit, "far", byte, u64::MAX);
    member(&mut unit, "huge", huge, 8);
    member(&mut unit, "long", long, 1 << 59);
    unit.close();
    let (types, id) = ask_unit(unit, "Huge").unwrap();
    assert_eq!(types.size_bytes(id), Some(1 << 60));
    let size = |name: &str| types.size_bytes(types.get(id).find_member(name).unwrap().ty);
    assert_eq!((size("huge"), size("long")), (None, Some(1 << 42)));
    let leaves = types.leaves(id, &|_, _| None);
    assert!(leaves.truncated && leaves.list.len() < 300, "{}", leaves.list.len());
}

#[test]
fn expressions_without_end_are_no_places() {
    let mut unit = Unit::new();
    let int = unit.open(BASE, false, &[(NAME, Form::Text("int")), (BYTE_SIZE, Form::Number(4))]);
    // DW_OP_skip backwards over itself; a long row of DW_OP_dup; an operation that is cut short.
    let (skip, row, cut) = ([0x2f, 0xfd, 0xff], vec![0x12; 60_000], [0x0e, 1, 2]);
    unit.open(STRUCT, true, &[(NAME, Form::Text("Odd")), (BYTE_SIZE, Form::Number(8))]);
    for (name, expression) in [("skip", &skip[..]), ("row", &row), ("cut", &cut)] {
        let place = (LOCATION, Form::Expression(expression));
        unit.open(MEMBER, false, &[(NAME, Form::Text(name)), (TYPE, Form::Entry(int)), place]);
    }
    unit.close();
    let (types, id) = ask_unit(unit, "Odd").unwrap();
    let places: Vec<_> = types.get(id).members.iter().map(|member| member.place).collect();
    assert_eq!(places, [MemberPlace::Unknown; 3]);
}

#[test]
fn branching_types_do_not_explode() {
    let mut unit = Unit::new();
    let int = unit.open(BASE, false, &[(NAME, Form::Text("int")), (BYTE_SIZE, Form::Number(4))]);
    // Each level holds the one below ten times, as a member and as a base, and takes it as a parameter.
    let mut below = int;
    let mut code = int;
    for level in 0..40 {
        let name = format!("Level{level}");
        let own = unit.here();
        unit.open(STRUCT, true, &[(NAME, Form::Text(&name)), (BYTE_SIZE, Form::Number(1))]);
        for at in 0..10 {
            member(&mut unit, &format!("m{at}"), below, 0);
            unit.open(INHERITANCE, false, &[(TYPE, Form::Entry(below)), (LOCATION, Form::Number(0))]);
            unit.open(MEMBER, false, &[(TYPE, Form::Entry(below)), (LOCATION, Form::Number(0))]);
        }
        unit.close();
        below = own;
        let own = unit.here();
        unit.open(FUNCTION, true, &[(TYPE, Form::Entry(code))]);
        for _ in 0..10 {
            unit.open(PARAMETER, false, &[(TYPE, Form::Entry(code))]);
        }
        unit.close();
        code = own;
    }
    let pointer = unit.open(POINTER, false, &[(TYPE, Form::Entry(code))]);
    unit.open(STRUCT, true, &[(NAME, Form::Text("Top")), (BYTE_SIZE, Form::Number(8))]);
    member(&mut unit, "levels", below, 0);
    member(&mut unit, "code", pointer, 0);
    unit.close();
    ask_unit(unit, "Top").unwrap();
}

#[test]
fn deep_nesting_costs_no_stack_and_little_time() {
    let mut unit = Unit::new();
    for _ in 0..50_000 {
        unit.open(STRUCT, true, &[(NAME, Form::Text("Deep")), (BYTE_SIZE, Form::Number(1))]);
    }
    for _ in 0..50_000 {
        unit.close();
    }
    ask_unit(unit, "Deep").unwrap();
}

#[test]
fn a_sibling_that_leads_back_is_not_followed() {
    let mut unit = Unit::new();
    let back = unit.here();
    unit.open(STRUCT, true, &[(SIBLING, Form::Entry(back)), (NAME, Form::Text("First")), (BYTE_SIZE, Form::Number(4))]);
    unit.close();
    unit.open(
        STRUCT,
        true,
        &[(SIBLING, Form::Entry(u32::MAX)), (NAME, Form::Text("Next")), (BYTE_SIZE, Form::Number(8))],
    );
    unit.close();
    let (abbrev, info) = unit.finish();
    let (types, id) = ask(&abbrev, &info, "Next").unwrap();
    assert_eq!(types.size_bytes(id), Some(8));
    assert!(ask(&abbrev, &info, "First").is_some());
}

#[test]
fn units_that_share_a_huge_table_of_abbreviations_are_given_up() {
    // One table that is long, and many units that each begin at another place of it.
    let mut abbrev = Vec::new();
    let mut starts = Vec::new();
    for code in 1..60_000u32 {
        starts.push(abbrev.len() as u32);
        let (low, middle, high) = (code & 0x7f | 0x80, code >> 7 & 0x7f | 0x80, code >> 14);
        abbrev.extend_from_slice(&[low as u8, middle as u8, high as u8, 0x13, 0, 0x03, 0x08, 0, 0]);
    }
    abbrev.push(0);
    let mut info = Vec::new();
    for start in &starts {
        let mut unit = vec![0, 0, 0, 0, 4, 0];
        unit.extend_from_slice(&start.to_le_bytes());
        unit.extend_from_slice(&[8, 0x81, 0x80, 0]);
        unit.extend_from_slice(b"Bomb\0\0");
        let length = unit.len() as u32 - 4;
        unit[..4].copy_from_slice(&length.to_le_bytes());
        info.extend_from_slice(&unit);
    }
    ask(&abbrev, &info, "Bomb");
}

#[test]
fn a_file_that_ends_early_is_read_as_far_as_it_goes() {
    let mut unit = Unit::new();
    let int = unit.open(BASE, false, &[(NAME, Form::Text("int")), (BYTE_SIZE, Form::Number(4))]);
    unit.open(STRUCT, true, &[(NAME, Form::Text("Cut")), (BYTE_SIZE, Form::Number(8))]);
    member(&mut unit, "a", int, 0);
    member(&mut unit, "b", int, 4);
    unit.close();
    let (abbrev, info) = unit.finish();
    assert_eq!(ask(&abbrev, &info, "Cut").unwrap().0.size_bytes(TypeId::VOID), None);
    for end in 0..info.len() {
        ask(&abbrev, &info[..end], "Cut");
    }
    for end in 0..abbrev.len() {
        ask(&abbrev[..end], &info, "Cut");
    }
    // Each byte replaced by each of some values.
    for at in 0..info.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut broken = info.clone();
            broken[at] = value;
            ask(&abbrev, &broken, "Cut");
        }
    }
}
