//! The options that say what a command may use, the same for all of them.

use std::num::NonZeroUsize;

use topleaked::report::parse_bytes;
use topleaked::task::Task;

/// `--memory` and `--threads`; a verb flattens them into its own options.
#[derive(clap::Args, Clone, Debug)]
pub struct Means {
    /// The most memory for tables and buffers: 512M, 1G, 64MiB
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = memory, help_heading = "Means")]
    pub memory: u64,
    /// How many threads to use, at most 256 [default: one a processor]
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Means")]
    pub threads: Option<NonZeroUsize>,
}

/// What `--memory` says where a verb walks the heap: its tables grow with the allocations, whatever the option says.
pub fn beside_the_heap(memory: clap::Arg) -> clap::Arg {
    memory
        .help("The most memory for unpacking and counting; the heap's tables come on top, some 25 bytes an allocation")
        .long_help(None::<&str>)
}

impl Means {
    /// The task for the library's stages.
    pub fn task(&self) -> Task {
        let default = Task::default();
        let threads =
            self.threads.unwrap_or(default.threads).min(NonZeroUsize::new(MOST_THREADS).unwrap_or(NonZeroUsize::MIN));
        Task { threads, memory_budget_bytes: self.memory, ..default }
    }
}

/// More threads than any machine of today makes use of, and few enough that every system can start them.
const MOST_THREADS: usize = 256;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= MOST_THREADS);
    number.ok_or_else(|| format!("a number from 1 to {MOST_THREADS}"))
}

fn memory(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "a size is a number with K, M, G or T behind it, such as 512M".to_owned())
}
