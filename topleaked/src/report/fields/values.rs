//! The classic search by name: the most frequent values of one member of a type's objects.

use std::io::{self, Write};

use serde::Serialize;

use crate::session::Session;
use crate::task::Diagnostic;

use super::super::{Answer, Column, Grouped, Hex, Look, Share, Table};
use super::pick::Picked;
use super::rows::{MemberRow, cut};
use super::{Fields, FieldsError, FieldsOptions, safe};

/// The most frequent values of a member, over all objects in use that are of a type.
#[derive(Debug, Serialize)]
pub struct TypeValues {
    #[serde(rename = "type")]
    type_name: String,
    member: String,
    offset: u64,
    width: u64,
    /// The word that the objects begin with, where it is one for all that were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    word: Option<Hex>,
    /// Count descending.
    values: Vec<Row>,
    /// How many objects there are.
    matches: u64,
    /// In how many of them the member is there.
    members: u64,
    #[serde(skip)]
    raw: bool,
    #[serde(skip)]
    left_out: u64,
    #[serde(skip)]
    diagnostics: Vec<Diagnostic>,
}

#[derive(Debug, Serialize)]
struct Row {
    value: String,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl TypeValues {
    /// Counts `member` over the objects of a type; `most` values at most.
    ///
    /// # Errors
    /// As [`Fields::new`].
    pub fn new(session: &Session<'_>, type_name: &str, member: &str, most: u64) -> Result<TypeValues, FieldsError> {
        let options = FieldsOptions {
            member: Some(member),
            suspects: Some("leaked or live or possibly-leaked"),
            exact: true,
            ..FieldsOptions::default()
        };
        let fields = Fields::new(session, type_name, &options, None)?;
        let none = || FieldsError::NoObjects { name: safe(type_name), near: Vec::new() };
        let row: &MemberRow = fields.members.first().ok_or_else(none)?;
        let mut values: Vec<Row> = (row.suspects.iter())
            .map(|row| Row { value: row.value.clone(), count: row.count, name: row.name.clone() })
            .collect();
        values.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let left_out = values.len().saturating_sub(most) as u64;
        values.truncate(most);
        Ok(TypeValues {
            word: first_word(session, type_name)?,
            type_name: fields.type_name.clone(),
            member: row.path(),
            offset: row.offset,
            width: row.width,
            raw: row.raw,
            values,
            matches: fields.suspects.count,
            members: row.known.0,
            left_out,
            diagnostics: fields.diagnostics,
        })
    }

    /// What weakens the answer beyond what the session knows.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

/// The word that all objects of a type begin with, if it leads into a module: what the raw form searches for.
fn first_word(session: &Session<'_>, name: &str) -> Result<Option<Hex>, FieldsError> {
    let picked = Picked::find(session, name, None, &mut Vec::new())?;
    let (image, table) = (session.image(), &session.heap()?.table);
    let mut words = picked.objects.iter().map(|id| image.space().word(table.address(*id)));
    let Some(Some(word)) = words.next() else { return Ok(None) };
    let same = words.all(|other| other == Some(word));
    Ok((same && image.module_at(crate::addr::Addr(word)).is_some()).then_some(Hex(word)))
}

impl Answer for TypeValues {
    fn write_human(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        let (name, member) = (safe(&self.type_name), safe(&self.member));
        writeln!(
            out,
            "{member} of {} objects of {name} (offset {}, {} {})",
            Grouped(self.matches),
            self.offset,
            self.width,
            if self.width == 1 { "byte" } else { "bytes" }
        )?;
        if let (Some(word), Some(kind), true) = (self.word, raw_type(self.width), self.raw) {
            writeln!(out, "the same by word: -f {:#x} --memberOffset={} --memberType={kind}", word.0, self.offset)?;
        }
        writeln!(out)?;
        let mut table = Table::new(&[Column::number("count"), Column::number("share"), Column::text("value")]);
        for row in &self.values {
            let value = match &row.name {
                Some(name) => format!("{} ({})", cut(name), row.value),
                None => cut(&row.value),
            };
            let share = Share { part: row.count, whole: self.members };
            table.row([Grouped(row.count).to_string(), share.to_string(), value]);
        }
        table.write(out, look)?;
        match self.left_out {
            0 => Ok(()),
            1 => writeln!(out, "… 1 more value"),
            count => writeln!(out, "… {} more values", Grouped(count)),
        }
    }
}

fn raw_type(width: u64) -> Option<&'static str> {
    Some(match width {
        1 => "uint8",
        2 => "uint16",
        4 => "uint32",
        8 => "uint64",
        _ => return None,
    })
}
