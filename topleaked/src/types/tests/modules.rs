//! Classes of shared libraries and plugins, and tables of functions in C.

use super::*;

/// A library with a class `Shared` of its own, and one that is called the same in every library built from this.
const LIBRARY: &str = r#"
namespace { struct Same { virtual ~Same() {} virtual int same() { return 1; } }; }
struct Shared { virtual ~Shared() {} virtual int shared() { return 1; } };
extern "C" void *make_same() { return new Same; }
extern "C" void *make_shared() { return new Shared; }
"#;

const USER: &str = r#"
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
extern "C" void *make_same();
extern "C" void *make_shared();
int main(int, char **argv) {
    std::printf("%p linked Shared\n", *(void **)make_shared());
    std::printf("%p linked Same\n", *(void **)make_same());
    void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!plugin) { std::puts(dlerror()); return 1; }
    std::printf("%p plugin Shared\n", *(void **)((void *(*)())dlsym(plugin, "make_shared"))());
    std::printf("%p plugin Same\n", *(void **)((void *(*)())dlsym(plugin, "make_same"))());
    std::fflush(stdout);
    std::abort();
}
"#;

#[test]
fn classes_of_libraries_and_plugins_are_named_with_their_module() {
    for strip in [&[][..], &["-s"]] {
        let shared = [&["-shared", "-fPIC", "-O1"], strip].concat();
        let linked = compile("linked", "cpp", LIBRARY, &Build { compiler: "c++", options: &shared });
        let plugin = compile("plugin", "cpp", LIBRARY, &Build { compiler: "c++", options: &shared });
        let linked_path = linked.path.to_str().unwrap();
        let options = [&["-O1", "-Wl,--no-as-needed", linked_path], strip].concat();
        let user = compile("user", "cpp", USER, &Build { compiler: "c++", options: &options });
        let crash = crash(&user, &[plugin.path.to_str().unwrap()]);
        let image = open(&crash.core);
        let symbols = Symbols::new(&image, SymbolOptions::default());
        let vtables = Vtables::new(&image, &symbols);
        let expected = expectations(&crash);
        assert_eq!(expected.len(), 4);
        for (addr, expected) in expected {
            let (module, class) = expected.split_once(' ').unwrap();
            let found = vtables.classify(addr).unwrap_or_else(|| panic!("{expected} at {addr} is not recognised"));
            let class = if class == "Same" { "(anonymous namespace)::Same" } else { class };
            assert_eq!((found.class.as_deref(), &found.module_name[..]), (Some(class), module.as_bytes()));
            assert_eq!(found.confidence, Confidence::Certain);
        }
    }
}

const CALLBACKS: &str = r#"
#include <stdio.h>
#include <stdlib.h>
static int on_open(int x) { return x + 1; }
static int on_close(int x) { return x + 2; }
static int on_read(int x) { return x + 3; }
struct ops { const char *name; int (*open)(int); int (*close)(int); int (*read)(int); };
struct pair { int (*open)(int); int (*close)(int); };
const struct ops tcp_ops = {"tcp", on_open, on_close, on_read};
static struct pair table[2] = {{on_open, on_close}, {on_read, 0}};
long numbers[4] = {1, 2, 3, 4};
int main(int argc, char **argv) {
    printf("%p tcp_ops\n%p table\n%p numbers\n", (void *)&tcp_ops, (void *)table, (void *)numbers);
    fflush(stdout);
    if (table[argc - 1].open(1) == 2 && tcp_ops.read(numbers[0]) == 4) abort();
    return 0;
}
"#;

#[test]
fn tables_of_functions_are_named_with_their_functions() {
    for options in [&["-O1"][..], &["-O1", "-no-pie"], &["-O1", "-m32"]] {
        let crash = crash(&compile("callbacks", "c", CALLBACKS, &Build { compiler: "cc", options }), &[]);
        let image = open(&crash.core);
        let symbols = Symbols::new(&image, SymbolOptions::default());
        let vtables = Vtables::new(&image, &symbols);
        let width = image.target().width.bytes() as u64;
        let expected = expectations(&crash);
        for (addr, name) in &expected[..2] {
            let found = vtables.function_table(*addr).unwrap_or_else(|| panic!("{name} is not recognised"));
            assert_eq!(found.symbol.unwrap().name, name.as_bytes());
            let functions: Vec<_> =
                found.functions.iter().map(|entry| (entry.offset / width, entry.symbol.unwrap().name)).collect();
            let wanted: [(u64, &[u8]); 3] = match name.as_str() {
                "tcp_ops" => [(1, b"on_open"), (2, b"on_close"), (3, b"on_read")],
                _ => [(0, b"on_open"), (1, b"on_close"), (2, b"on_read")],
            };
            assert_eq!(functions, wanted);
            assert_eq!(vtables.function_table(Addr(addr.0 + width)), None, "inside {name}");
            assert_eq!(vtables.classify(*addr), None);
        }
        assert_eq!(vtables.function_table(expected[2].0), None);
    }
    let options = &["-O1", "-s"];
    let crash = crash(&compile("callbacks", "c", CALLBACKS, &Build { compiler: "cc", options }), &[]);
    let image = open(&crash.core);
    let symbols = Symbols::new(&image, SymbolOptions::default());
    let vtables = Vtables::new(&image, &symbols);
    let table = expectations(&crash)[1].0;
    let found = vtables.function_table(table).unwrap();
    assert_eq!((found.symbol, found.functions.len()), (None, 3));
}
