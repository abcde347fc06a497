//! Machines, and where their registers lie in a thread's note.

use std::fmt;

use crate::addr::{Target, Width};

/// The instruction set of the process, as `e_machine` of the dump names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Machine {
    /// x86-64, also with 4-byte pointers (x32).
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
    /// 31-bit and 64-bit IBM Z.
    S390,
    /// 64-bit POWER, both byte orders.
    Ppc64,
    /// 32-bit POWER.
    Ppc,
    /// MIPS, 32-bit and 64-bit.
    Mips,
    /// RISC-V, 32-bit and 64-bit.
    RiscV,
    /// LoongArch, 64-bit.
    LoongArch,
    /// Another one, by its number: memory is read, registers are not.
    Other(u16),
}

impl Machine {
    /// The machine with this number in `e_machine` (System V gABI, `elf.h`).
    pub fn from_elf(number: u16) -> Machine {
        match number {
            62 => Machine::X86_64,
            3 | 6 => Machine::X86,
            183 => Machine::Aarch64,
            40 => Machine::Arm,
            22 => Machine::S390,
            21 => Machine::Ppc64,
            20 => Machine::Ppc,
            8 | 10 => Machine::Mips,
            243 => Machine::RiscV,
            258 => Machine::LoongArch,
            other => Machine::Other(other),
        }
    }

    /// Bytes below the stack pointer that a function without calls may use
    /// (the red zone of the machine's ABI).
    pub fn red_zone_bytes(self) -> u64 {
        match self {
            Machine::X86_64 => 128,
            Machine::Ppc64 => 512,
            Machine::Ppc => 224,
            _ => 0,
        }
    }

    /// Where the kernel puts general registers into `NT_PRSTATUS`, or `None` where that is not known here.
    pub(super) fn register_layout(self, target: Target) -> Option<&'static RegisterLayout> {
        match (self, target.width) {
            (Machine::X86_64, _) => Some(&X86_64),
            (Machine::X86, _) => Some(&X86),
            (Machine::Aarch64, _) => Some(&AARCH64),
            (Machine::Arm, _) => Some(&ARM),
            (Machine::S390, Width::W8) => Some(&S390X),
            (Machine::S390, Width::W4) => Some(&S390),
            (Machine::Ppc64, _) => Some(&PPC64),
            (Machine::Ppc, _) => Some(&PPC),
            (Machine::Mips, Width::W8) => Some(&MIPS64),
            (Machine::Mips, Width::W4) => Some(&MIPS32),
            (Machine::RiscV, Width::W8) => Some(&RISCV64),
            (Machine::RiscV, Width::W4) => Some(&RISCV32),
            (Machine::LoongArch, _) => Some(&LOONGARCH),
            (Machine::Other(_), _) => None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Machine::X86_64 => "x86-64",
            Machine::X86 => "i386",
            Machine::Aarch64 => "aarch64",
            Machine::Arm => "arm",
            Machine::S390 => "s390x",
            Machine::Ppc64 => "ppc64",
            Machine::Ppc => "ppc",
            Machine::Mips => "mips",
            Machine::RiscV => "riscv",
            Machine::LoongArch => "loongarch",
            Machine::Other(number) => return write!(f, "machine {number}"),
        })
    }
}

/// The general registers of one machine in `pr_reg`, in the order of the kernel's `elf_gregset_t`.
#[derive(Debug)]
pub(super) struct RegisterLayout {
    /// Bytes of one register.
    pub(super) width: u8,
    /// Names, in order; an empty name is padding.
    pub(super) names: &'static [&'static str],
    /// The program counter's name.
    pub(super) pc: &'static str,
    /// The stack pointer's name.
    pub(super) sp: &'static str,
    /// The thread pointer's name, where a general register holds it.
    pub(super) tls: Option<&'static str>,
}

/// The general registers of a thread.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    values: Vec<(&'static str, u64)>,
}

impl Registers {
    /// The register of this name, as the machine's manual spells it in lower case: `rax`, `x0`, `r15`.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.values.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// All of them, in the kernel's order. Empty where the machine's layout is not known here.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.values.iter().copied()
    }

    /// Reads `pr_reg`; registers that do not fit into `bytes` are left out.
    pub(super) fn read(layout: &'static RegisterLayout, target: Target, bytes: &[u8]) -> Registers {
        let width = usize::from(layout.width);
        let read = |raw: &[u8]| if width == 8 { target.u64(raw) } else { target.u32(raw).map(u64::from) };
        let values = layout.names.iter().zip(bytes.chunks_exact(width)).filter_map(|(name, raw)| {
            let value = read(raw)?;
            (!name.is_empty()).then_some((*name, value))
        });
        Registers { values: values.collect() }
    }

    /// Adds a register from a note of its own.
    pub(super) fn push(&mut self, name: &'static str, value: u64) {
        self.values.push((name, value));
    }
}

// Linux arch/x86/include/asm/user_64.h, struct user_regs_struct.
static X86_64: RegisterLayout = RegisterLayout {
    width: 8,
    names: &[
        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
        "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
    ],
    pc: "rip",
    sp: "rsp",
    tls: Some("fs_base"),
};

// Linux arch/x86/include/asm/user_32.h. The thread pointer is behind a selector: it comes from NT_386_TLS.
static X86: RegisterLayout = RegisterLayout {
    width: 4,
    names: &[
        "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax", "eip", "cs", "eflags",
        "esp", "ss",
    ],
    pc: "eip",
    sp: "esp",
    tls: None,
};

// Linux arch/arm64/include/uapi/asm/ptrace.h, struct user_pt_regs. The thread pointer comes from NT_ARM_TLS.
static AARCH64: RegisterLayout = RegisterLayout {
    width: 8,
    names: &[
        "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
        "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp", "pc",
        "pstate",
    ],
    pc: "pc",
    sp: "sp",
    tls: None,
};

// Linux arch/arm/include/uapi/asm/ptrace.h, struct pt_regs.
static ARM: RegisterLayout = RegisterLayout {
    width: 4,
    names: &[
        "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr", "pc", "cpsr",
        "orig_r0",
    ],
    pc: "pc",
    sp: "sp",
    tls: None,
};

// Linux arch/s390/include/uapi/asm/ptrace.h, s390_regs: two words of PSW, 16 general registers, then access
// registers of 4 bytes each, which are read as pairs here: a0 and a1 together are the thread pointer.
static S390X: RegisterLayout = RegisterLayout {
    width: 8,
    names: &[
        "psw_mask", "psw_addr", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15", "a0_a1",
    ],
    pc: "psw_addr",
    sp: "r15",
    tls: Some("a0_a1"),
};

static S390: RegisterLayout = RegisterLayout {
    width: 4,
    names: &[
        "psw_mask", "psw_addr", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15", "a0",
    ],
    pc: "psw_addr",
    sp: "r15",
    tls: Some("a0"),
};

// Linux arch/powerpc/include/uapi/asm/ptrace.h, struct pt_regs.
const PPC_NAMES: &[&str] = &[
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "r16", "r17",
    "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26", "r27", "r28", "r29", "r30", "r31", "nip", "msr",
    "orig_r3", "ctr", "lr", "xer", "cr",
];
static PPC64: RegisterLayout = RegisterLayout { width: 8, names: PPC_NAMES, pc: "nip", sp: "r1", tls: Some("r13") };
static PPC: RegisterLayout = RegisterLayout { width: 4, names: PPC_NAMES, pc: "nip", sp: "r1", tls: Some("r2") };

// Linux arch/mips/include/uapi/asm/reg.h: MIPS64_EF_*; the 32-bit one (MIPS32_EF_*) starts with six words of padding.
static MIPS64: RegisterLayout = RegisterLayout {
    width: 8,
    names: &[
        "", "at", "v0", "v1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3", "s0", "s1", "s2",
        "s3", "s4", "s5", "s6", "s7", "t8", "t9", "k0", "k1", "gp", "sp", "fp", "ra", "lo", "hi", "pc",
    ],
    pc: "pc",
    sp: "sp",
    tls: None,
};
static MIPS32: RegisterLayout = RegisterLayout {
    width: 4,
    names: &[
        "", "", "", "", "", "", "", "at", "v0", "v1", "a0", "a1", "a2", "a3", "t0", "t1", "t2", "t3", "t4", "t5", "t6",
        "t7", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "t8", "t9", "k0", "k1", "gp", "sp", "fp", "ra", "lo",
        "hi", "pc",
    ],
    pc: "pc",
    sp: "sp",
    tls: None,
};

// Linux arch/riscv/include/uapi/asm/ptrace.h, struct user_regs_struct.
const RISCV_NAMES: &[&str] = &[
    "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2",
    "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];
static RISCV64: RegisterLayout = RegisterLayout { width: 8, names: RISCV_NAMES, pc: "pc", sp: "sp", tls: Some("tp") };
static RISCV32: RegisterLayout = RegisterLayout { width: 4, names: RISCV_NAMES, pc: "pc", sp: "sp", tls: Some("tp") };

// Linux arch/loongarch/include/uapi/asm/ptrace.h, struct user_pt_regs.
static LOONGARCH: RegisterLayout = RegisterLayout {
    width: 8,
    names: &[
        "", "ra", "tp", "sp", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3", "t4", "t5", "t6",
        "t7", "t8", "r21", "fp", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "orig_a0", "pc",
    ],
    pc: "pc",
    sp: "sp",
    tls: Some("tp"),
};
