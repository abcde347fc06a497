// Objects behind pointers with a vtable: alone, and behind the counts of an `Arc` or `Rc`. Prints what and where.
use std::rc::Rc;
use std::sync::Arc;

trait Shape {
    fn area(&self) -> f64;
}

macro_rules! shape {
    ($name:ident, $alignment:literal, $numbers:literal) => {
        #[repr(align($alignment))]
        struct $name([f64; $numbers]);
        impl Shape for $name {
            fn area(&self) -> f64 {
                self.0.iter().sum()
            }
        }
    };
}

shape!(Small, 8, 1);
shape!(Medium, 8, 4);
shape!(Large, 8, 6);
shape!(Aligned, 16, 2);

fn made<T: Shape + 'static>(name: &str, make: fn() -> T, kept: &mut Kept) {
    for _ in 0..20 {
        let alone: Box<dyn Shape> = Box::new(make());
        println!("counted::{name} {:p}", &*alone as *const dyn Shape as *const u8);
        let shared: Arc<dyn Shape> = Arc::new(make());
        kept.shared.push(shared.clone());
        let counts = 16.max(std::mem::align_of::<T>());
        println!("counted::{name}, counted {:p}", (Arc::as_ptr(&shared) as *const u8).wrapping_sub(counts));
        kept.shared.push(shared);
        let local: Rc<dyn Shape> = Rc::new(make());
        println!("counted::{name}, counted {:p}", (Rc::as_ptr(&local) as *const u8).wrapping_sub(counts));
        kept.local.push(local);
        kept.alone.push(alone);
    }
}

#[derive(Default)]
struct Kept {
    alone: Vec<Box<dyn Shape>>,
    shared: Vec<Arc<dyn Shape>>,
    local: Vec<Rc<dyn Shape>>,
}

fn main() {
    // Chunks with a rest that cannot be split off: small objects in larger chunks.
    let holes: Vec<Vec<u8>> = (0..200).map(|at| Vec::with_capacity(40 + at % 3 * 16)).collect();
    drop(holes.into_iter().step_by(2).collect::<Vec<_>>());
    let mut kept = Kept::default();
    made("Small", || Small([1.5]), &mut kept);
    made("Medium", || Medium([2.5; 4]), &mut kept);
    made("Large", || Large([3.5; 6]), &mut kept);
    made("Aligned", || Aligned([4.5; 2]), &mut kept);
    let area: f64 = kept.alone.iter().map(|shape| shape.area()).sum::<f64>()
        + kept.shared.iter().map(|shape| shape.area()).sum::<f64>()
        + kept.local.iter().map(|shape| shape.area()).sum::<f64>();
    println!("area {area}");
    std::process::abort();
}
