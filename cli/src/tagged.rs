//! `--tagged`: the same option for all verbs that follow pointers.

use topleaked::graph::Tags;

/// `--tagged WHERE`; a verb flattens it into its own options.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Tagged {
    /// Pointers may carry tags: `low` in their lowest bits, `top` in their top byte, or `both`
    #[arg(long = "tagged", value_name = "WHERE", value_parser = tags)]
    tags: Option<Tags>,
}

impl Tagged {
    /// What was asked for; none where nothing was.
    pub(crate) fn tags(self) -> Tags {
        self.tags.unwrap_or_default()
    }
}

fn tags(text: &str) -> Result<Tags, String> {
    match text {
        "low" => Ok(Tags { low_bits: true, top_byte: false }),
        "top" => Ok(Tags { low_bits: false, top_byte: true }),
        "both" => Ok(Tags { low_bits: true, top_byte: true }),
        _ => Err("tags are at `low`, `top` or `both`".to_owned()),
    }
}
