//! What can be done about what is missing.

use crate::image::{Content, Image, MemoryKind, MissingReason};

use super::super::Bytes;
use super::ModuleRow;

/// So many modules are named in one piece of advice.
const NAMED: usize = 5;
/// Less than this is left out of most dumps: rings shared with the kernel, secrets.
const WORTH_ADVICE_BYTES: u64 = 1 << 20;

pub(super) fn advice(image: &Image, modules: &[ModuleRow]) -> Vec<String> {
    let mut advice = Vec::new();
    if image.truncated() {
        advice.push(
            "a whole dump: this one was cut by a limit or a full disk (ulimit -c unlimited; with systemd-coredump \
             ProcessSizeMax= and ExternalSizeMax= in coredump.conf)"
                .to_owned(),
        );
    }
    let private = missing(image, |kind| {
        matches!(kind, MemoryKind::MainHeap | MemoryKind::Anonymous | MemoryKind::Stack | MemoryKind::Tls)
    });
    // Where a dump was cut, the notes may be as well, and without them modules look like private memory.
    if private >= WORTH_ADVICE_BYTES && !image.truncated() {
        advice.push(format!(
            "{} of private memory was left out of the dump: set bit 0 of /proc/PID/coredump_filter before the next \
             one (echo 0x33), unless the program asked for it (MADV_DONTDUMP)",
            Bytes(private)
        ));
    }
    let shared = missing(image, |kind| kind == MemoryKind::Shared);
    if shared >= WORTH_ADVICE_BYTES {
        advice.push(format!(
            "{} of shared memory was left out of the dump: bits 1 and 3 of /proc/PID/coredump_filter keep it \
             (echo 0x3b)",
            Bytes(shared)
        ));
    }
    for module in modules.iter().filter(|module| module.role == "executable" && module.file.is_none()) {
        let id = module.build_id.as_ref().map(|id| format!(" (build id {id})")).unwrap_or_default();
        advice.push(format!("the executable{id}: give its file with --exe FILE; {}", without(module)));
    }
    let lost =
        modules.iter().filter(|module| module.role == "library" && module.file.is_none() && module.missing_bytes > 0);
    let (unsure, lost): (Vec<&ModuleRow>, Vec<&ModuleRow>) =
        lost.partition(|module| module.refused.iter().any(|refused| refused.reason == "unverifiable"));
    if !lost.is_empty() {
        advice.push(format!(
            "the files of {} ({}): copy them from where the process ran and give the folder with --symbols DIR, or its \
             root with --sysroot DIR",
            libraries(&lost),
            names(&lost)
        ));
    }
    if !unsure.is_empty() {
        let cause = match image.truncated() {
            true => "what would show it was cut off",
            false => "bit 4 of /proc/PID/coredump_filter keeps what would show it (echo 0x33)",
        };
        advice.push(format!(
            "files of {} are here ({}), but nothing in the dump shows that they are the builds that ran: {cause}",
            libraries(&unsure),
            names(&unsure)
        ));
    }
    let full =
        |module: &&ModuleRow| module.symbols.iter().any(|symbols| matches!(symbols.source, "own-file" | "debug-file"));
    for module in modules.iter().filter(|module| module.role == "executable" && module.file.is_some()) {
        if full(&module) {
            continue;
        }
        let Some(id) = &module.build_id else { continue };
        let Some((head, tail)) = id.split_at_checked(2) else { continue };
        advice.push(format!(
            "the names of {}'s own functions and data: its debug package, which puts /usr/lib/debug/.build-id/{head}/{tail}.debug \
             there (or `debuginfod-find debuginfo {id}`, and its folder with --symbols DIR)",
            name(&module.path)
        ));
    }
    advice
}

fn libraries(modules: &[&ModuleRow]) -> String {
    match modules.len() {
        1 => "one library".to_owned(),
        several => format!("{several} libraries"),
    }
}

/// Their names, as many as help.
fn names(modules: &[&ModuleRow]) -> String {
    let mut named: Vec<&str> = modules.iter().take(NAMED).map(|module| name(&module.path)).collect();
    if modules.len() > NAMED {
        named.push("…");
    }
    named.join(", ")
}

fn without(module: &ModuleRow) -> &'static str {
    match module.symbols.is_empty() {
        true => "without it its functions and data have no names, and its constants are unknown",
        false => "without it few of its functions and data have names, and its constants are unknown",
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Bytes that the dump's writer left out, of the kinds asked for.
fn missing(image: &Image, wanted: impl Fn(MemoryKind) -> bool) -> u64 {
    let regions = image.regions().iter().filter(|region| wanted(region.kind));
    let bytes = regions.flat_map(|region| {
        image.space().segments_in(region.span).filter_map(|segment| {
            let left_out = segment.content == Content::Missing(MissingReason::NotDumped);
            left_out.then(|| segment.span.intersection(region.span).map_or(0, |common| common.size_bytes()))
        })
    });
    bytes.fold(0, u64::saturating_add)
}
