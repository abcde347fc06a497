//! Trait objects of Rust programs.

use super::*;

/// Each line it prints: the address of a vtable, then the concrete type, the trait, size and alignment.
const SHAPES: &str = r#"
use std::hint::black_box;
trait Shape { fn area(&self) -> f64; fn name(&self) -> String { "shape".into() } }
trait Named: std::fmt::Debug { fn call(&self) -> u32; }
struct Circle { r: f64, label: String }
struct Square(f32);
#[derive(Debug)]
struct Dog { age: u64, name: String, more: [u64; 4] }
impl Shape for Circle { fn area(&self) -> f64 { self.r * self.r + self.label.len() as f64 } }
impl Shape for Square { fn area(&self) -> f64 { f64::from(self.0) } fn name(&self) -> String { "square".into() } }
impl Named for Dog { fn call(&self) -> u32 { self.age as u32 + self.more[1] as u32 + self.name.len() as u32 } }
fn vtable<T: ?Sized>(object: &Box<T>) -> usize { unsafe { *(object as *const Box<T> as *const usize).add(1) } }
fn main() {
    let a: Box<dyn Shape> = black_box(Box::new(Circle { r: 1.0, label: "x".repeat(3) }));
    let b: Box<dyn Shape> = black_box(Box::new(Square(2.0)));
    let c: Box<dyn Named> = black_box(Box::new(Dog { age: 1, name: "d".repeat(2), more: [1; 4] }));
    println!("{:#x} shapes::Circle shapes::Shape 32 8", vtable(&a));
    println!("{:#x} shapes::Square shapes::Shape 4 4", vtable(&b));
    println!("{:#x} shapes::Dog shapes::Named 64 8", vtable(&c));
    eprintln!("{} {} {:?} {}", a.area() + b.area(), a.name() + &b.name(), c, c.call());
    std::process::abort();
}
"#;

fn assert_named(options: &[&str], evidence: Evidence) {
    let options = [&["--edition=2021", "--crate-name=shapes"], options].concat();
    let program = compile("shapes", "rs", SHAPES, &Build { compiler: "rustc", options: &options });
    let crash = crash(&program, &[]);
    let image = open(&crash.core);
    let symbols = Symbols::new(&image, SymbolOptions::default());
    let vtables = Vtables::new(&image, &symbols);
    let ranges = vtables.candidate_ranges();
    let expected = expectations(&crash);
    assert_eq!(expected.len(), 3);
    for (addr, expected) in expected {
        let parts: Vec<&str> = expected.split(' ').collect();
        let [class, of, size, align] = parts[..] else { panic!("{expected}") };
        let found = vtables.classify(addr).unwrap_or_else(|| panic!("{expected} at {addr} is not recognised"));
        assert_eq!(found.kind, VtableKind::TraitObject);
        assert_eq!(found.layout, Some((size.parse().unwrap(), align.parse().unwrap())));
        assert_eq!(found.evidence, evidence, "{found:?} {:?}", vtables.diagnostics());
        let text = match evidence {
            Evidence::Shape => format!("Rust trait object vtable, size {size}, align {align}, in module shapes"),
            _ => format!("Rust vtable of <{class} as {of}>"),
        };
        assert_eq!(found.to_string(), text);
        assert!(ranges.iter().any(|range| range.contains(addr)));
        for beside in [addr.0 - 8, addr.0 + 8, addr.0 + 16] {
            assert_eq!(vtables.classify(Addr(beside)), None, "beside {expected}");
        }
    }
    assert_eq!(vtables.diagnostics(), []);
}

#[test]
fn debug_information_names_trait_objects() {
    assert_named(&["-g"], Evidence::DebugInfo);
}

#[test]
fn symbols_name_trait_objects() {
    assert_named(&["-O"], Evidence::ShapeAndSymbols);
    assert_named(&["-O", "-Csymbol-mangling-version=v0"], Evidence::ShapeAndSymbols);
}

#[test]
fn a_stripped_program_tells_size_and_alignment() {
    assert_named(&["-O", "-Cstrip=symbols"], Evidence::Shape);
}
