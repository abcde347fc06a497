//! All tests of the library from outside in one executable: each more would link the whole library again.

mod alarms;
mod asked_for;
mod contrasts;
mod fields;
mod graph;
mod groups_written;
mod heap;
mod heap_written;
mod hostile_debug_info;
mod image;
mod inferred;
mod jemalloc;
mod layering;
mod layouts;
mod objects;
mod slabs_written;
mod spread;
mod synthetic_image;
mod top_words;
mod unlinked;
mod values;
