//! Looks at a dead process and says why it leaked.
//!
//! The library is a chain of rooms; each imports only from rooms above it
//! (`tests/layering.rs` holds them to it):
//!
//! | room | knows | refuses to know |
//! |---|---|---|
//! | `addr` | addresses, spans, words, width and byte order | files |
//! | `task` | what every stage is given (threads, memory budget, progress) and hands back beside its answer (diagnostics) | what the stage does |
//! | `image` | opening any input; a dump as an image: memory, modules, threads | heaps, types |
//! | `words` | exact counts of the most frequent words, and of values at an offset from each match | what a word means |
//! | `symbols` | finding symbol files (build id, debug link, sysroot), names for addresses, demangling | allocations |
//! | `types` | vtables and run-time type information, tables of functions, layouts from debug information | allocations |
//! | `heap` | the allocation table; one walker for each allocator | what is in an allocation |
//! | `graph` | roots, references between allocations, reachability, clusters, paths | types |
//! | `objects` | the identity of each allocation: vtables, fat pointers, containers, text | output |
//! | `insight` | what words and objects tell: the answers behind the verbs | how an answer is printed |
//! | `session` | which stages a question needs; runs each once | output formats |
//! | `report` | one model for all answers; renderers: human, gdb, JSON | the terminal |
//!
//! It prints nothing and never exits the process: that is the binary's part.

pub mod addr;
pub mod graph;
pub mod heap;
pub mod image;
pub mod insight;
pub mod objects;
pub mod report;
pub mod session;
pub mod symbols;
pub mod task;
pub mod types;
pub mod words;
