//! The process as a whole: who it was, and why it died.

use crate::addr::Addr;

/// Who the process was, and why it died. What the dump does not tell is `None` or empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Process {
    /// Its process id.
    pub pid: Option<u32>,
    /// Its parent's process id.
    pub parent_pid: Option<u32>,
    /// The executable's path, as bytes of the dump: from the mapped files, or as the program was started.
    pub executable: Option<Vec<u8>>,
    /// The path by which it was started, which may be a link's, or that of a script.
    pub started_as: Option<Vec<u8>>,
    /// The first 15 bytes of the executable's file name, or what the program renamed itself to.
    pub command: Vec<u8>,
    /// The arguments, the program's name first.
    pub arguments: Vec<Vec<u8>>,
    /// Whether `arguments` were cut at the 80 bytes that the dump's note has room for.
    pub arguments_cut: bool,
    /// The signal that ended it. A dump of a process that went on (`gcore`) has none, or one that stopped it.
    pub signal: Option<Signal>,
}

/// A signal, as its note tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Signal {
    /// Its number on the machine of the dump.
    pub number: i32,
    /// `si_code`: why it was sent; `None` where the dump has no `NT_SIGINFO`.
    pub code: Option<i32>,
    /// The address whose access failed, for signals that have one.
    pub fault_address: Option<Addr>,
    /// Who sent it, for signals sent by a process.
    pub sender_pid: Option<u32>,
}

impl Signal {
    /// Its name on Linux, where it is one of the classic signals: `SIGSEGV`. MIPS numbers some differently.
    pub fn name(&self, machine: super::Machine) -> Option<&'static str> {
        // Linux include/uapi/asm-generic/signal.h, and arch/mips/include/uapi/asm/signal.h.
        const GENERIC: [&str; 31] = [
            "SIGHUP",
            "SIGINT",
            "SIGQUIT",
            "SIGILL",
            "SIGTRAP",
            "SIGABRT",
            "SIGBUS",
            "SIGFPE",
            "SIGKILL",
            "SIGUSR1",
            "SIGSEGV",
            "SIGUSR2",
            "SIGPIPE",
            "SIGALRM",
            "SIGTERM",
            "SIGSTKFLT",
            "SIGCHLD",
            "SIGCONT",
            "SIGSTOP",
            "SIGTSTP",
            "SIGTTIN",
            "SIGTTOU",
            "SIGURG",
            "SIGXCPU",
            "SIGXFSZ",
            "SIGVTALRM",
            "SIGPROF",
            "SIGWINCH",
            "SIGIO",
            "SIGPWR",
            "SIGSYS",
        ];
        const MIPS: [&str; 31] = [
            "SIGHUP",
            "SIGINT",
            "SIGQUIT",
            "SIGILL",
            "SIGTRAP",
            "SIGABRT",
            "SIGEMT",
            "SIGFPE",
            "SIGKILL",
            "SIGBUS",
            "SIGSEGV",
            "SIGSYS",
            "SIGPIPE",
            "SIGALRM",
            "SIGTERM",
            "SIGUSR1",
            "SIGUSR2",
            "SIGCHLD",
            "SIGPWR",
            "SIGWINCH",
            "SIGURG",
            "SIGIO",
            "SIGSTOP",
            "SIGTSTP",
            "SIGCONT",
            "SIGTTIN",
            "SIGTTOU",
            "SIGVTALRM",
            "SIGPROF",
            "SIGXCPU",
            "SIGXFSZ",
        ];
        let names = if machine == super::Machine::Mips { &MIPS } else { &GENERIC };
        names.get(usize::try_from(self.number.checked_sub(1)?).ok()?).copied()
    }
}

/// The auxiliary vector: what the kernel told the program at its start, in its order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuxiliaryVector {
    entries: Vec<(u64, u64)>,
}

/// Types of entries (Linux `include/uapi/linux/auxvec.h`).
impl AuxiliaryVector {
    /// Where the executable's program headers are.
    pub const PHDR: u64 = 3;
    /// How many program headers the executable has.
    pub const PHNUM: u64 = 5;
    /// The size of a page in bytes.
    pub const PAGESZ: u64 = 6;
    /// Where the interpreter was loaded.
    pub const BASE: u64 = 7;
    /// Where the executable starts to run.
    pub const ENTRY: u64 = 9;
    /// Where 16 random bytes are, on the main stack.
    pub const RANDOM: u64 = 25;
    /// Where the name is by which the program was started, on the main stack.
    pub const EXECFN: u64 = 31;
    /// Where the vdso's ELF header is.
    pub const SYSINFO_EHDR: u64 = 33;

    /// The value of the first entry of this type.
    pub fn get(&self, kind: u64) -> Option<u64> {
        self.entries.iter().find(|(other, _)| *other == kind).map(|(_, value)| *value)
    }

    /// All entries, type and value, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.entries.iter().copied()
    }

    pub(super) fn from_entries(entries: Vec<(u64, u64)>) -> AuxiliaryVector {
        AuxiliaryVector { entries }
    }
}
