//! ELF cores in memory: any class, byte order and machine, whole or broken on purpose.
//!
//! The layouts are written down here a second time, from the System V gABI and Linux `elfcore.h`.

/// How the process laid out its words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Pointers of 8 bytes rather than 4.
    pub wide: bool,
    /// The most significant byte first.
    pub big: bool,
}

impl Shape {
    /// 64-bit, little-endian.
    pub const LITTLE_64: Shape = Shape { wide: true, big: false };
    /// All four.
    pub const ALL: [Shape; 4] = [
        Shape::LITTLE_64,
        Shape { wide: true, big: true },
        Shape { wide: false, big: false },
        Shape { wide: false, big: true },
    ];

    /// Adds 2 bytes.
    pub fn put16(self, into: &mut Vec<u8>, value: u16) {
        into.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    /// Adds 4 bytes.
    pub fn put32(self, into: &mut Vec<u8>, value: u32) {
        into.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    /// Adds 8 bytes.
    pub fn put64(self, into: &mut Vec<u8>, value: u64) {
        into.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    /// Adds a word of the process; a 32-bit one takes the low half.
    pub fn put_word(self, into: &mut Vec<u8>, value: u64) {
        if self.wide { self.put64(into, value) } else { self.put32(into, value as u32) }
    }

    /// Words of the process, one after another.
    pub fn words(self, values: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| self.put_word(&mut bytes, *value));
        bytes
    }
}

/// One program header and its bytes.
#[derive(Clone, Debug)]
struct Part {
    kind: u32,
    flags: u32,
    vaddr: u64,
    memsz: u64,
    bytes: Vec<u8>,
    /// What the header says instead of the truth.
    claimed: Option<(u64, u64)>,
}

/// Builds a core; parts lie in the file in the order in which they were added, after the headers.
#[derive(Clone, Debug)]
pub struct CoreBuilder {
    shape: Shape,
    machine: u16,
    parts: Vec<Part>,
    notes: Vec<u8>,
}

/// `p_flags`: readable.
pub const R: u32 = 4;
/// `p_flags`: writable.
pub const W: u32 = 2;
/// `p_flags`: executable.
pub const X: u32 = 1;

impl CoreBuilder {
    /// A core without memory. `machine` is `e_machine`: 62 is x86-64, 3 i386, 183 aarch64, 22 s390x.
    pub fn new(shape: Shape, machine: u16) -> CoreBuilder {
        CoreBuilder { shape, machine, parts: Vec::new(), notes: Vec::new() }
    }

    /// Adds memory that is in the dump.
    pub fn memory(self, vaddr: u64, flags: u32, bytes: &[u8]) -> CoreBuilder {
        let memsz = bytes.len() as u64;
        self.part(Part { kind: 1, flags, vaddr, memsz, bytes: bytes.to_vec(), claimed: None })
    }

    /// Adds memory of which only the first bytes are in the dump.
    pub fn partial_memory(self, vaddr: u64, flags: u32, bytes: &[u8], memsz: u64) -> CoreBuilder {
        self.part(Part { kind: 1, flags, vaddr, memsz, bytes: bytes.to_vec(), claimed: None })
    }

    /// Adds a segment header that claims an offset and a size in the file, whatever is there.
    pub fn lying_memory(self, vaddr: u64, memsz: u64, offset: u64, filesz: u64) -> CoreBuilder {
        let claimed = Some((offset, filesz));
        self.part(Part { kind: 1, flags: R | W, vaddr, memsz, bytes: Vec::new(), claimed })
    }

    fn part(mut self, part: Part) -> CoreBuilder {
        self.parts.push(part);
        self
    }

    /// Adds a note as it is.
    pub fn note(mut self, name: &[u8], kind: u32, data: &[u8]) -> CoreBuilder {
        let shape = self.shape;
        shape.put32(&mut self.notes, name.len() as u32 + 1);
        shape.put32(&mut self.notes, data.len() as u32);
        shape.put32(&mut self.notes, kind);
        self.notes.extend(name);
        self.notes.push(0);
        self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        self.notes.extend(data);
        self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds bytes to the notes that need not be a note.
    pub fn raw_notes(mut self, bytes: &[u8]) -> CoreBuilder {
        self.notes.extend(bytes);
        self
    }

    /// Adds a thread (`NT_PRSTATUS`) with the registers of its machine, in the kernel's order.
    pub fn thread(self, tid: u32, signal: u16, registers: &[u64]) -> CoreBuilder {
        let shape = self.shape;
        let mut data = Vec::new();
        for value in [u32::from(signal), 0, 0] {
            shape.put32(&mut data, value);
        }
        shape.put16(&mut data, signal);
        shape.put16(&mut data, 0);
        data.extend(shape.words(&[0, 0]));
        for value in [tid, 1, 1, 1] {
            shape.put32(&mut data, value);
        }
        data.extend(shape.words(&[0; 8]));
        data.extend(shape.words(registers));
        shape.put32(&mut data, 0);
        data.resize(data.len().next_multiple_of(if shape.wide { 8 } else { 4 }), 0);
        self.note(b"CORE", 1, &data)
    }

    /// Adds the process (`NT_PRPSINFO`), in the layout with 4-byte ids of user and group where words are 8 bytes, 2-byte ones
    /// where they are 4.
    pub fn process(self, pid: u32, command: &[u8], arguments: &[u8]) -> CoreBuilder {
        let shape = self.shape;
        let mut data = vec![0; 4];
        if shape.wide {
            data.extend([0; 4]);
        }
        data.extend(shape.words(&[0]));
        data.extend(if shape.wide { vec![0; 8] } else { vec![0; 4] });
        for value in [pid, 1, 1, 1] {
            shape.put32(&mut data, value);
        }
        let mut text = command.to_vec();
        text.resize(16, 0);
        data.extend(&text);
        let mut text = arguments.to_vec();
        text.resize(80, 0);
        data.extend(&text);
        self.note(b"CORE", 3, &data)
    }

    /// Adds the auxiliary vector, with its end.
    pub fn auxv(self, entries: &[(u64, u64)]) -> CoreBuilder {
        let mut words: Vec<u64> = entries.iter().flat_map(|(kind, value)| [*kind, *value]).collect();
        words.extend([0, 0]);
        let data = self.shape.words(&words);
        self.note(b"CORE", 6, &data)
    }

    /// Adds the list of mapped files: start, end, offset in bytes, path.
    pub fn files(self, files: &[(u64, u64, u64, &[u8])]) -> CoreBuilder {
        let mut words = vec![files.len() as u64, 1];
        words.extend(files.iter().flat_map(|(start, end, offset, _)| [*start, *end, *offset]));
        let mut data = self.shape.words(&words);
        for (.., path) in files {
            data.extend(*path);
            data.push(0);
        }
        self.note(b"CORE", 0x4649_4c45, &data)
    }

    /// The file. More than 65,534 segments are counted in section 0, at its end.
    pub fn build(mut self) -> Vec<u8> {
        let shape = self.shape;
        if !self.notes.is_empty() {
            let notes = Part { kind: 4, flags: 0, vaddr: 0, memsz: 0, bytes: self.notes, claimed: None };
            self.parts.insert(0, notes);
        }
        let (header_size, part_size, section_size) = if shape.wide { (64, 56, 64) } else { (52, 32, 40) };
        let many = self.parts.len() > 0xfffe;
        let mut at = header_size + part_size * self.parts.len() as u64;
        let end = at + self.parts.iter().map(|part| part.bytes.len() as u64).sum::<u64>();
        let mut file = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(shape.wide), 1 + u8::from(shape.big), 1];
        file.resize(16, 0);
        shape.put16(&mut file, 4);
        shape.put16(&mut file, self.machine);
        shape.put32(&mut file, 1);
        file.extend(shape.words(&[0, header_size, if many { end } else { 0 }]));
        shape.put32(&mut file, 0);
        let count = if many { 0xffff } else { self.parts.len() as u16 };
        for value in [header_size as u16, part_size as u16, count, section_size as u16, u16::from(many), 0] {
            shape.put16(&mut file, value);
        }
        for part in &self.parts {
            let (offset, filesz) = part.claimed.unwrap_or((at, part.bytes.len() as u64));
            shape.put32(&mut file, part.kind);
            if shape.wide {
                shape.put32(&mut file, part.flags);
            }
            file.extend(shape.words(&[offset, part.vaddr, 0, filesz, part.memsz]));
            if !shape.wide {
                shape.put32(&mut file, part.flags);
            }
            file.extend(shape.words(&[1]));
            at += part.bytes.len() as u64;
        }
        for part in &self.parts {
            file.extend(&part.bytes);
        }
        if many {
            // Name and type, then flags, address, offset, size, then link, and the number of segments.
            shape.put32(&mut file, 0);
            shape.put32(&mut file, 0);
            file.extend(shape.words(&[0; 4]));
            shape.put32(&mut file, 0);
            shape.put32(&mut file, self.parts.len() as u32);
            file.extend(shape.words(&[0; 2]));
        }
        file
    }
}
