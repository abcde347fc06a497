//! A mapped file that shrinks ends the program clearly.

use std::fs::{self, File};
use std::process::Command;

use testkit::native::scratch_folder;
use topleaked::image::Backing;

/// The environment variable that makes this test program map, cut and read the file that it names.
const CHILD: &str = "TOPLEAKED_TEST_SHRINKING_FILE";

#[test]
fn a_dump_that_shrinks_while_it_is_read_ends_in_one_line() {
    if let Some(path) = std::env::var_os(CHILD) {
        topleaked_cli::sigbus::install().unwrap();
        let mapped = Backing::map(File::open(&path).unwrap()).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        let sum: u64 = mapped.bytes().iter().map(|byte| u64::from(*byte)).sum();
        panic!("the file was read after it had gone: {sum}");
    }
    let folder = scratch_folder();
    let path = folder.join("dump");
    fs::write(&path, vec![1; 1 << 16]).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sigbus::a_dump_that_shrinks_while_it_is_read_ends_in_one_line"])
        .env(CHILD, &path)
        .output()
        .unwrap();
    assert_eq!(child.status.code(), Some(2), "{child:?}");
    let told = String::from_utf8(child.stderr).unwrap();
    assert!(told.contains("shrank") && told.lines().count() == 1, "{told}");
    let _ = fs::remove_dir_all(folder);
}
