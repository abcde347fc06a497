//! What is told of members, as rows.

use serde::Serialize;

use crate::insight::{CrossTable, CrossValues, FieldMember, FieldRule, Meaning, RuleTest};

use super::super::{Grouped, Hex};
use super::safe;
use crate::types::MOST_TEXT_BYTES;

/// What is no text but a name, a type with its address, is shown whole up to so many letters.
const LONGEST_NAME: usize = 200;
/// A text is shown whole up to so many letters.
const LONGEST_SHOWN: usize = 60;
/// Letters of a longer one.
const CUT_TO: usize = 48;

#[derive(Debug, Serialize)]
pub(super) struct GroupRow {
    pub(super) group: String,
    pub(super) count: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct MemberRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) offset: u64,
    #[serde(rename = "type")]
    pub(super) type_name: String,
    pub(super) width: u64,
    pub(super) score: f64,
    pub(super) significant: bool,
    pub(super) age_like: bool,
    pub(super) across_age_only: bool,
    /// Whether it is more than age cannot be told.
    pub(super) may_be_age: bool,
    /// The groups differ, but too little to matter.
    pub(super) slight: bool,
    /// It is another in each process.
    pub(super) of_process: bool,
    pub(super) constant: bool,
    /// How much the first and the last half of the objects differ.
    pub(super) drift: f64,
    /// Different values among the objects that were sampled.
    pub(super) distinct: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) least: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) greatest: Option<String>,
    /// Members that tell the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) same: Vec<String>,
    pub(super) suspects: Vec<CountRow>,
    pub(super) reference: Vec<CountRow>,
    #[serde(skip)]
    pub(super) id: usize,
    #[serde(skip)]
    pub(super) same_as: Option<usize>,
    #[serde(skip)]
    pub(super) same_ids: Vec<usize>,
    #[serde(skip)]
    pub(super) claim: Option<ValueRow>,
    #[serde(skip)]
    pub(super) most_frequent: Option<usize>,
    #[serde(skip)]
    pub(super) values: Vec<ValueRow>,
    #[serde(skip)]
    pub(super) known: (u64, u64),
    #[serde(skip)]
    pub(super) unique: bool,
    #[serde(skip)]
    pub(super) usual: (&'static str, f64, u64),
    #[serde(skip)]
    pub(super) raw: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct CountRow {
    pub(super) value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) count: u64,
    pub(super) share: f64,
}

/// A value with both counts, for people.
#[derive(Debug)]
pub(super) struct ValueRow {
    pub(super) text: String,
    /// `= CLOSING`, `from 3 to 8`.
    pub(super) said: String,
    pub(super) suspects: u64,
    pub(super) reference: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct RuleRow {
    pub(super) members: Vec<RuleMember>,
    pub(super) coverage_suspects: Coverage,
    pub(super) coverage_reference: Coverage,
}

#[derive(Debug, Serialize)]
pub(super) struct RuleMember {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    offset: u64,
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip)]
    pub(super) said: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Coverage {
    pub(super) count: u64,
    pub(super) share: f64,
}

impl Coverage {
    fn new(count: u64, whole: u64) -> Coverage {
        Coverage { count, share: count as f64 / whole.max(1) as f64 }
    }
}

/// Two members' values together.
#[derive(Debug, Serialize)]
pub(super) struct CrossRow {
    pub(super) rows: String,
    pub(super) columns: String,
    counts: Vec<CrossCount>,
    #[serde(skip)]
    table: CrossTable,
}

#[derive(Debug, Serialize)]
struct CrossCount {
    row: String,
    column: String,
    suspects: u64,
    reference: u64,
}

/// One value of a cross table as it is shown, or several together.
pub(super) struct CrossGroup {
    pub(super) title: String,
    /// The places of the values.
    places: std::ops::Range<usize>,
}

impl CrossRow {
    pub(super) fn new(rows: String, columns: String, table: CrossTable) -> CrossRow {
        let width = table.columns.meanings.len().max(1);
        let counts = table.counts.iter().enumerate().filter(|(_, [a, b])| a + b > 0);
        let counts = counts.filter_map(|(at, [suspects, reference])| {
            Some(CrossCount {
                row: shown(table.rows.meanings.get(at / width)?),
                column: shown(table.columns.meanings.get(at % width)?),
                suspects: *suspects,
                reference: *reference,
            })
        });
        CrossRow { rows, columns, counts: counts.collect(), table }
    }

    /// The sum of a field.
    pub(super) fn count(&self, row: &CrossGroup, column: &CrossGroup) -> [u64; 2] {
        let width = self.table.columns.meanings.len();
        let fields = row.places.clone().flat_map(|row| column.places.clone().map(move |column| row * width + column));
        let counts = fields.filter_map(|at| self.table.counts.get(at));
        counts.fold([0, 0], |[a, b], [c, d]| [a + c, b + d])
    }

    /// What is shown down the side, `most` rows at most.
    pub(super) fn down(&self, most: usize) -> Vec<CrossGroup> {
        let width = self.table.columns.meanings.len().max(1);
        let counts: Vec<u64> =
            self.table.counts.chunks(width).map(|row| row.iter().map(|[a, b]| a + b).sum()).collect();
        together(&self.table.rows, &counts, most)
    }

    /// What is shown along the top, `most` columns at most.
    pub(super) fn across(&self, most: usize) -> Vec<CrossGroup> {
        let width = self.table.columns.meanings.len();
        let count = |column: usize| {
            self.table.counts.iter().skip(column).step_by(width.max(1)).map(|[a, b]| a + b).sum::<u64>()
        };
        let counts: Vec<u64> = (0..width).map(count).collect();
        together(&self.table.columns, &counts, most)
    }
}

/// Puts values together until there are `most` at most: of numbers neighbours, of other values those behind the first.
fn together(values: &CrossValues, counts: &[u64], most: usize) -> Vec<CrossGroup> {
    let meanings = values.meanings.as_slice();
    let group = |places: std::ops::Range<usize>| CrossGroup { title: title(meanings.get(places.clone())), places };
    if meanings.len() <= most {
        return (0..meanings.len()).map(|at| group(at..at + 1)).collect();
    }
    if !values.ordered {
        let mut groups: Vec<CrossGroup> = (0..most - 1).map(|at| group(at..at + 1)).collect();
        groups.push(CrossGroup { title: "others".to_owned(), places: most - 1..meanings.len() });
        return groups;
    }
    let others = usize::from(meanings.last() == Some(&Meaning::Other));
    let (end, mut left) = (meanings.len() - others, counts.iter().sum::<u64>());
    let mut groups = Vec::new();
    let mut from = 0;
    // Each takes what is left in even parts, a value with more than that for itself.
    while from < end {
        let parts = (most - others).saturating_sub(groups.len()).max(1) as u64;
        let (wanted, mut to, mut held) = (left.div_ceil(parts), from, 0);
        while to < end && (to == from || parts == 1 || held + counts.get(to).copied().unwrap_or(0) <= wanted) {
            held += counts.get(to).copied().unwrap_or(0);
            to += 1;
        }
        groups.push(group(from..to));
        left = left.saturating_sub(held);
        from = to;
    }
    groups.extend((others > 0).then(|| group(end..meanings.len())));
    groups
}

/// A name for one value, or for neighbours.
fn title(meanings: Option<&[Meaning]>) -> String {
    cut(&whole_title(meanings))
}

fn whole_title(meanings: Option<&[Meaning]>) -> String {
    let end = |meaning: &Meaning, upper: bool| match meaning {
        Meaning::Range(low, high) => if upper { high } else { low }.clone(),
        other => shown(other),
    };
    match meanings {
        Some([only]) => shown(only),
        Some([first, .., last]) => format!("{} to {}", end(first, false), end(last, true)),
        _ => String::new(),
    }
}

fn shown(meaning: &Meaning) -> String {
    let (value, name) = meant(meaning);
    name.unwrap_or(value)
}

/// A value for a line of words: of a long text its beginning, and how long it is.
pub(super) fn cut(text: &str) -> String {
    let letters = text.chars().count();
    let is_text = text.starts_with('"');
    let (longest, cut_to) = if is_text { (LONGEST_SHOWN, CUT_TO) } else { (LONGEST_NAME, LONGEST_NAME - 1) };
    if letters <= longest {
        return text.to_owned();
    }
    let start: String = text.chars().take(cut_to).collect();
    match (is_text, letters.saturating_sub(2)) {
        // Longer ones are not read to their end.
        (true, letters) if letters >= MOST_TEXT_BYTES => format!("{start}…\" ({MOST_TEXT_BYTES} letters at least)"),
        (true, letters) => format!("{start}…\" ({letters} letters)"),
        (false, _) => format!("{start}…"),
    }
}

/// An object with a value that was asked for.
#[derive(Debug, Serialize)]
pub(super) struct ObjectRow {
    pub(super) address: Hex,
    pub(super) group: String,
}

/// A value in words, and its number where it has a name.
pub(super) fn meant(meaning: &Meaning) -> (String, Option<String>) {
    let text = match meaning {
        Meaning::Named(name, value) => return (value.clone(), Some(name.clone())),
        Meaning::Text(text) => text.clone(),
        Meaning::Null => "null".to_owned(),
        Meaning::Place { address: Some(address), name, object } => {
            let shown = match (name, object) {
                (Some(name), _) => Some(format!("&{name}")),
                (None, Some(object)) => Some(format!("one {object} ({:#x})", address.0)),
                (None, None) => None,
            };
            return (format!("{:#x}", address.0), shown);
        }
        Meaning::Place { address: None, name, .. } => format!("&{}", name.as_deref().unwrap_or("?")),
        Meaning::Object(name) => format!("a pointer to {name}"),
        Meaning::Allocation(size) => format!("a pointer to {} bytes", Grouped(*size)),
        Meaning::AnyAllocation => "a pointer to an allocation".to_owned(),
        Meaning::Elsewhere => "a pointer to other memory".to_owned(),
        Meaning::Nowhere => "no address of this process".to_owned(),
        Meaning::Range(low, high) => format!("{low} to {high}"),
        Meaning::AtMost(high) => format!("up to {high}"),
        Meaning::AtLeast(low) => format!("{low} and more"),
        Meaning::Not(meaning) => format!("not {}", shown(meaning)),
        Meaning::Prefix(text) => format!("texts that begin with \"{text}\""),
        Meaning::Length(0, 0) => "empty text".to_owned(),
        Meaning::Length(least, u64::MAX) => format!("texts of {least} bytes and more"),
        Meaning::Length(least, most) => format!("texts of {least} to {most} bytes"),
        Meaning::Others(meaning) => {
            let whole = shown(meaning);
            match whole.strip_prefix("a pointer") {
                Some(rest) => format!("other pointers{rest}"),
                None => format!("other {whole}"),
            }
        }
        Meaning::Other => "other values".to_owned(),
    };
    (text, None)
}

fn said(meaning: &Meaning, text: &str) -> String {
    match meaning {
        Meaning::Range(..) => format!("from {text}"),
        Meaning::AtMost(high) => format!("<= {high}"),
        Meaning::AtLeast(low) => format!(">= {low}"),
        Meaning::Not(meaning) if matches!(**meaning, Meaning::Others(_)) => {
            format!("not among the {}", cut(&shown(meaning)))
        }
        Meaning::Not(meaning) => format!("!= {}", cut(&shown(meaning))),
        Meaning::Others(_) => format!("among {text}"),
        Meaning::Other => "in none of its frequent values".to_owned(),
        Meaning::Prefix(_) | Meaning::Length(..) => format!("in {text}"),
        _ => format!("= {text}"),
    }
}

impl MemberRow {
    pub(super) fn new(found: FieldMember) -> MemberRow {
        let assessment = &found.assessment;
        let place = |category| assessment.counts.iter().position(|count| count.category == category);
        let most_frequent = assessment.most_frequent().and_then(|(category, _)| place(category));
        let known = (assessment.suspects, assessment.reference);
        let shown: Vec<(String, Option<String>)> = found.values.iter().map(|value| meant(&value.meaning)).collect();
        let rows = |whole: u64, count: &dyn Fn(usize) -> u64| {
            let counted =
                shown.iter().enumerate().map(|(at, shown)| (shown, count(at))).filter(|(_, count)| *count > 0);
            let row = |((value, name), count): (&(String, Option<String>), u64)| CountRow {
                value: value.clone(),
                name: name.clone(),
                count,
                share: count as f64 / whole.max(1) as f64,
            };
            counted.map(row).collect()
        };
        let of = |at: usize| found.values.get(at).map_or((0, 0), |value| (value.suspects, value.reference));
        let values = found.values.iter().zip(&shown).map(|(found, (value, name))| {
            let text = cut(name.as_ref().unwrap_or(value));
            ValueRow { said: said(&found.meaning, &text), text, suspects: found.suspects, reference: found.reference }
        });
        let claim = found.claim.map(|claim| {
            let text = cut(&self::shown(&claim.meaning));
            ValueRow { said: said(&claim.meaning, &text), text, suspects: claim.suspects, reference: claim.reference }
        });
        let (least, greatest) = found.extent.unzip();
        MemberRow {
            score: assessment.score,
            significant: assessment.significant,
            age_like: assessment.age_like,
            across_age_only: assessment.across_age_only,
            may_be_age: assessment.may_be_age,
            slight: assessment.slight,
            constant: assessment.is_constant(),
            drift: assessment.drift,
            suspects: rows(known.0, &|at| of(at).0),
            reference: rows(known.1, &|at| of(at).1),
            claim,
            most_frequent,
            values: values.collect(),
            known,
            name: found.name,
            offset: found.offset,
            type_name: found.type_name,
            width: found.width,
            distinct: found.distinct as u64,
            least,
            greatest,
            same: Vec::new(),
            id: found.id,
            same_as: found.same_as,
            same_ids: found.same,
            unique: found.unique,
            usual: (found.kind.name(), found.usual, found.usual_of),
            of_process: found.of_process,
            raw: found.raw,
        }
    }

    /// What `--member` takes.
    pub(super) fn path(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("+{:#x}", self.offset))
    }

    /// As it is shown.
    pub(super) fn label(&self) -> String {
        safe(&match &self.name {
            Some(name) => name.clone(),
            None => format!("{} {}", self.path(), self.type_name),
        })
    }

    /// Whether it tells, whatever the objects' age.
    pub(super) fn tells(&self) -> bool {
        self.significant && !self.age_like && !self.across_age_only && !self.may_be_age && !self.of_process
    }

    /// `state = CLOSING`: what best tells the suspects from the others.
    pub(super) fn claim_said(&self) -> Option<String> {
        Some(format!("{} {}", self.label(), safe(&self.claim.as_ref()?.said)))
    }

    /// `state = CLOSING`: the member with the value at a place.
    pub(super) fn statement(&self, at: Option<usize>) -> Option<String> {
        Some(format!("{} {}", self.label(), safe(&self.values.get(at?)?.said)))
    }
}

impl RuleRow {
    pub(super) fn new(rule: &FieldRule, members: &[MemberRow], known: (u64, u64)) -> RuleRow {
        let condition = |condition: &crate::insight::RuleCondition| {
            let member = members.iter().find(|member| member.id == condition.member)?;
            let (value, name) = meant(&condition.value);
            let value = name.unwrap_or(value);
            let null = condition.value == Meaning::Null;
            let (op, sign) = match condition.test {
                RuleTest::Is if null => ("null", "="),
                RuleTest::IsNot if null => ("not-null", "!="),
                RuleTest::Is => ("==", "="),
                RuleTest::IsNot => ("!=", "!="),
                RuleTest::AtMost => ("<=", "<="),
                RuleTest::Above => (">", ">"),
            };
            Some(RuleMember {
                name: member.name.clone(),
                offset: member.offset,
                op,
                said: format!("{} {sign} {}", member.label(), safe(&cut(&value))),
                value: (!null).then_some(value),
            })
        };
        RuleRow {
            members: rule.conditions.iter().filter_map(condition).collect(),
            coverage_suspects: Coverage::new(rule.suspects, known.0),
            coverage_reference: Coverage::new(rule.reference, known.1),
        }
    }
}
