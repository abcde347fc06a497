//! Boxes, reference counts and collections, reached from statics, in known numbers.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

pub struct A([u64; 6]);
pub struct B([u64; 8]);
pub struct C([u64; 10]);
pub struct D([u64; 12]);
pub struct E([u64; 14]);
pub struct F([u64; 16]);
pub enum Tree {
    Leaf(u64),
    Branch(Box<Tree>, Box<Tree>),
    Held { value: Box<F>, depth: u32 },
}
pub struct World {
    boxes: Vec<Box<A>>,
    values: Vec<B>,
    shared: Arc<C>,
    counted: Vec<Rc<D>>,
    by_number: HashMap<u64, Box<E>>,
    ordered: BTreeMap<u32, Box<A>>,
    queue: VecDeque<Box<B>>,
    maybe: Option<Box<D>>,
    nothing: Option<Box<C>>,
    slice: Box<[Box<C>]>,
    tree: Tree,
    texts: Vec<String>,
}

pub static mut WORLD: *mut World = std::ptr::null_mut();

fn grow(depth: u32) -> Tree {
    match depth {
        0 => Tree::Leaf(7),
        1 => Tree::Held { value: Box::new(F([1; 16])), depth },
        _ => Tree::Branch(Box::new(grow(depth - 1)), Box::new(grow(depth - 1))),
    }
}

fn main() {
    let world = World {
        boxes: (0..500).map(|at| Box::new(A([at; 6]))).collect(),
        values: (0..33).map(|at| B([at; 8])).collect(),
        shared: Arc::new(C([3; 10])),
        counted: (0..40).map(|at| Rc::new(D([at; 12]))).collect(),
        by_number: (0..700).map(|at| (at, Box::new(E([at; 14])))).collect(),
        ordered: (0..300).map(|at| (at, Box::new(A([9; 6])))).collect(),
        queue: (0..20).map(|at| Box::new(B([at; 8]))).collect(),
        maybe: Some(Box::new(D([5; 12]))),
        nothing: None,
        slice: (0..25).map(|at| Box::new(C([at; 10]))).collect(),
        tree: grow(8),
        texts: (0..60).map(|at| format!("a text with the number {at}")).collect(),
    };
    unsafe { WORLD = Box::into_raw(Box::new(world)) };
    std::process::abort();
}
