// Holds and drops Rust objects; see graph_truth.cc.
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

trait Shape: Send + Sync {
    fn area(&self) -> f64;
}
struct Circle(f64);
struct Square { side: f64, name: String }
impl Shape for Circle {
    fn area(&self) -> f64 { self.0 * self.0 * 3.1 }
}
impl Shape for Square {
    fn area(&self) -> f64 { self.side * self.side + self.name.len() as f64 }
}

struct Node { next: Mutex<Option<Arc<Node>>>, name: String }

#[derive(Default)]
struct Held {
    boxes: Vec<Box<dyn Shape>>,
    map: HashMap<String, Vec<u32>>,
    tree: BTreeMap<u64, String>,
    queue: VecDeque<Box<u64>>,
    cycle: Option<Arc<Node>>,
    shared: Option<Rc<RefCell<Vec<String>>>>,
    small_maps: Vec<HashMap<u8, u8>>,
}

static mut HELD: *mut Held = null_mut();

extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn mmap(at: *mut c_void, size: usize, protection: c_int, flags: c_int, file: c_int, offset: i64) -> *mut c_void;
    fn munmap(at: *mut c_void, size: usize) -> c_int;
    fn pthread_attr_init(attributes: *mut u64) -> c_int;
    fn pthread_attr_setstack(attributes: *mut u64, stack: *mut c_void, size: usize) -> c_int;
    fn pthread_create(thread: *mut u64, attributes: *const u64, run: extern "C" fn(*mut c_void) -> *mut c_void, argument: *mut c_void) -> c_int;
    fn pthread_join(thread: u64, result: *mut *mut c_void) -> c_int;
    fn mallopt(what: c_int, value: c_int) -> c_int;
    fn abort() -> !;
}

fn scope(number: u32) {
    unsafe {
        let found = dlsym(null_mut(), c"recorder_scope".as_ptr());
        assert!(!found.is_null());
        let function: extern "C" fn(u32) = std::mem::transmute(found);
        function(number);
    }
}

fn ring(length: usize) -> Arc<Node> {
    let first = Arc::new(Node { next: Mutex::new(None), name: "n".repeat(40) });
    let mut last = first.clone();
    for _ in 1..length {
        let node = Arc::new(Node { next: Mutex::new(None), name: "m".repeat(50) });
        *last.next.lock().unwrap() = Some(node.clone());
        last = node;
    }
    *last.next.lock().unwrap() = Some(first.clone());
    first
}

fn make() -> Held {
    let mut held = Held::default();
    for at in 0..30 {
        held.boxes.push(Box::new(Circle(f64::from(at))));
        held.boxes.push(Box::new(Square { side: 2.0, name: format!("a square with a long name {at}") }));
        held.map.insert(format!("key number {at} of the map"), vec![at as u32; 20]);
        held.tree.insert(u64::from(at as u32) * 77, format!("value {at} that lies outside"));
        held.queue.push_back(Box::new(at as u64));
        let mut small = HashMap::new();
        for key in 0..=(at % 4) as u8 { small.insert(key, key); }
        held.small_maps.push(small);
    }
    held.cycle = Some(ring(5));
    held.shared = Some(Rc::new(RefCell::new(vec!["shared text".repeat(4); 6])));
    held
}

extern "C" fn work(_: *mut c_void) -> *mut c_void {
    scope(1);
    // Dropped without being given back.
    std::mem::forget(std::hint::black_box(make()));
    std::mem::forget(std::hint::black_box(Box::new(make())));
    // Given back but for the cycle, which holds itself.
    drop(ring(3));
    drop(ring(1));
    std::mem::forget(std::hint::black_box(Box::new(Circle(1.0)) as Box<dyn Shape>));
    scope(0);
    unsafe { HELD = Box::into_raw(Box::new(make())) };
    let area: f64 = unsafe { (*HELD).boxes.iter().map(|shape| shape.area()).sum() };
    std::hint::black_box(area + unsafe { (*HELD).cycle.as_ref().map_or(0, |node| node.name.len()) } as f64);
    null_mut()
}

fn main() {
    unsafe {
        mallopt(-6, 0x5a);
        let size = 1 << 20;
        let stack = mmap(null_mut(), size, 3, 0x22, -1, 0);
        let mut attributes = [0_u64; 16];
        pthread_attr_init(attributes.as_mut_ptr());
        pthread_attr_setstack(attributes.as_mut_ptr(), stack, size);
        let mut thread = 0;
        pthread_create(&mut thread, attributes.as_ptr(), work, null::<c_void>() as *mut c_void);
        pthread_join(thread, null_mut());
        munmap(stack, size);
        abort();
    }
}
