//! Layouts from debug information against the truth: what the programs themselves say of `sizeof` and `offsetof`, what
//! `pahole` says, and what gdb says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use testkit::native::{Build, M32, Program, compile, scratch_folder};
use topleaked::image::Backing;
use topleaked::task::Task;
use topleaked::types::{DebugInfo, DebugInput, RowKind, TypeId, TypeName, Types};

const TRUTH: &str = include_str!("programs/layouts.cpp");
const INTERFACES: &str = include_str!("programs/interfaces.c");

fn open(path: &Path) -> Types {
    let file = Arc::new(Backing::map(fs::File::open(path).unwrap()).unwrap());
    let label = path.file_name().unwrap().to_string_lossy().into_owned();
    Types::new(DebugInfo::open(vec![DebugInput { label, path: Some(path.to_path_buf()), file, bias: 0 }]))
}

/// The only layout of a name.
fn find(types: &mut Types, name: &str) -> Result<TypeId, String> {
    let parsed = TypeName::parse(name).ok_or("no name")?;
    let found = types.debug_info().find_type(&parsed, &Task::default());
    let [only] = found.names.as_slice() else {
        let names: Vec<_> = found.names.iter().map(|found| found.name.as_str()).collect();
        return Err(format!("{name}: {} names: {names:?}", names.len()));
    };
    let [layout] = only.layouts.as_slice() else { return Err(format!("{name}: {} layouts", only.layouts.len())) };
    let layout = layout.clone();
    let id = types.add(&layout);
    types.complete(&[id], &Task::default());
    Ok(id)
}

/// What differs between what a program says of its types and what its debug information says.
fn differences(path: &Path, said: &str) -> Vec<String> {
    let mut types = open(path);
    let mut wrong = Vec::new();
    let mut lines = 0;
    for line in said.lines() {
        let [name, member, value] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        lines += 1;
        let id = match find(&mut types, name) {
            Ok(id) => id,
            Err(error) => {
                wrong.push(error);
                continue;
            }
        };
        let ours = if member.is_empty() {
            types.size_bytes(id).map(|size| size.to_string())
        } else {
            let plain = member.trim_start_matches(':');
            let outline = types.outline(id, false);
            let row = outline.rows.iter().find(|row| row.name.as_deref() == Some(plain));
            row.and_then(|row| match row.bits {
                Some(bits) => Some(format!("{} {}", bits.offset, bits.size)),
                None => row.offset.map(|offset| offset.to_string()),
            })
        };
        if ours.as_deref() != Some(value) {
            wrong.push(format!("{name} {member}: the program says {value}, we say {ours:?}"));
        }
    }
    assert!(lines > 50, "the program said little: {said}");
    wrong
}

fn said(program: &Program) -> String {
    let output = Command::new(&program.path).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn build(name: &str, compiler: &str, options: &[&str]) -> Program {
    let all: Vec<&str> = ["-w", "-std=c++17"].iter().chain(options).copied().collect();
    compile(name, "cpp", TRUTH, &Build { compiler, options: &all })
}

fn agrees(name: &str, compiler: &str, options: &[&str]) {
    let program = build(name, compiler, options);
    let wrong = differences(&program.path, &said(&program));
    assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_version_of_dwarf_gives_the_programs_own_layouts() {
    for version in ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"] {
        agrees(&format!("layouts{version}"), "g++", &[version]);
        // DWARF 2 has no word for namespaces.
        if version != "-gdwarf-2" {
            agrees(&format!("layouts-strict{version}"), "g++", &[version, "-gstrict-dwarf"]);
        }
    }
}

#[test]
fn clang_gives_the_same_as_gcc() {
    for options in [
        &["-gdwarf-4", "-fstandalone-debug"][..],
        &["-gdwarf-5", "-fstandalone-debug"],
        &["-gdwarf-5", "-fstandalone-debug", "-fdebug-types-section"],
    ] {
        agrees(&format!("layouts-clang{}", options.concat()), "clang++", options);
    }
}

#[test]
fn a_32_bit_program_has_its_own_layouts() {
    let mut options = M32.to_vec();
    options.push("-g");
    agrees("layouts-m32", "g++", &options);
}

#[test]
fn type_units_are_followed() {
    agrees("layouts-types4", "g++", &["-gdwarf-4", "-fdebug-types-section"]);
    agrees("layouts-types5", "g++", &["-gdwarf-5", "-fdebug-types-section"]);
}

#[test]
fn split_debug_information_is_put_together() {
    for (name, options) in [
        ("layouts-split4", &["-gdwarf-4", "-gsplit-dwarf"][..]),
        ("layouts-split5", &["-gdwarf-5", "-gsplit-dwarf"]),
        ("layouts-split4types", &["-gdwarf-4", "-gsplit-dwarf", "-fdebug-types-section"]),
        ("layouts-split5types", &["-gdwarf-5", "-gsplit-dwarf", "-fdebug-types-section"]),
    ] {
        agrees(name, "g++", options);
        // The same as a package, with no .dwo file about.
        let program = build(name, "g++", options);
        let folder = scratch_folder();
        let exe = folder.join("packed");
        fs::copy(&program.path, &exe).unwrap();
        // The older tool crashes on DWARF 5.
        let tool = if name.contains('4') { "dwp" } else { "llvm-dwp" };
        run(Command::new(tool).arg("-e").arg(&program.path).arg("-o").arg(folder.join("packed.dwp")));
        let wrong = differences(&exe, &said(&program));
        assert!(wrong.is_empty(), "{name} packed: {}", wrong.join("\n"));
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_missing_split_file_is_said() {
    let program = build("layouts-split-lost", "g++", &["-gdwarf-5", "-gsplit-dwarf"]);
    for entry in fs::read_dir(program.path.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "dwo") {
            fs::remove_file(path).unwrap();
        }
    }
    let types = open(&program.path);
    let codes: Vec<_> = types.debug_info().diagnostics().iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, ["split-debug-missing"]);
}

#[test]
fn compressed_and_stripped_down_files_are_read() {
    let program = build("layouts-plain", "g++", &["-g"]);
    let said = said(&program);
    let folder = scratch_folder();
    for method in ["zlib", "zlib-gnu", "zstd"] {
        let packed = folder.join(method);
        run(Command::new("objcopy").arg(format!("--compress-debug-sections={method}")).arg(&program.path).arg(&packed));
        let wrong = differences(&packed, &said);
        assert!(wrong.is_empty(), "{method}: {}", wrong.join("\n"));
    }
    let debug = folder.join("only.debug");
    run(Command::new("objcopy").arg("--only-keep-debug").arg(&program.path).arg(&debug));
    assert!(differences(&debug, &said).is_empty());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_dwz_moves_away_is_found() {
    let program = build("layouts-dwz", "g++", &["-gdwarf-4", "-Wl,--build-id"]);
    let said = said(&program);
    let folder = scratch_folder();
    let (one, two, shared) = (folder.join("one"), folder.join("two"), folder.join("shared.debug"));
    fs::copy(&program.path, &one).unwrap();
    fs::copy(&program.path, &two).unwrap();
    run(Command::new("dwz").arg("-m").arg(&shared).arg("-M").arg("shared.debug").arg(&one).arg(&two));
    let wrong = differences(&one, &said);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    fs::remove_file(&shared).unwrap();
    let codes: Vec<_> = open(&one).debug_info().diagnostics().iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, ["debug-alternate-missing"]);
    fs::remove_dir_all(folder).unwrap();
}

/// A struct by its size and its members with name, offset and size, as pahole prints it.
type Printed = (u64, Vec<(String, u64, u64)>);

/// A struct that is being read: its name, its members, and whether all was understood.
type Open = (String, Vec<(String, u64, u64)>, bool);

/// The structs and unions of a file as pahole sees them, those with a name of their own alone.
fn pahole(path: &Path) -> BTreeMap<String, Printed> {
    let output =
        Command::new("pahole").args(["-F", "dwarf", "--suppress_aligned_attribute"]).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut structs: BTreeMap<String, Option<Printed>> = BTreeMap::new();
    let mut current: Option<Open> = None;
    let mut depth = 0usize;
    for line in text.lines() {
        if !line.starts_with('\t') && line.ends_with('{') {
            let head = line.trim_end_matches('{').trim();
            let name = ["struct ", "class "].iter().find_map(|word| head.strip_prefix(word));
            // Base classes are printed on the same line.
            let name = name.map(|name| name.split(" : ").next().unwrap_or(name).trim().to_owned());
            current = name.map(|name| (name, Vec::new(), true));
            depth = 0;
            continue;
        }
        let Some((name, members, good)) = &mut current else { continue };
        if line.starts_with('}') {
            let (name, members, good) = (name.clone(), members.clone(), *good);
            let size = members.iter().find(|(name, ..)| name.is_empty()).map(|(_, size, _)| *size);
            let members = members.into_iter().filter(|(name, ..)| !name.is_empty()).collect();
            // One name with several layouts cannot be told apart in what pahole prints.
            let printed = size.filter(|_| good).map(|size| (size, members));
            structs.entry(name).and_modify(|other| *other = None).or_insert(printed);
            current = None;
            continue;
        }
        let text = line.trim();
        if let Some(size) = text.strip_prefix("/* size: ") {
            let size = size.split(&[',', ' '][..]).next().and_then(|size| size.parse().ok());
            if depth == 0 {
                members.extend(size.map(|size| (String::new(), size, 0)));
            }
            continue;
        }
        if text.ends_with('{') {
            depth += 1;
            continue;
        }
        if text.starts_with('}') {
            depth = depth.saturating_sub(1);
            if depth > 0 {
                continue;
            }
        } else if depth > 0 {
            continue;
        }
        let Some((declaration, comment)) = text.rsplit_once("/*") else { continue };
        let numbers: Vec<&str> = comment.trim_end_matches("*/").split_whitespace().collect();
        let declaration = declaration.trim().trim_end_matches(';').trim();
        let base = declaration.contains("<ancestor>");
        if declaration.is_empty() || (declaration.contains('(') && !base) {
            // Functions' types: pahole spells them in ways of its own.
            continue;
        }
        let [offset, size] = numbers[..] else {
            *good &= !comment.contains("bit");
            continue;
        };
        let (Ok(offset), Ok(size)) = (offset.parse(), size.parse()) else { continue };
        if base {
            // Of an empty base class it prints no size.
            if size > 1 {
                members.push(("<ancestor>".to_owned(), offset, size));
            }
            continue;
        }
        let name = declaration.split('[').next().unwrap_or(declaration).rsplit([' ', '*']).next().unwrap_or_default();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if is_name && !declaration.contains(':') {
            members.push((name.to_owned(), offset, size));
        }
    }
    structs.into_iter().filter_map(|(name, printed)| Some((name, printed?))).collect()
}

/// Compares up to `most` structs, evenly taken; returns how many were compared and what was different.
fn compare_with_pahole(path: &Path, most: usize) -> (usize, Vec<String>) {
    let all: Vec<(String, Printed)> = pahole(path)
        .into_iter()
        .filter(|(name, (_, members))| !members.is_empty() && TypeName::parse(name).is_some())
        .collect();
    let step = (all.len() / most).max(1);
    let sample: Vec<_> = all.into_iter().step_by(step).take(most).collect();
    let names: Vec<TypeName> = sample.iter().filter_map(|(name, _)| TypeName::parse(name)).collect();
    let mut types = open(path);
    let found = types.debug_info().find_types(&names, &Task::default());
    let mut compared = 0;
    let mut wrong = Vec::new();
    for ((name, (size, members)), found) in sample.iter().zip(found) {
        // pahole leaves out namespaces: any type of this name may be the one.
        let layouts: Vec<_> = found.names.iter().flat_map(|found| found.layouts.clone()).collect();
        if layouts.is_empty() {
            wrong.push(format!("{name}: not found"));
            continue;
        }
        compared += 1;
        let mut seen = String::new();
        let same = layouts.iter().any(|layout| {
            let id = types.add(layout);
            let own: Vec<(String, u64, u64)> = types
                .outline(id, false)
                .rows
                .iter()
                .filter(|row| row.depth == 0 && row.bits.is_none())
                .filter_map(|row| {
                    let name = match row.kind {
                        RowKind::Field => row.name.clone()?,
                        RowKind::Base => "<ancestor>".to_owned(),
                        _ => return None,
                    };
                    Some((name, row.offset?, row.size_bytes.unwrap_or(0)))
                })
                .collect();
            let _ = write!(seen, "{:?} {own:?}; ", types.size_bytes(id));
            let agree = |(name, offset, size): &(String, u64, u64)| {
                own.iter().any(|(own, at, bytes)| own == name && at == offset && bytes == size)
            };
            types.size_bytes(id) == Some(*size) && members.iter().all(agree)
        });
        if !same {
            wrong.push(format!("{name}: pahole {size} {members:?}\n   ours {seen}"));
        }
    }
    (compared, wrong)
}

#[test]
fn pahole_agrees_on_five_hundred_types_of_three_programs() {
    // This test's own executable: Rust, and the C of the libraries that are linked in.
    let own = std::env::current_exe().unwrap();
    // The interfaces of libc and of the kernel: pahole knows no namespaces, so C serves best.
    let c = |name: &str, compiler: &str| {
        let options = &["-g", "-fno-eliminate-unused-debug-types"];
        compile(name, "c", INTERFACES, &Build { compiler, options }).path
    };
    let (gcc, clang) = (c("layouts-interfaces", "cc"), c("layouts-interfaces-clang", "clang"));
    let mut total = 0;
    for (path, most) in [(own, 300usize), (gcc, 250), (clang, 150)] {
        let (compared, wrong) = compare_with_pahole(&path, most);
        assert!(compared > 50, "{}: only {compared} types", path.display());
        assert!(wrong.is_empty(), "{}: {} of {compared} differ:\n{}", path.display(), wrong.len(), wrong.join("\n"));
        total += compared;
    }
    assert!(total >= 500, "only {total} types were compared");
}

/// A member as gdb lists it: name, offset, bit of a bit field, size.
type Listed = (String, u64, Option<u64>, u64);

/// What gdb's `ptype /o` says of a type: each line with an offset, as name, offset, bit and size.
fn gdb(path: &Path, name: &str) -> (Vec<Listed>, Option<u64>) {
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-ex", &format!("ptype /o {name}")])
        .arg(path)
        .env("DEBUGINFOD_URLS", "")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut members = Vec::new();
    let mut size = None;
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("/* total size (bytes):") {
            size = rest.trim_end_matches("*/").trim().trim_end_matches("*/").trim().parse().ok();
            continue;
        }
        let Some((numbers, declaration)) = line.strip_prefix("/*").and_then(|line| line.split_once("*/")) else {
            continue;
        };
        // A member of a union has no offset of its own there.
        let Some((at, bytes)) = numbers.split_once('|') else { continue };
        let (offset, bit) = match at.split_once(':') {
            Some((offset, bit)) => (offset.trim().parse(), bit.trim().parse().ok()),
            None => (at.trim().parse(), None),
        };
        let (Ok(offset), Ok(bytes)) = (offset, bytes.trim().parse()) else { continue };
        let declaration = declaration.trim();
        if declaration.ends_with('{') || !declaration.ends_with(';') || declaration.contains('(') {
            continue;
        }
        let plain = declaration.trim_end_matches(';').split(" : ").next().unwrap_or_default();
        let name = plain.split('[').next().unwrap_or_default().rsplit([' ', '*', '&']).next().unwrap_or_default();
        members.push((name.to_owned(), offset, bit, bytes));
    }
    (members, size)
}

#[test]
fn gdb_agrees_on_twenty_hard_types() {
    const HARD: [&str; 20] = [
        "Bits",
        "Packed",
        "Derived",
        "Virtual",
        "Left",
        "Diamond",
        "Self",
        "Pair",
        "Flexible",
        "net::Client",
        "net::Client::Nested",
        "net::Ring<short, 5>",
        "net::(anonymous namespace)::Hidden",
        "std::allocator<char>",
        "std::vector<int, std::allocator<int> >",
        "std::_Rb_tree_node_base",
        "std::__detail::_List_node_base",
        "std::_Sp_counted_base<(__gnu_cxx::_Lock_policy)2>",
        "std::_Deque_iterator<int, int&, int*>",
        "std::_Tuple_impl<0, int*, std::default_delete<int> >",
    ];
    let program = build("layouts-gdb", "g++", &["-g"]);
    let mut types = open(&program.path);
    let mut members_seen = 0;
    for name in HARD {
        let (members, size) = gdb(&program.path, name);
        let id = find(&mut types, name).unwrap();
        let rows = types.outline(id, true).rows;
        if size.is_some() {
            assert_eq!(types.size_bytes(id), size, "size of {name}");
        }
        for (member, offset, bit, bytes) in members {
            // Of an array of structs, gdb tells the members' places wrongly.
            if name == "net::Client" && matches!(&*member, "x" | "y") {
                continue;
            }
            members_seen += 1;
            let same = rows.iter().any(|row| {
                let at = match row.bits {
                    Some(bits) => (Some(bits.offset / 8), Some(bits.offset % 8)),
                    None => (row.offset, None),
                };
                row.name.as_deref() == Some(&member) && at == (Some(offset), bit) && row.size_bytes == Some(bytes)
            });
            assert!(same, "{name}: gdb has {member} at {offset}:{bit:?} with {bytes} bytes; we have {rows:#?}");
        }
    }
    assert!(members_seen >= 45, "gdb listed {members_seen} members only");
}

#[test]
fn members_without_room_and_bases_without_a_place_leave_no_false_holes() {
    const SOURCE: &str = r#"
struct Empty {};
struct Base : Empty { int number; char letters[18]; };
struct Last : Base { Empty empty; char tail; };
struct Root { virtual ~Root() {} int a; };
struct Left : virtual Root { char b; };
struct Right : virtual Root { short c; };
struct Diamond : Left, Right { long d; };
struct Points { int Root::*member; void (Root::*code)(int); int (*open)(char, ...); int (*closed)(char); };
int main() { Last last; Diamond diamond; Points *points = nullptr; return sizeof last + sizeof diamond + (points != nullptr); }
"#;
    for (compiler, options) in [("g++", &["-g", "-w"][..]), ("clang++", &["-g", "-w", "-fstandalone-debug"])] {
        let program = compile("holes", "cpp", SOURCE, &Build { compiler, options });
        let mut types = open(&program.path);
        let last = find(&mut types, "Last").unwrap();
        let outline = types.outline(last, false);
        assert_eq!((outline.holes, outline.padding_bytes), (0, 0), "{outline:#?}");
        // Behind `b` and behind `c`; the end is the virtual base's.
        let diamond = find(&mut types, "Diamond").unwrap();
        let outline = types.outline(diamond, false);
        let gaps: Vec<_> = (outline.rows.iter())
            .filter(|row| row.depth == 0 && matches!(row.kind, RowKind::Hole | RowKind::Padding))
            .map(|row| (row.kind, row.offset, row.size_bytes))
            .collect();
        assert_eq!(gaps, [(RowKind::Hole, Some(9), Some(7)), (RowKind::Hole, Some(26), Some(6))], "{outline:#?}");
        let points = find(&mut types, "Points").unwrap();
        let rows = types.outline(points, false).rows;
        let declared: Vec<String> =
            rows.iter().map(|row| types.declaration(row.ty, row.name.as_deref().unwrap_or_default())).collect();
        assert_eq!(declared[0], "int Root::*member");
        assert!(declared[1].starts_with("void (Root::*code)(Root *"), "{declared:?}");
        assert_eq!(declared[2..], ["int (*open)(char, ...)", "int (*closed)(char)"]);
    }
}

#[test]
fn one_name_with_two_layouts_is_said() {
    let one = compile(
        "layouts-two-a",
        "c",
        "struct item { int a; } x; int main(void) { return x.a; }",
        &Build { compiler: "cc", options: &["-g"] },
    );
    let two = compile(
        "layouts-two-b",
        "c",
        "struct item { long a, b; } x; int main(void) { return x.a; }",
        &Build { compiler: "cc", options: &["-g"] },
    );
    let input = |path: &PathBuf, label: &str| DebugInput {
        label: label.to_owned(),
        path: Some(path.clone()),
        file: Arc::new(Backing::map(fs::File::open(path).unwrap()).unwrap()),
        bias: 0,
    };
    let info = DebugInfo::open(vec![input(&one.path, "one"), input(&two.path, "two"), input(&one.path, "again")]);
    let found = info.find_type(&TypeName::parse("item").unwrap(), &Task::default());
    let [only] = found.names.as_slice() else { panic!("{found:?}") };
    let told: Vec<_> = only.layouts.iter().map(|layout| (layout.size_bytes, layout.modules.join("+"))).collect();
    assert_eq!(told, [(Some(4), "one+again".to_owned()), (Some(16), "two".to_owned())]);
}

#[test]
fn a_name_that_could_be_several_lists_them() {
    let source = "namespace a { struct Node { int x; }; } namespace b { struct Node { long y; }; }
        struct Only { int z; }; a::Node n; b::Node m; Only o; int main() { return n.x; }";
    let program = compile("layouts-ambiguous", "cpp", source, &Build { compiler: "c++", options: &["-g"] });
    let types = open(&program.path);
    let names = |name: &str| -> Vec<String> {
        let found = types.debug_info().find_type(&TypeName::parse(name).unwrap(), &Task::default());
        found.names.into_iter().map(|found| found.name).collect()
    };
    assert_eq!(names("Node"), ["a::Node", "b::Node"]);
    assert_eq!(names("b::Node"), ["b::Node"]);
    assert_eq!(names("Only"), ["Only"]);
    assert!(names("Nod").is_empty());
}

#[test]
fn a_declaration_is_completed_from_another_unit() {
    let program = {
        let folder = testkit::native::folder().join("layouts-odr");
        fs::create_dir_all(&folder).unwrap();
        let (a, b) = (folder.join("a.cpp"), folder.join("b.cpp"));
        fs::write(
            &a,
            "namespace n { struct Hidden; struct User { Hidden *hidden; }; } n::User u; int main() { return 0; }",
        )
        .unwrap();
        fs::write(&b, "namespace n { struct Hidden { long a, b, c; }; } n::Hidden h;").unwrap();
        let exe = folder.join("odr");
        run(Command::new("c++").arg("-g").arg("-o").arg(&exe).arg(&a).arg(&b));
        exe
    };
    let mut types = open(&program);
    let user = find(&mut types, "n::User").unwrap();
    let hidden = types.get(user).find_member("hidden").unwrap().ty;
    let target = types.pointee(hidden).unwrap();
    types.load(target);
    assert_eq!((types.get(target).size_bytes, types.get(target).members.len()), (Some(24), 3));
}

#[test]
fn variables_have_their_addresses_and_types() {
    let program = build("layouts-variables", "g++", &["-g", "-no-pie"]);
    let mut types = open(&program.path);
    let variables = types.variables(&Task::default());
    let symbols = Command::new("nm").arg("-C").arg(&program.path).output().unwrap();
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    let mut checked = 0;
    for name in ["client", "bits", "text", "tree", "owner", "hidden", "self_"] {
        let variable = variables.iter().find(|variable| variable.name.rsplit("::").next() == Some(name));
        let variable = variable.unwrap_or_else(|| panic!("no variable {name}: {variables:?}"));
        let line = symbols
            .lines()
            .find(|line| line.split("[abi:").next().and_then(|line| line.rsplit([' ', ':']).next()) == Some(name));
        let line = line.unwrap_or_else(|| panic!("no symbol {name}: {symbols}"));
        let address = u64::from_str_radix(line.split_whitespace().next().unwrap(), 16).unwrap();
        assert_eq!(variable.addr.0, address, "{name}");
        checked += 1;
        if name == "client" {
            assert_eq!(types.type_name(variable.ty), "net::Client");
        }
    }
    assert_eq!(checked, 7);
}
