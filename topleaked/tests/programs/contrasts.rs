// Sessions behind `dyn` pointers; some lists of them are forgotten. The phase of the forgotten ones tells: all are closing. With
// `--cfg case="pair"` only `tls` and `limit` together tell, with `--cfg case="nothing"` nothing does.
// Prints `NAME VALUE LIVE DROPPED`.
#![allow(unexpected_cfgs)]
#[allow(dead_code)]
#[derive(Clone, Copy)]
enum Phase { Idle { since: u32 }, Reading(u64), Closing { code: u16 } }

#[allow(dead_code)]
struct Session { id: u64, phase: Phase, retries: u8, tls: bool, weight: f64, peer: [u8; 4], name: String, limit: Option<u32> }

trait Work { fn step(&self) -> u64; }
impl Work for Session { fn step(&self) -> u64 { self.id + u64::from(self.retries) } }

struct Random(u64);
impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % limit
    }
}

static mut HELD: Vec<Box<dyn Work>> = Vec::new();

fn session(random: &mut Random, id: u64, dropped: bool) -> (Box<dyn Work>, usize) {
    let which = match cfg!(any(case = "pair", case = "nothing")) {
        true => random.below(3) as usize,
        false if dropped => 2,
        false => random.below(2) as usize,
    };
    let tls = random.below(2) == 0;
    let limited = if cfg!(case = "pair") { tls ^ dropped } else { random.below(3) == 0 };
    let phase = match which {
        0 => Phase::Idle { since: random.below(1000) as u32 },
        1 => Phase::Reading(random.below(1000)),
        _ => Phase::Closing { code: random.below(3) as u16 },
    };
    let session = Session {
        id: random.below(1 << 40) + id, phase, retries: random.below(5) as u8, tls, weight: random.below(64) as f64 / 4.0,
        peer: [10, 0, random.below(4) as u8, 1], name: String::new(), limit: limited.then_some(7),
    };
    (Box::new(session), which)
}

#[inline(never)]
fn fill() {
    let mut random = Random(88172645463325252);
    let mut counts = [[0u64; 2]; 3];
    for list in 0..60 {
        let dropped = list % 3 == 0;
        let mut sessions: Vec<Box<dyn Work>> = Vec::with_capacity(40);
        for at in 0..40 {
            let (session, which) = session(&mut random, list * 40 + at, dropped);
            counts[which][usize::from(dropped)] += 1;
            sessions.push(session);
        }
        if dropped {
            std::mem::forget(sessions);
        } else {
            #[allow(static_mut_refs)]
            unsafe { HELD.extend(sessions) };
        }
    }
    for (name, [live, dropped]) in ["Idle", "Reading", "Closing"].iter().zip(counts) {
        println!("phase {name} {live} {dropped}");
    }
}

#[inline(never)]
fn wipe() {
    let mut zero = [0u8; 16384];
    std::hint::black_box(&mut zero);
}

fn main() {
    fill();
    wipe();
    #[allow(static_mut_refs)]
    let steps: u64 = unsafe { HELD.iter().map(|work| work.step()).fold(0, u64::wrapping_add) };
    std::hint::black_box(steps);
    std::process::abort();
}
