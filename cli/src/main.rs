//! The binary: everything is in the library crate beside it, where the fuzz targets reach it too.

fn main() -> std::process::ExitCode {
    topleaked_cli::run(std::env::args_os().collect())
}
