//! What stands at the other end: a terminal with a width and colours, or a file; and the progress shown there.

use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use topleaked::report::Look;
use topleaked::task::Task;

/// The narrowest table that is worth the wrapping.
const MIN_WIDTH: u16 = 40;

/// How stdout wants to look: plain where it is no terminal; without colour where `NO_COLOR` is set to anything, or
/// the terminal is dumb.
pub fn look() -> Look {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return Look::PLAIN;
    }
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col).filter(|columns| *columns > 0);
    Look { width: width.map(|width| width.max(MIN_WIDTH)), color: !set("NO_COLOR") && !dumb }
}

/// Does `work` and shows its progress on stderr, where that is a terminal, from the second second on. Nothing is left
/// of the bar when the work is done.
pub fn with_progress<T>(task: &Task, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        scope.spawn(move || show_progress(task, &is_done));
        let result = work();
        drop(done);
        result
    })
}

const PATIENCE: Duration = Duration::from_secs(1);
const REFRESH: Duration = Duration::from_millis(100);

/// Draws until the other end of `is_done` is dropped.
fn show_progress(task: &Task, is_done: &mpsc::Receiver<()>) {
    let began = Instant::now();
    let mut shown: Option<(ProgressBar, bool)> = None;
    let mut wait = PATIENCE;
    while let Err(mpsc::RecvTimeoutError::Timeout) = is_done.recv_timeout(wait) {
        wait = REFRESH;
        let now = task.progress.snapshot();
        let bounded = now.total > 0;
        if shown.as_ref().is_none_or(|(_, was_bounded)| *was_bounded != bounded) {
            if let Some((bar, _)) = shown.take() {
                bar.finish_and_clear();
            }
            shown = Some((new_bar(bounded, began), bounded));
        }
        if let Some((bar, _)) = &shown {
            bar.set_length(now.total);
            bar.set_position(now.done);
            bar.set_message(now.stage);
            bar.tick();
        }
    }
    if let Some((bar, _)) = shown {
        bar.finish_and_clear();
    }
}

fn new_bar(bounded: bool, began: Instant) -> ProgressBar {
    let template = if bounded {
        "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {eta} left"
    } else {
        "{spinner} {msg} {binary_bytes} in {elapsed}"
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style).with_elapsed(began.elapsed())
}
