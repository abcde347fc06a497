//! Help, manual page and completions: what they say holds, and fits a terminal of 80 columns.

use std::fs;
use std::process::{Command, Stdio};

use testkit::native::{Build, compile, crash};

use crate::common::{Folder, answer, refused, run, terminal, words};

const VERBS: &[&str] =
    &["top", "info", "heap", "types", "leaks", "fields", "explain", "layout", "demo", "completions", "man", "help"];

/// The help of the whole program, and of each verb.
fn pages() -> Vec<(String, String)> {
    let whole = ("topleaked".to_owned(), answer(["--help"]));
    let verbs = VERBS.iter().map(|verb| (format!("topleaked {verb}"), answer([verb, "--help"])));
    std::iter::once(whole).chain(verbs).collect()
}

/// The lines between `Examples:` and the usage.
fn examples(page: &str) -> Vec<&str> {
    page.lines().skip_while(|line| *line != "Examples:").skip(1).take_while(|line| !line.is_empty()).collect()
}

/// The command lines among them: what follows two blanks up to the gap before the purpose.
fn command_lines(page: &str) -> Vec<&str> {
    let lines = examples(page).into_iter().filter_map(|line| line.strip_prefix("  "));
    lines.filter(|line| !line.starts_with(' ')).map(|line| line.split("  ").next().unwrap_or(line)).collect()
}

#[test]
fn every_page_has_examples_that_fit_80_columns() {
    for (command, page) in pages() {
        assert!(command_lines(&page).len() >= 3, "{command}: {page}");
        for line in examples(&page) {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
    }
    assert!(answer(["--help"]).contains("Exit code"), "the exit codes are said");
}

#[test]
fn what_the_memory_option_does_not_bound_is_said() {
    for verb in ["heap", "types", "leaks", "fields", "explain"] {
        let page = answer([verb, "--help"]);
        let words: Vec<&str> = page.split_whitespace().collect();
        assert!(words.join(" ").contains("the heap's tables come on top"), "{verb}: {page}");
    }
    assert!(!answer(["info", "--help"]).contains("on top"));
}

const SERVER: &str = "
#include <cstdlib>
#include <vector>
enum State { CONNECTED, ACTIVE, CLOSING };
namespace net {
struct Client { virtual ~Client() {} State state = State(rand() % 3); int retries = rand() % 60000; };
}
std::vector<net::Client *> clients;
struct Plain { long a[7]; };
Plain *plain[40];
int main() {
  for (auto &one : plain) one = new Plain{};
  for (int i = 0; i < 3000; i++) {
    auto c = new net::Client;
    if (c->state != CLOSING || i % 50 == 0) clients.push_back(c);
  }
  abort();
}
";

/// Each example of each page, run by a shell in a folder in which the files that it names are there. Of a pipeline
/// only our own part: what it is piped into may not be installed.
#[test]
fn every_example_works() {
    let program = compile("server", "cpp", SERVER, &Build { compiler: "c++", options: &["-g"] });
    let died = crash(&program, &[]);
    let folder = Folder::new();
    let bare = compile("bare", "cpp", SERVER, &Build { compiler: "c++", options: &[] });
    fs::copy(&crash(&bare, &[]).core, folder.0.join("stripped.core")).unwrap();
    for name in ["core", "app.core", "healthy.core"] {
        fs::copy(&died.core, folder.0.join(name)).unwrap();
    }
    folder.write("core.zst", crate::common::tool("zstd", &["-c", "-q"], &died.core));
    for name in ["server", "app"] {
        fs::copy(&program.path, folder.0.join(name)).unwrap();
    }
    for name in ["debug", ".zfunc", ".config/fish/completions", "container"] {
        fs::create_dir_all(folder.0.join(name)).unwrap();
    }
    let ours = std::path::Path::new(env!("CARGO_BIN_EXE_topleaked")).parent().unwrap();
    let path = format!("{}:{}", ours.display(), std::env::var("PATH").unwrap());
    let mut count = 0;
    for (command, page) in pages() {
        for line in command_lines(&page) {
            let start = line.find("topleaked").unwrap_or_else(|| panic!("{command}: {line}"));
            let ours = line[start..].split([')', '|']).next().unwrap();
            let ours = [" > /", " > ~"].iter().fold(ours, |line, to| line.split(to).next().unwrap_or(line));
            let ours = ours.replace("/mnt/container", "container");
            let output = Command::new("sh")
                .args(["-c", &ours])
                .env("PATH", &path)
                .env("HOME", &folder.0)
                .current_dir(&folder.0)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            // A limit of `--fail-on` may be passed.
            assert!(matches!(output.status.code(), Some(0 | 1)), "{command}: {line}: {output:?}");
            // The word that is looked for is of another process.
            assert!(line.contains(" -f ") || !output.stdout.is_empty(), "{command}: {line}: {output:?}");
            count += 1;
        }
    }
    assert!(count >= 3 * VERBS.len(), "{count}");
}

#[test]
fn help_is_a_verb_too() {
    assert_eq!(answer(["help"]), answer(["--help"]));
    for verb in VERBS {
        assert_eq!(answer(["help", verb]), answer([verb, "--help"]), "{verb}");
    }
    assert!(refused(["help", "nothing"]).contains("there is no verb `nothing`"));
}

#[test]
fn a_verb_that_is_mistyped_or_misplaced_is_recognised() {
    let folder = Folder::new();
    let file = folder.write("dump", words(&[1, 2]));
    let file = file.to_str().unwrap();
    assert_eq!(
        refused(["inof", file]),
        "topleaked: there is no verb `inof`; did you mean `info`? See `topleaked --help`\n"
    );
    assert!(refused(["leak", file]).contains("did you mean `leaks`?"));
    assert!(refused(["--json", "top", file]).contains("the verb comes first: `topleaked top …`"));
    assert!(refused([file, "top"]).contains("the verb comes first: `topleaked top …`"));
    let line = refused([file, "other"]);
    assert_eq!(line, "topleaked: one file at a time: `other` is one too many; see `topleaked --help`\n");
    // What is no option stays the first thing that is said.
    assert!(refused(["inof", file, "--bogus"]).contains("--bogus"));
    assert!(refused([file, "--member-offset=8"]).contains("did you mean `--memberOffset`?"));
    assert!(refused(["info", file, "--exec=x"]).contains("did you mean `--exe`?"));
    assert!(refused([file, "--memberType=uint46"]).contains("did you mean `uint64`?"));
}

#[test]
fn the_manual_page_says_how_to_call_it_and_how_it_ends() {
    for verb in [None, Some("leaks"), Some("demo")] {
        let page = answer(["man"].into_iter().chain(verb));
        for section in ["NAME", "SYNOPSIS", "EXAMPLES", "\"EXIT STATUS\""] {
            assert!(page.contains(&format!(".SH {section}\n")), "{verb:?} {section}: {page}");
        }
    }
    let page = answer(["man"]);
    assert!(page.contains(".SH ENVIRONMENT\n") && page.contains("NO_COLOR"), "{page}");
    assert!(page.contains("topleaked app.core"), "{page}");
    // A period or a backslash in an example is text, not a request.
    let output = Command::new("sh").args(["-c", "command -v groff"]).output().unwrap();
    if output.status.success() {
        let script = "\"$0\" man leaks | groff -man -Tutf8 -ww 2>&1 >/dev/null";
        let output = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_topleaked")]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let folder = Folder::new();
    let asked = |settings: &str| terminal(&format!("{settings} \"$TOPLEAKED\" --help"), &folder.0);
    assert!(asked("TERM=xterm").contains("\x1b["));
    for plain in ["TERM=dumb", "TERM=xterm NO_COLOR=1"] {
        assert!(!asked(plain).contains("\x1b["), "{plain}");
    }
    assert!(asked("TERM=xterm NO_COLOR=").contains("\x1b["), "an empty NO_COLOR says nothing");
}

#[test]
fn progress_is_shown_on_a_terminal_after_a_second_and_cleared() {
    let folder = Folder::new();
    folder.write("dump", words(&[7; 1000]));
    let slow = terminal("TERM=xterm; (cat dump; sleep 2) | \"$TOPLEAKED\" -", &folder.0);
    assert!(slow.contains("reading"), "{slow:?}");
    // The answer stands on a line that was cleared.
    assert!(slow.trim_end().ends_with("\x1b[2K0x0000000000000007 : 1000"), "{slow:?}");
    let quick = terminal("TERM=xterm \"$TOPLEAKED\" dump", &folder.0);
    assert_eq!(quick, "0x0000000000000007 : 1000\r\n");
    let elsewhere = terminal("(cat dump; sleep 2) | \"$TOPLEAKED\" - 2>stderr", &folder.0);
    assert_eq!((elsewhere, fs::read(folder.0.join("stderr")).unwrap()), (quick, Vec::new()));
}

#[test]
fn two_forms_of_output_exclude_each_other() {
    let folder = Folder::new();
    let path = folder.write("dump", words(&[1]));
    let line = refused(["top", path.to_str().unwrap(), "--json", "-ogdb"]);
    assert!(line.contains("--json") && line.contains("--output"), "{line}");
    assert_eq!(run(["top", path.to_str().unwrap(), "--json", "-ohuman"]).status.code(), Some(2), "no core");
}

/// What bash offers for the last of these words.
fn bash_offers(line: &[&str], folder: &Folder) -> Vec<String> {
    let words: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
    let (last, before) = (line[line.len() - 1], line[line.len() - 2]);
    let script = format!(
        "source <(\"$0\" completions bash); COMP_WORDS=({}); COMP_CWORD={}; _topleaked topleaked '{last}' '{before}'; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        line.len() - 1
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &script, env!("CARGO_BIN_EXE_topleaked")])
        .current_dir(&folder.0)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_offers_verbs_and_files_side_by_side() {
    let folder = Folder::new();
    folder.write("core", b"");
    folder.write("le core", b"");
    assert_eq!(bash_offers(&["topleaked", "co"], &folder), ["completions", "core"]);
    assert_eq!(bash_offers(&["topleaked", "le"], &folder), ["leaks", "le\\ core"]);
    assert_eq!(bash_offers(&["topleaked", "core", "--memberT"], &folder), ["--memberType"]);
    assert_eq!(bash_offers(&["topleaked", "top", "--ki"], &folder), ["--kind"]);
    assert!(bash_offers(&["topleaked", "--js"], &folder).contains(&"--json".to_owned()));
}

#[test]
fn zsh_offers_verbs_and_files_side_by_side() {
    let script = answer(["completions", "zsh"]);
    // zsh itself may not be installed; what we put into the script must be there in any case.
    for part in ["case $words[2] in\n    (top|info|", "\"${arguments[@]}\" \\\n", "_topleaked_first() {"] {
        assert_eq!(script.matches(part).count(), 1, "{part}: {script}");
    }
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")] {
        let folder = Folder::new();
        let script = folder.write("script", answer(["completions", shell]));
        // A shell that is not installed has nothing to say.
        if let Ok(output) = Command::new(shell).arg(check).arg(script).output() {
            assert!(output.status.success(), "{shell}: {output:?}");
        }
    }
}
