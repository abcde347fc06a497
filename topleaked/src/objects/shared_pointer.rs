//! Control blocks of `std::shared_ptr`, known by the names of their classes.
//!
//! libstdc++ (bits/shared_ptr_base.h, GCC 4.4 to 15): a vtable, two 32-bit counts, then the object
//! (`_Sp_counted_ptr_inplace`), the pointer (`_Sp_counted_ptr`), or deleter, allocator and pointer
//! (`_Sp_counted_deleter`; the first two take no room where they are empty).
//! libc++ (__memory/shared_ptr.h, LLVM 5 to 20): a vtable, two counts of a word each, then the object
//! (`__shared_ptr_emplace`) or the pointer (`__shared_ptr_pointer`).

/// A distance that differs between targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Distance {
    words: u64,
    bytes: u64,
}

impl Distance {
    pub(super) fn bytes(self, width: u64) -> u64 {
        self.words * width + self.bytes
    }
}

/// What a control block says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Control {
    /// The object lies in the control block.
    WithObject {
        /// What the allocation is.
        name: String,
        /// The object's type.
        object: String,
        /// Where it lies; more where its alignment asks for it.
        offset: Distance,
    },
    /// The control block owns another allocation.
    OfPointer {
        /// What the allocation is.
        name: String,
        /// The type of what it owns.
        object: String,
        /// Where the pointer is.
        offset: Distance,
    },
}

/// One class of control blocks. A new one is a row.
struct Row {
    /// What its name begins with.
    prefix: &'static str,
    /// Words and bytes before the object or the pointer.
    offset: Distance,
    owns_pointer: bool,
}

const GNU: Distance = Distance { words: 1, bytes: 8 };
const LLVM: Distance = Distance { words: 3, bytes: 0 };

static ROWS: [Row; 7] = [
    Row { prefix: "std::_Sp_counted_ptr_inplace<", offset: GNU, owns_pointer: false },
    Row { prefix: "std::_Sp_counted_ptr<", offset: GNU, owns_pointer: true },
    Row { prefix: "std::_Sp_counted_deleter<", offset: GNU, owns_pointer: true },
    Row { prefix: "std::__1::__shared_ptr_emplace<", offset: LLVM, owns_pointer: false },
    Row { prefix: "std::__1::__shared_ptr_pointer<", offset: LLVM, owns_pointer: true },
    Row { prefix: "std::__ndk1::__shared_ptr_emplace<", offset: LLVM, owns_pointer: false },
    Row { prefix: "std::__ndk1::__shared_ptr_pointer<", offset: LLVM, owns_pointer: true },
];

/// Reads the name of a class; `None` where it is no control block.
pub(super) fn control_block(class: &str) -> Option<Control> {
    let row = ROWS.iter().find(|row| class.starts_with(row.prefix))?;
    let argument = first_argument(class.get(row.prefix.len()..)?)?;
    Some(if row.owns_pointer {
        let object = argument.strip_suffix('*')?.trim_end().to_owned();
        Control::OfPointer { name: format!("std::shared_ptr control block for {object}"), object, offset: row.offset }
    } else {
        let name = format!("{argument} by std::make_shared");
        Control::WithObject { name, object: argument.to_owned(), offset: row.offset }
    })
}

/// The text up to the comma or bracket that ends the first template argument.
fn first_argument(text: &str) -> Option<&str> {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' | '[' | '{' => depth += 1,
            ',' | '>' if depth == 0 => return text.get(..at).map(str::trim).filter(|argument| !argument.is_empty()),
            '>' | ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_of_a_control_block_is_the_first_argument_of_its_class() {
        let read = control_block(
            "std::_Sp_counted_ptr_inplace<std::map<int, net::Client>, std::allocator<void>, (__gnu_cxx::_Lock_policy)2>",
        );
        let Some(Control::WithObject { object, offset, .. }) = read else { panic!("{read:?}") };
        assert_eq!((object.as_str(), offset.bytes(8), offset.bytes(4)), ("std::map<int, net::Client>", 16, 12));
        let read = control_block("std::__1::__shared_ptr_pointer<Node*, std::__1::default_delete<Node>, A>");
        let Some(Control::OfPointer { object, offset, .. }) = read else { panic!("{read:?}") };
        assert_eq!((object.as_str(), offset.bytes(8)), ("Node", 24));
        assert_eq!(control_block("std::_Sp_counted_base<2>"), None);
        assert_eq!(control_block("std::_Sp_counted_ptr<"), None);
        assert_eq!(control_block("std::_Sp_counted_ptr<)>"), None);
    }
}
