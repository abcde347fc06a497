//! The kernel's say in where a dump goes.
//!
//! The tests look for the dump in the folder in which a program died, so `/proc/sys/kernel/core_pattern` has to be a plain
//! file name. Distributions often pipe dumps to a service instead.

use std::fs;

use anyhow::bail;

use crate::run::{complain, say};

const PATH: &str = "/proc/sys/kernel/core_pattern";

/// Puts the machine's own pattern back when dropped.
#[derive(Debug)]
pub(crate) struct Restore(Option<String>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(own) = self.0.take() {
            match fs::write(PATH, &own) {
                Ok(()) => say(&format!("== {PATH} is {:?} again", own.trim())),
                Err(error) => complain(&format!("cannot put {:?} back into {PATH}: {error}", own.trim())),
            }
        }
    }
}

/// Makes sure that a crashed program leaves its dump where it died; changes the setting, for as long as the result lives, where
/// it has to and may.
///
/// # Errors
/// Where the setting has to be changed and this process may not.
pub(crate) fn ensure() -> anyhow::Result<Restore> {
    let own = fs::read_to_string(PATH).unwrap_or_default();
    if is_plain(own.trim()) {
        return Ok(Restore(None));
    }
    if let Err(error) = fs::write(PATH, "core\n") {
        bail!(
            "{PATH} is {:?}, and the tests need dumps in the folder of the program that died ({error}); run as root: sysctl \
             kernel.core_pattern=core",
            own.trim()
        );
    }
    say(&format!("== {PATH} was {:?}; it is \"core\" while the tests run", own.trim()));
    Ok(Restore(Some(own)))
}

/// Whether a pattern leaves `core…` in the working folder.
fn is_plain(pattern: &str) -> bool {
    pattern.starts_with("core") && !pattern.contains(['/', '|'])
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn services_and_folders_are_not_plain() {
        assert!(is_plain("core") && is_plain("core.%p"));
        for other in ["", "|/usr/share/apport/apport -p%p", "/var/crash/core.%p", "dump"] {
            assert!(!is_plain(other), "{other}");
        }
    }
}
