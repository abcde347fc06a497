//! Writes debug information by hand: one unit of DWARF 4, entry by entry.

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// `DW_FORM_string`
    Text(&'a str),
    /// `DW_FORM_data8`
    Number(u64),
    /// `DW_FORM_ref4`: an entry of this unit, as [`Unit::open`] numbers them.
    Entry(u32),
    /// `DW_FORM_exprloc`
    Expression(&'a [u8]),
    /// `DW_FORM_flag_present`
    Flag,
}

impl Form<'_> {
    fn code(&self) -> u8 {
        match self {
            Form::Text(_) => 0x08,
            Form::Number(_) => 0x07,
            Form::Entry(_) => 0x13,
            Form::Expression(_) => 0x18,
            Form::Flag => 0x19,
        }
    }
}

/// One compilation unit of a 64-bit little-endian program.
#[derive(Clone, Debug)]
pub struct Unit {
    abbrev: Vec<u8>,
    info: Vec<u8>,
    next: u64,
}

/// Bytes of the header of a unit of 32-bit DWARF 4.
const HEADER: usize = 11;

fn leb(out: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    loop {
        let byte = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

impl Default for Unit {
    fn default() -> Unit {
        Unit::new()
    }
}

impl Unit {
    /// A unit whose root entry is open.
    pub fn new() -> Unit {
        let mut unit = Unit { abbrev: Vec::new(), info: vec![0; HEADER], next: 1 };
        unit.open(0x11, true, &[(0x03, Form::Text("unit.c"))]);
        unit
    }

    /// Where the next entry will be: for references to what is not written yet.
    pub fn here(&self) -> u32 {
        self.info.len() as u32
    }

    /// Writes an entry of this tag with these attributes (numbers as in the standard) and returns where it is. With
    /// `children`, what follows is inside of it until [`Unit::close`].
    pub fn open(&mut self, tag: u64, children: bool, attributes: &[(u64, Form<'_>)]) -> u32 {
        let at = self.here();
        let code = self.next;
        self.next += 1;
        leb(&mut self.abbrev, code);
        leb(&mut self.abbrev, tag);
        self.abbrev.push(u8::from(children));
        leb(&mut self.info, code);
        for (name, form) in attributes {
            leb(&mut self.abbrev, *name);
            self.abbrev.push(form.code());
            match form {
                Form::Text(text) => {
                    self.info.extend_from_slice(text.as_bytes());
                    self.info.push(0);
                }
                Form::Number(number) => self.info.extend_from_slice(&number.to_le_bytes()),
                Form::Entry(entry) => self.info.extend_from_slice(&entry.to_le_bytes()),
                Form::Expression(bytes) => {
                    leb(&mut self.info, bytes.len() as u64);
                    self.info.extend_from_slice(bytes);
                }
                Form::Flag => {}
            }
        }
        self.abbrev.extend_from_slice(&[0, 0]);
        at
    }

    /// Ends the children of the innermost open entry.
    pub fn close(&mut self) {
        self.info.push(0);
    }

    /// The contents of `.debug_abbrev` and `.debug_info`.
    pub fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.info.push(0);
        self.abbrev.push(0);
        let length = (self.info.len() - 4) as u32;
        self.info[..4].copy_from_slice(&length.to_le_bytes());
        self.info[4..6].copy_from_slice(&4u16.to_le_bytes());
        self.info[10] = 8;
        (self.abbrev, self.info)
    }
}
