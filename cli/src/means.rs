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
    /// How many threads to use [default: one a processor]
    #[arg(long, value_name = "N", help_heading = "Means")]
    pub threads: Option<NonZeroUsize>,
}

impl Means {
    /// The task for the library's stages.
    pub fn task(&self) -> Task {
        let default = Task::default();
        Task { threads: self.threads.unwrap_or(default.threads), memory_budget_bytes: self.memory, ..default }
    }
}

fn memory(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "a size is a number with K, M, G or T behind it, such as 512M".to_owned())
}
