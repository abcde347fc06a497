//! Objects of V8, the JavaScript engine of Node.js and Chromium.
//!
//! Words that point at an object have a mark in their low bits. Each object begins with a word that points at its *map*,
//! which holds the number of the object's type; maps are objects too. Offsets and numbers change with every release, so V8
//! exports those of each build as variables, for debuggers (`v8dbg_*`, written by tools/gen-postmortem-metadata.py;
//! Node.js leaves them in the executables it ships). Nothing is taken for granted that they do not tell. Not read: builds with compressed
//! pointers, whose words have 4 bytes.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::addr::Addr;
use crate::image::{Image, ModuleId, ModuleRole};
use crate::symbols::Symbols;

/// V8 exports some six hundred constants; more are not read.
const MOST_CONSTANTS: usize = 1 << 13;
/// A map that was derived from others leads to the first of them: by so many steps at most.
const MOST_STEPS: usize = 256;
/// So many characters of a string are quoted.
const LONGEST_QUOTE: u64 = 60;

/// What the build's constants say of its objects.
#[derive(Debug)]
struct Constants {
    tag: u64,
    tag_mask: u64,
    /// Where an object has its map, and a map the number of the type.
    map: u64,
    instance_type: u64,
    map_type: u64,
    /// Names of types by their number.
    types: HashMap<u64, String>,
    others: HashMap<Vec<u8>, u64>,
}

/// Reads words of a process as V8 would.
#[derive(Debug)]
pub struct V8Objects<'a, 'i> {
    symbols: &'a Symbols<'i>,
    constants: OnceLock<Option<Constants>>,
}

impl<'a, 'i> V8Objects<'a, 'i> {
    /// Prepares to read; the constants are looked for when the first word may be an object of V8.
    pub fn new(symbols: &'a Symbols<'i>) -> V8Objects<'a, 'i> {
        V8Objects { symbols, constants: OnceLock::new() }
    }

    fn image(&self) -> &'i Image {
        self.symbols.image()
    }

    fn constants(&self) -> Option<&Constants> {
        self.constants.get_or_init(|| Constants::read(self.symbols)).as_ref()
    }

    /// What the object is that `word` points at: `V8 map of JSObject`, `V8 string "idle"`. `None` where the process has no
    /// V8, or the word is none of its pointers.
    pub fn describe(&self, word: u64) -> Option<String> {
        // All builds so far mark pointers in the two lowest bits; asking for the constants costs a walk over all symbols.
        if word & 3 != 1 {
            return None;
        }
        let constants = self.constants()?;
        let object = constants.untagged(word)?;
        let number = self.type_of(constants, object)?;
        let class = constants.class(number);
        if number == constants.map_type {
            return Some(self.describe_map(constants, object));
        }
        if constants.is_string(number) {
            let text = self.string(constants, object, number);
            return Some(text.map_or_else(|| "V8 string".to_owned(), |text| format!("V8 string {text:?}")));
        }
        match class.as_str() {
            "FixedArray" => {
                let length = constants.get("class_FixedArrayBase__length__SMI");
                let length = length.and_then(|at| self.small(constants, self.word(object, at)?));
                Some(length.map_or_else(|| "V8 FixedArray".to_owned(), |length| format!("V8 FixedArray of {length}")))
            }
            "Oddball" => Some(format!("V8 {}", self.oddball(constants, object).unwrap_or("Oddball"))),
            "JSFunction" => {
                let name = self.function_name(constants, object);
                Some(name.map_or_else(|| "V8 function".to_owned(), |name| format!("V8 function {name}")))
            }
            _ => {
                let made_by = self.map_of(constants, object).and_then(|map| self.constructor(constants, map));
                Some(format!("V8 {class}{}", made_by.map(|name| format!(" made by {name}")).unwrap_or_default()))
            }
        }
    }

    fn describe_map(&self, constants: &Constants, map: Addr) -> String {
        let number = self.half(map, constants.instance_type).unwrap_or_default();
        let class = if constants.is_string(number) { "strings".to_owned() } else { constants.class(number) };
        let made_by = self.constructor(constants, map).map(|name| format!(" made by {name}"));
        format!("V8 map of {class}{}", made_by.unwrap_or_default())
    }

    fn word(&self, object: Addr, offset: u64) -> Option<u64> {
        self.image().space().word(object.checked_add(offset)?)
    }

    fn half(&self, object: Addr, offset: u64) -> Option<u64> {
        let mut bytes = [0; 2];
        (self.image().space().read_into(object.checked_add(offset)?, &mut bytes) == 2)
            .then(|| self.image().target().u16(&bytes).map(u64::from))
            .flatten()
    }

    fn int(&self, object: Addr, offset: u64) -> Option<u64> {
        let mut bytes = [0; 4];
        (self.image().space().read_into(object.checked_add(offset)?, &mut bytes) == 4)
            .then(|| self.image().target().u32(&bytes).map(u64::from))
            .flatten()
    }

    fn map_of(&self, constants: &Constants, object: Addr) -> Option<Addr> {
        constants.untagged(self.word(object, constants.map)?)
    }

    /// The number of an object's type, where it has a map that is one: whose own map is the map of maps.
    fn type_of(&self, constants: &Constants, object: Addr) -> Option<u64> {
        let map = self.map_of(constants, object)?;
        let of_maps = self.map_of(constants, map)?;
        if self.half(of_maps, constants.instance_type)? != constants.map_type {
            return None;
        }
        self.half(map, constants.instance_type)
    }

    fn oddball(&self, constants: &Constants, object: Addr) -> Option<&'static str> {
        let kind = self.small(constants, self.word(object, constants.get("class_Oddball__kind_offset__int")?)?)?;
        let is = |name: &str| constants.get(name) == Some(kind);
        [
            ("OddballUndefined", "undefined"),
            ("OddballNull", "null"),
            ("OddballTrue", "true"),
            ("OddballFalse", "false"),
            ("OddballTheHole", "the hole"),
        ]
        .into_iter()
        .find_map(|(name, text)| is(name).then_some(text))
    }

    /// The value of a word that holds a small integer.
    fn small(&self, constants: &Constants, word: u64) -> Option<u64> {
        if word & constants.get("SmiTagMask")? != constants.get("SmiTag")? {
            return None;
        }
        let shift = constants.get("SmiValueShift")?.checked_add(constants.get("SmiShiftSize").unwrap_or(0))?;
        word.checked_shr(u32::try_from(shift).ok()?)
    }

    /// The beginning of a string of one-byte characters that holds them itself.
    fn string(&self, constants: &Constants, object: Addr, number: u64) -> Option<String> {
        let is = |mask: &str, value: &str| Some(number & constants.get(mask)? == constants.get(value)?);
        if !is("StringRepresentationMask", "SeqStringTag")? || !is("StringEncodingMask", "OneByteStringTag")? {
            return None;
        }
        let size = self.int(object, constants.get("class_String__length__int32_t")?)?;
        let start = object.checked_add(constants.get("class_SeqOneByteString__chars__char")?)?;
        let mut bytes = [0; LONGEST_QUOTE as usize];
        let shown = bytes.get_mut(..usize::try_from(size.min(LONGEST_QUOTE)).ok()?)?;
        if self.image().space().read_into(start, shown) < shown.len() {
            return None;
        }
        // One-byte characters are Latin-1.
        let mut text: String = shown.iter().map(|byte| char::from(*byte)).collect();
        if size > LONGEST_QUOTE {
            text.push('…');
        }
        Some(text)
    }

    /// The name of the function that makes objects with this map.
    fn constructor(&self, constants: &Constants, map: Addr) -> Option<String> {
        let offset = constants.get("class_Map__constructor_or_back_pointer__Object")?;
        let mut map = map;
        for _ in 0..MOST_STEPS {
            let next = constants.untagged(self.word(map, offset)?)?;
            let number = self.type_of(constants, next)?;
            if number != constants.map_type {
                return (constants.class(number) == "JSFunction").then(|| self.function_name(constants, next))?;
            }
            map = next;
        }
        None
    }

    fn function_name(&self, constants: &Constants, function: Addr) -> Option<String> {
        let shared = constants.get("class_JSFunction__shared__SharedFunctionInfo")?;
        let shared = constants.untagged(self.word(function, shared)?)?;
        let name = constants.get("class_SharedFunctionInfo__name_or_scope_info__Object")?;
        let name = constants.untagged(self.word(shared, name)?)?;
        let number = self.type_of(constants, name)?;
        let text = match constants.is_string(number) {
            true => self.string(constants, name, number),
            false if constants.class(number) == "ScopeInfo" => self.name_in_scope(constants, name),
            false => None,
        };
        text.filter(|text| !text.is_empty())
    }

    /// The function's name in the record of its variables: the first string behind those of its own variables.
    fn name_in_scope(&self, constants: &Constants, scope: Addr) -> Option<String> {
        let width = self.image().target().width.bytes() as u64;
        let header = constants.map.checked_add(width)?;
        let at = |index: u64| self.word(scope, header.checked_add(index.checked_mul(width)?)?);
        let locals = self.small(constants, at(constants.get("scopeinfo_idx_ncontextlocals")?)?)?.min(1024);
        let first = constants.get("scopeinfo_idx_first_vars")?.checked_add(locals)?;
        (first..first.checked_add(locals + 8)?).find_map(|index| {
            let text = constants.untagged(at(index)?)?;
            let number = self.type_of(constants, text).filter(|number| constants.is_string(*number))?;
            self.string(constants, text, number).filter(|text| !text.is_empty())
        })
    }
}

impl Constants {
    /// Those of the module that is V8 or holds it: the executable, or a library called so.
    fn read(symbols: &Symbols<'_>) -> Option<Constants> {
        let image = symbols.image();
        (0u32..)
            .zip(image.modules())
            .filter(|(_, module)| {
                let name = module.name();
                module.role == ModuleRole::Executable || name.starts_with(b"libnode") || name.starts_with(b"libv8")
            })
            .find_map(|(id, _)| Constants::of_module(symbols, ModuleId(id)))
    }

    fn of_module(symbols: &Symbols<'_>, id: ModuleId) -> Option<Constants> {
        let image = symbols.image();
        let mut types = HashMap::new();
        let mut others = HashMap::new();
        for hit in symbols.find_by_prefix(id, b"v8dbg_", MOST_CONSTANTS) {
            let mut bytes = [0; 4];
            if image.space().read_into(hit.address, &mut bytes) < bytes.len() {
                continue;
            }
            let Some(value) = image.target().u32(&bytes).map(u64::from) else { continue };
            let name = hit.name.strip_prefix(b"v8dbg_").unwrap_or_default();
            match name.strip_prefix(b"type_") {
                // `type_JSObject__JS_OBJECT_TYPE`
                Some(class) => {
                    let class = String::from_utf8_lossy(class);
                    let class = class.split("__").next().unwrap_or_default();
                    types.entry(value).or_insert_with(|| class.to_owned());
                }
                None => {
                    others.insert(name.to_vec(), value);
                }
            }
        }
        let get = |name: &str| others.get(name.as_bytes()).copied();
        // A word of the target is a word of V8, or they are compressed.
        if get("TaggedSize").is_some_and(|size| size != image.target().width.bytes() as u64) {
            return None;
        }
        Some(Constants {
            tag: get("HeapObjectTag")?,
            tag_mask: get("HeapObjectTagMask").filter(|mask| *mask != 0)?,
            map: get("class_HeapObject__map__Map")?,
            instance_type: get("class_Map__instance_type__uint16_t")?,
            map_type: types.iter().find(|(_, class)| *class == "Map").map(|(number, _)| *number)?,
            types,
            others,
        })
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.others.get(name.as_bytes()).copied()
    }

    fn untagged(&self, word: u64) -> Option<Addr> {
        (word & self.tag_mask == self.tag).then(|| word.checked_sub(self.tag)).flatten().map(Addr)
    }

    fn is_string(&self, number: u64) -> bool {
        self.get("FirstNonstringType").is_some_and(|first| number < first)
    }

    fn is_between(&self, number: u64, first: &str, last: &str) -> bool {
        matches!((self.get(first), self.get(last)), (Some(first), Some(last)) if (first..=last).contains(&number))
    }

    fn class(&self, number: u64) -> String {
        match self.types.get(&number) {
            Some(class) => class.clone(),
            None if self.is_between(number, "FirstContextType", "LastContextType") => "Context".to_owned(),
            None if self.get("APIObjectType").is_some_and(|api| number >= api) => "object of the embedder".to_owned(),
            None => format!("object of type {number}"),
        }
    }
}
