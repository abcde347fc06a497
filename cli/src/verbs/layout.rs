//! `topleaked layout`: a type's members as they lie in memory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use topleaked::image::{Backing, open_regular};
use topleaked::report::{LayoutView, Layouts, Report, SafeText};
use topleaked::session::Session;
use topleaked::task::{Diagnostic, Task};
use topleaked::types::{DebugInfo, DebugInput, Found, TypeName, Types};

use crate::dump::{Dump, Files};
use crate::means::Means;
use crate::{Exit, output};

use super::{Example, Verb};

/// Layouts of one name that are shown.
const MOST_LAYOUTS: usize = 8;
/// Names that are listed where the one asked for could be any of them.
const MOST_NAMES: usize = 20;

/// Options of `layout`.
#[derive(clap::Args)]
pub(super) struct LayoutVerb {
    /// A core dump, or a program or library with debug information
    #[arg(value_name = "CORE|EXE")]
    input: PathBuf,
    /// The type: Client, net::Client, 'std::vector<int>'; or the size of allocations of no known type: 56
    #[arg(value_name = "TYPE")]
    name: String,
    /// Shows the members of members too
    #[arg(long, short = 'x')]
    expand: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    means: Means,
}

impl Verb for LayoutVerb {
    const NAME: &'static str = "layout";
    const ABOUT: &'static str = "Shows a type's members, offsets, sizes and holes";
    const EXAMPLES: &'static [Example] = &[
        ("topleaked layout app.core net::Client", "its members, holes and padding"),
        ("topleaked layout ./app Client --expand", "from a program with debug information"),
        ("topleaked layout stripped.core 56 --json", "from the objects' values, where nothing else tells"),
    ];

    fn run(self) -> anyhow::Result<Exit> {
        let task = self.means.task();
        let name = TypeName::parse(&self.name).with_context(|| format!("`{}` is no name of a type", self.name))?;
        let file = open_regular(&self.input).ok().and_then(|file| Backing::map(file).ok());
        if let Some(file) = file.filter(DebugInput::is_object_file) {
            let label = label_of(&self.input);
            let input = DebugInput { label, path: Some(self.input.clone()), file: Arc::new(file), bias: 0 };
            return self.answer(DebugInfo::open(vec![input]), Vec::new(), &name, None, &task);
        }
        // Anything else is a dump, or opening it as one says why it is none.
        let dump = Dump { core: self.input.clone(), files: self.files.clone() };
        let options = dump.options();
        let image = dump.open(&options, &task)?;
        let session = Session::new(&image, &options, &task);
        self.answer(DebugInfo::of_image(&image), image.diagnostics().to_vec(), &name, Some(&session), &task)
    }
}

impl LayoutVerb {
    /// What debug information says; without it, what the objects of a dump say.
    fn answer(
        &self,
        info: DebugInfo,
        mut diagnostics: Vec<Diagnostic>,
        name: &TypeName,
        session: Option<&Session<'_>>,
        task: &Task,
    ) -> anyhow::Result<Exit> {
        diagnostics.extend(info.diagnostics().iter().cloned());
        let is_empty = info.is_empty();
        let found = info.find_type(name, task);
        let inferred = match session {
            Some(session) if found.names.is_empty() => Layouts::inferred(session, &self.name).ok().flatten(),
            _ => None,
        };
        let layouts = match inferred {
            Some(layouts) => layouts,
            None if is_empty => bail!("{}", nothing(&self.input, &diagnostics)),
            None => Layouts { types: self.views(&mut Types::new(info), &found, task)? },
        };
        let complete = diagnostics.is_empty();
        let mut report = Report::new(Self::NAME, OsString::from(&self.input), layouts).with_diagnostics(diagnostics);
        report.complete = complete;
        output::print_report(&report, self.json)?;
        Ok(Exit::Answered)
    }

    fn views(&self, types: &mut Types, found: &Found, task: &Task) -> anyhow::Result<Vec<LayoutView>> {
        let defined: Vec<_> = found.names.iter().filter(|found| !found.layouts.is_empty()).collect();
        let only = match defined.as_slice() {
            [only] => only,
            [] if found.names.is_empty() => bail!("no type `{}` in the debug information", self.name),
            [] => bail!("`{}` is declared, but nothing in the debug information defines it", self.name),
            several => {
                let mut names: Vec<&str> = several.iter().map(|found| &*found.name).collect();
                let more = names.len().saturating_sub(MOST_NAMES);
                names.truncate(MOST_NAMES);
                let list: Vec<String> = names.iter().map(|name| SafeText::from(*name).to_string()).collect();
                let more = if more > 0 { format!(", and {more} more") } else { String::new() };
                bail!("`{}` may be any of: {}{more}", self.name, list.join(", "))
            }
        };
        let mut views = Vec::new();
        for layout in only.layouts.iter().take(MOST_LAYOUTS) {
            let id = types.add(layout);
            types.complete(&[id], task);
            views.push(LayoutView::new(types, id, layout, &only.name, self.expand));
        }
        Ok(views)
    }
}

fn label_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn nothing(input: &Path, diagnostics: &[Diagnostic]) -> String {
    let input = SafeText::from(input);
    match diagnostics.first() {
        Some(first) => {
            let at = SafeText::from(&*first.at);
            format!("no debug information for {input} ({at})")
        }
        None => format!(
            "no debug information for {input}; build with -g, or name the folder of its debug files with --symbols"
        ),
    }
}
