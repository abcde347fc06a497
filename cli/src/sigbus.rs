//! A clear end where a dump shrinks while it is read.
//!
//! Dumps are mapped. Reading a page of a mapped file that has been cut off since raises SIGBUS, which says nothing to
//! the user. There is no way to go on: the answer would rest on bytes that are gone.

use std::io;

/// Written in one piece, without formatting: a signal handler may allocate nothing.
const MESSAGE: &[u8] =
    b"topleaked: a file shrank or its disk failed while it was read; copy the dump first, then ask again\n";
const EXIT: i32 = 2;

extern "C" fn end(_signal: libc::c_int) {
    // SAFETY: write and _exit are async-signal-safe (signal-safety(7)); MESSAGE is static.
    #[allow(unsafe_code)]
    unsafe {
        libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
        libc::_exit(EXIT);
    }
}

/// Ends the process with a message and exit code 2 on SIGBUS.
///
/// # Errors
/// Where the system refuses the handler.
pub fn install() -> io::Result<()> {
    // SAFETY: all of the structure is set before it is used, and the handler calls only what is async-signal-safe.
    #[allow(unsafe_code)]
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = end as extern "C" fn(libc::c_int) as usize;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut())
    };
    if installed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
