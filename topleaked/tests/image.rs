//! Images of real processes: what the process says of itself is what the image has to find.

use std::path::Path;

use testkit::native::{Build, compile, crash, crash_emulated, dump_twice};
use topleaked::addr::Addr;
use topleaked::image::{Content, Evidence, Image, Machine, MemoryKind, ModuleRole, OpenOptions};
use topleaked::task::Task;

/// Prints where things are, then dies by SIGSEGV at 0xdead0 with a second thread waiting.
const WHEREABOUTS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int data = 1;
int bss;
const int rodata = 3;
void *const relro = &data;
static __thread int tls = 5;
static void *second(void *gate) {
    int on_stack = 0;
    printf("thread-stack %p\n", (void *)&on_stack);
    printf("thread-tls %p\n", (void *)&tls);
    fflush(stdout);
    pthread_barrier_wait(gate);
    pause();
    return NULL;
}
int main(int argc, char **argv) {
    int on_stack = 0;
    static pthread_barrier_t gate;
    pthread_t thread;
    pthread_barrier_init(&gate, NULL, 2);
    void *mapped = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("pid %d\n", (int)getpid());
    printf("data %p\nbss %p\nrodata %p\nrelro %p\n", (void *)&data, (void *)&bss, (void *)&rodata, (void *)&relro);
    printf("text %p\n", (void *)main);
    printf("heap %p\nanonymous %p\nstack %p\ntls %p\n", malloc(100), mapped, (void *)&on_stack, (void *)&tls);
    fflush(stdout);
    pthread_create(&thread, NULL, second, &gate);
    pthread_barrier_wait(&gate);
    if (argc > 1 && !strcmp(argv[1], "wait")) {
        printf("ready\n");
        fflush(stdout);
        pause();
    }
    *(volatile int *)0xdead0 = 1;
}
"#;

fn told(stdout: &str, name: &str) -> Addr {
    let line = stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let text = line.unwrap_or_else(|| panic!("the program did not print {name}:\n{stdout}"));
    Addr(u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap())
}

fn check_whereabouts(options: &[&str], machine: Machine) {
    let program = compile("whereabouts", "c", WHEREABOUTS, &Build { compiler: "cc", options });
    let dead = crash(&program, &["one", "two words"]);
    let image = Image::open(&dead.core, &OpenOptions::default(), &Task::default()).unwrap();
    assert_eq!(image.machine(), machine);
    assert_eq!(image.diagnostics(), []);
    assert!(!image.truncated());

    let pid: u32 = dead.stdout.lines().next().unwrap().strip_prefix("pid ").unwrap().parse().unwrap();
    let process = image.process();
    assert_eq!(process.pid, Some(pid));
    let signal = process.signal.unwrap();
    assert_eq!((signal.name(machine), signal.fault_address), (Some("SIGSEGV"), Some(Addr(0xdead0))));

    let (id, executable) = image.executable().unwrap();
    assert_eq!(executable.path, program.path.as_os_str().as_encoded_bytes());
    assert!(executable.build_id.is_some());
    assert_eq!(executable.file.found.as_ref().map(|found| &found.path), Some(&program.path));
    let text = told(&dead.stdout, "text");
    assert_eq!(image.module_at(text).unwrap().0, id);
    if !options.iter().any(|option| option.starts_with("-static")) {
        assert!(image.modules().iter().any(|module| module.role == ModuleRole::Interpreter));
        assert!(image.modules().iter().any(|module| module.name().starts_with(b"libc.so")));
    }

    assert_eq!(image.threads().len(), 2);
    assert_eq!(image.threads()[0].tid, pid);
    assert_eq!(image.module_at(image.threads()[0].pc.unwrap()).unwrap().0, id);

    for (name, kind) in [
        ("text", MemoryKind::Text),
        ("data", MemoryKind::Data),
        ("bss", MemoryKind::Bss),
        ("rodata", MemoryKind::Rodata),
        ("relro", MemoryKind::Relro),
        ("heap", MemoryKind::MainHeap),
        ("anonymous", MemoryKind::Anonymous),
        ("stack", MemoryKind::Stack),
        ("thread-stack", MemoryKind::Stack),
        ("tls", MemoryKind::Tls),
        ("thread-tls", MemoryKind::Tls),
    ] {
        let region = image.region(told(&dead.stdout, name)).unwrap();
        assert_eq!(region.kind, kind, "{name} with {options:?}");
    }
    for (index, name) in ["stack", "thread-stack"].iter().enumerate() {
        let addr = told(&dead.stdout, name);
        assert!(image.threads()[index].live_stack.unwrap().contains(addr));
        assert_eq!(image.region(addr).unwrap().thread.unwrap().0 as usize, index);
    }
    // Code is not in the dump: it comes from the file.
    assert!(image.space().word(text).is_some());
}

#[test]
fn a_process_says_where_its_memory_is() {
    check_whereabouts(&["-pthread"], Machine::X86_64);
}

#[test]
fn a_static_program_at_fixed_addresses_says_where_its_memory_is() {
    check_whereabouts(&["-pthread", "-static"], Machine::X86_64);
}

#[test]
fn a_static_program_at_any_address_says_where_its_memory_is() {
    check_whereabouts(&["-pthread", "-static-pie"], Machine::X86_64);
}

#[test]
fn a_32_bit_process_says_where_its_memory_is() {
    check_whereabouts(&["-pthread", "-m32"], Machine::X86);
}

/// What two dumps of one process have to agree on.
fn summary(image: &Image) -> (Vec<String>, Vec<String>, Vec<String>) {
    let modules = image.modules().iter().map(|module| {
        let found = module.file.found.as_ref().map(|found| &found.path);
        let path = String::from_utf8_lossy(&module.path).into_owned();
        format!("{path} {:?} {:?} {:?} {found:?}", module.role, module.span, module.build_id)
    });
    let threads = image.threads().iter().map(|thread| {
        format!("{} {:?} {:?} {:?} {:?}", thread.tid, thread.pc, thread.sp, thread.stack, thread.live_stack)
    });
    // Memory that has bytes; what the kernel keeps for itself, and memory without access, only its own dump lists.
    let regions = image.regions().iter().filter(|region| {
        !matches!(region.kind, MemoryKind::Guard | MemoryKind::Vdso)
            && !image.space().bytes_from(region.span.start()).is_empty()
    });
    let regions =
        regions.map(|region| format!("{:?} {} {:?} {:?}", region.span, region.kind, region.module, region.thread));
    (modules.collect(), threads.collect(), regions.collect())
}

#[test]
fn dumps_of_one_process_by_the_kernel_and_by_gdb_agree() {
    let build = Build { compiler: "cc", options: &["-pthread"] };
    let program = compile("whereabouts", "c", WHEREABOUTS, &build);
    let dumps = dump_twice(&program, &["wait"]);
    let open = |path: &Path| Image::open(path, &OpenOptions::default(), &Task::default()).unwrap();
    let (kernel, gcore) = (open(&dumps.kernel), open(&dumps.gcore));
    assert_eq!((kernel.diagnostics(), gcore.diagnostics()), (&[][..], &[][..]));
    let (kernel_summary, gcore_summary) = (summary(&kernel), summary(&gcore));
    assert_eq!(kernel_summary.0, gcore_summary.0);
    assert_eq!(kernel_summary.1, gcore_summary.1);
    assert_eq!(kernel_summary.2, gcore_summary.2);
    assert_eq!(kernel.process().signal.and_then(|signal| signal.name(Machine::X86_64)), Some("SIGABRT"));
    assert_eq!(gcore.process().signal, None, "gdb stopped it; it did not die");
    // gcore leaves code out of its segments; it comes from the file all the same.
    let text = told(&dumps.stdout, "text");
    let content = gcore.space().find_segment(text).unwrap().content;
    assert!(matches!(content, Content::Elided(..)));
    assert_eq!(gcore.space().word(text), kernel.space().word(text));
    let stack = told(&dumps.stdout, "stack");
    assert_eq!(gcore.region(stack).unwrap().kind, MemoryKind::Stack);
}

/// A dump that an emulator wrote holds neither a list of files nor any page of code, so no build id either.
fn check_emulated(triple: &str, options: &[&str], expected: Machine, evidence: Evidence) {
    let machine = triple.split('-').next().unwrap();
    let compiler = format!("{triple}-gcc-12");
    let program = compile("emulated", "c", WHEREABOUTS, &Build { compiler: &compiler, options });
    let root = Path::new("/usr").join(triple);
    let dead = crash_emulated(machine, &root, &program);
    let mut open = OpenOptions::default();
    open.search.sysroot = Some(root);
    let image = Image::open(&dead.core, &open, &Task::default()).unwrap();
    assert_eq!(image.machine(), expected);
    let (_, executable) = image.executable().unwrap();
    assert_eq!(executable.path, program.path.as_os_str().as_encoded_bytes());
    assert_eq!(executable.file.found.as_ref().unwrap().evidence, evidence);
    assert!(executable.build_id.is_some());
    if !options.contains(&"-static") {
        let libc = image.modules().iter().find(|module| module.name().starts_with(b"libc.so")).unwrap();
        assert!(libc.file.found.is_some(), "{libc:?}");
        let has_interpreter = image.modules().iter().any(|module| module.role == ModuleRole::Interpreter);
        assert!(has_interpreter, "{:#?} {:?}", image.modules(), image.auxv());
    }
    for (name, kind) in [
        ("text", MemoryKind::Text),
        ("data", MemoryKind::Data),
        ("bss", MemoryKind::Bss),
        ("heap", MemoryKind::MainHeap),
        ("anonymous", MemoryKind::Anonymous),
        ("stack", MemoryKind::Stack),
        ("thread-stack", MemoryKind::Stack),
    ] {
        // Below that mapping lies the other thread's stack. For 32-bit ARM qemu writes no thread pointer, and then nothing
        // tells where the one ends and the other begins.
        if expected == Machine::Arm && name == "anonymous" {
            continue;
        }
        let region = image.region(told(&dead.stdout, name)).unwrap();
        assert_eq!(region.kind, kind, "{name} on {machine} with {options:?}");
    }
    assert_eq!(image.threads().len(), 2);
    // The thread that died did so in main, with its variables above its stack pointer.
    let died = &image.threads()[0];
    assert_eq!(image.module_at(died.pc.unwrap()).map(|(_, module)| module.role), Some(ModuleRole::Executable));
    let into_main = died.pc.unwrap().offset_from(told(&dead.stdout, "text")).unwrap();
    assert!(into_main < 0x400, "{into_main:#x} bytes into main");
    assert!(died.sp.unwrap() <= told(&dead.stdout, "stack"), "{died:?}");
    assert_eq!(image.process().signal.unwrap().name(expected), Some("SIGSEGV"));
    assert!(image.space().word(told(&dead.stdout, "text")).is_some());
    assert_eq!(image.diagnostics(), []);
}

#[test]
fn a_64_bit_arm_process_says_where_its_memory_is() {
    check_emulated("aarch64-linux-gnu", &["-pthread"], Machine::Aarch64, Evidence::DynamicSection);
    check_emulated("aarch64-linux-gnu", &["-pthread", "-static"], Machine::Aarch64, Evidence::Data);
}

#[test]
fn a_big_endian_process_says_where_its_memory_is() {
    check_emulated("s390x-linux-gnu", &["-pthread"], Machine::S390, Evidence::DynamicSection);
    check_emulated("s390x-linux-gnu", &["-pthread", "-static"], Machine::S390, Evidence::Data);
}

#[test]
fn a_32_bit_arm_process_says_where_its_memory_is() {
    check_emulated("arm-linux-gnueabihf", &["-pthread"], Machine::Arm, Evidence::DynamicSection);
    check_emulated("arm-linux-gnueabihf", &["-pthread", "-static"], Machine::Arm, Evidence::Data);
}

/// Turns the notes of these types into notes of a type that nobody reads.
fn without_notes(core: &[u8], kinds: &[u32]) -> Vec<u8> {
    let mut core = core.to_vec();
    let u64_at = |core: &[u8], at: usize| u64::from_le_bytes(core[at..at + 8].try_into().unwrap()) as usize;
    let u32_at = |core: &[u8], at: usize| u32::from_le_bytes(core[at..at + 4].try_into().unwrap());
    let (table, count) = (u64_at(&core, 32), usize::from(u16::from_le_bytes([core[56], core[57]])));
    let note = (0..count).map(|index| table + index * 56).find(|at| u32_at(&core, *at) == 4).unwrap();
    let (mut at, size) = (u64_at(&core, note + 8), u64_at(&core, note + 32));
    let end = at + size;
    while at + 12 <= end {
        let (name, data) = (u32_at(&core, at) as usize, u32_at(&core, at + 4) as usize);
        if kinds.contains(&u32_at(&core, at + 8)) {
            core[at + 8..at + 12].copy_from_slice(&0x7fff_fff0u32.to_le_bytes());
        }
        at += 12 + name.next_multiple_of(4) + data.next_multiple_of(4);
    }
    core
}

/// Writers other than the kernel and gdb leave out the list of mapped files, and some the auxiliary vector.
#[test]
fn modules_are_found_without_the_list_of_mapped_files() {
    const NT_FILE: u32 = 0x4649_4c45;
    const NT_AUXV: u32 = 6;
    for options in [&["-pthread"][..], &["-pthread", "-no-pie"], &["-pthread", "-static-pie"]] {
        let program = compile("whereabouts", "c", WHEREABOUTS, &Build { compiler: "cc", options });
        let dead = crash(&program, &[]);
        let core = std::fs::read(&dead.core).unwrap();
        let open = |core: Vec<u8>| Image::from_bytes(core, &OpenOptions::default()).unwrap();
        let modules = |image: &Image, names: bool| -> Vec<String> {
            let of = |module: &topleaked::image::Module| {
                let path = std::fs::canonicalize(String::from_utf8_lossy(&module.path).as_ref());
                let path = path.map(|path| path.display().to_string()).unwrap_or_default();
                let name = if names { path } else { String::new() };
                format!("{} {:?} {name}", module.base(), module.build_id)
            };
            image.modules().iter().filter(|module| module.role != ModuleRole::Vdso).map(of).collect()
        };
        let whole = open(core.clone());
        // The link map has each module's path, and the auxiliary vector leads to it.
        let linked = open(without_notes(&core, &[NT_FILE]));
        assert_eq!(modules(&linked, true), modules(&whole, true), "{options:?}");
        for name in ["text", "data", "bss", "rodata", "relro", "heap", "stack", "tls"] {
            let addr = told(&dead.stdout, name);
            let kind = |image: &Image| image.region(addr).map(|region| region.kind);
            assert_eq!(kind(&linked), kind(&whole), "{name} with {options:?}");
            assert_eq!(linked.space().word(addr), whole.space().word(addr), "{name} with {options:?}");
        }
        // Without both, the headers in memory show where each module is; the kernel keeps their first pages.
        let bare = open(without_notes(&core, &[NT_FILE, NT_AUXV]));
        assert_eq!(modules(&bare, false), modules(&whole, false), "{options:?}");
        assert!(bare.modules().iter().any(|module| module.role == ModuleRole::Vdso), "{:?}", bare.modules());
    }
}
