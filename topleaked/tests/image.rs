//! Images of real processes: what the process says of itself is what the image has to find.

use testkit::native::{Build, compile, crash};
use topleaked::addr::Addr;
use topleaked::image::{Image, Machine, MemoryKind, ModuleRole, OpenOptions};
use topleaked::task::Task;

/// Prints where things are, then dies by SIGSEGV at 0xdead0 with a second thread waiting.
const WHEREABOUTS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
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
int main(void) {
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
