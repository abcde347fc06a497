//! What stands at the other end: a terminal with a width and colours, or a file; and the progress shown there.

use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
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
    let mut pace = Pace::new(began);
    let mut wait = REFRESH;
    while let Err(mpsc::RecvTimeoutError::Timeout) = is_done.recv_timeout(wait) {
        wait = REFRESH;
        let now = task.progress.snapshot();
        // Before the first stage, it is the input that is waited for.
        let stage = if now.stage.is_empty() { "reading" } else { now.stage };
        pace.note(now.stage, now.done, Instant::now());
        if began.elapsed() < PATIENCE {
            continue;
        }
        let bounded = now.total > 0;
        if shown.as_ref().is_none_or(|(_, was_bounded)| *was_bounded != bounded) {
            if let Some((bar, _)) = shown.take() {
                bar.finish_and_clear();
            }
            shown = Some((new_bar(bounded, began).with_message(stage).with_position(now.done), bounded));
        }
        if let Some((bar, _)) = &shown {
            bar.set_length(now.total);
            bar.set_position(now.done);
            bar.set_message(stage);
            let left = pace.left(now.total).map_or_else(String::new, |left| format!("{} left", HumanDuration(left)));
            bar.set_prefix(left);
            bar.tick();
        }
    }
    if let Some((bar, _)) = shown {
        bar.finish_and_clear();
    }
}

/// How fast a stage goes. Of the pace since its start and that of late the slower one counts: what the page cache holds
/// of a file comes fast, and the rest does not.
struct Pace {
    stage: &'static str,
    began: Instant,
    /// Where the work stood at a time that is [`Pace::LATELY`] ago or more, and at the next such time.
    marks: [(u64, Instant); 2],
    now: (u64, Instant),
}

impl Pace {
    const LATELY: Duration = Duration::from_secs(3);

    fn new(now: Instant) -> Pace {
        Pace { stage: "", began: now, marks: [(0, now); 2], now: (0, now) }
    }

    fn note(&mut self, stage: &'static str, done: u64, now: Instant) {
        if stage != self.stage || done < self.now.0 {
            // Another stage, or the same over again: it began since the last look.
            *self = Pace { stage, ..Pace::new(self.now.1) };
        }
        self.now = (done, now);
        if now.duration_since(self.marks[1].1) >= Pace::LATELY {
            self.marks = [self.marks[1], self.now];
        }
    }

    /// The time that the rest of `total` will take; `None` while nothing is known.
    fn left(&self, total: u64) -> Option<Duration> {
        let (done, now) = self.now;
        let rest = total.checked_sub(done)? as f64;
        let pace = |from: (u64, Instant)| {
            let seconds = now.duration_since(from.1).as_secs_f64();
            (seconds > 0.0).then(|| done.saturating_sub(from.0) as f64 / seconds)
        };
        let slower = pace((0, self.began))?.min(pace(self.marks[0])?);
        Duration::try_from_secs_f64(rest / slower).ok().filter(|left| *left < Duration::from_secs(1_000_000))
    }
}

fn new_bar(bounded: bool, began: Instant) -> ProgressBar {
    let template = if bounded {
        "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {prefix}"
    } else {
        "{spinner} {msg} {binary_bytes} in {elapsed}"
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style).with_elapsed(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_the_cache_does_not_promise_the_rest() {
        let start = Instant::now();
        let after = |tenths| start + Duration::from_millis(100 * tenths);
        let mut pace = Pace::new(start);
        // 1000 units in the first second, then 10 a second.
        pace.note("counting", 1000, after(10));
        assert_eq!(pace.left(2000), Some(Duration::from_secs(1)));
        for tenths in 11..=100 {
            pace.note("counting", 1000 + (tenths - 10), after(tenths));
        }
        let left = pace.left(2000).unwrap().as_secs();
        assert!((85..=95).contains(&left), "910 units at 10 a second, and {left} s were promised");
    }

    #[test]
    fn another_pass_begins_anew() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.note("counting", 100, start + Duration::from_secs(10));
        pace.note("counting", 50, start + Duration::from_secs(11));
        assert_eq!(pace.left(100), Some(Duration::from_secs(1)));
        assert_eq!(pace.left(0), None, "a total that is not known");
    }
}
