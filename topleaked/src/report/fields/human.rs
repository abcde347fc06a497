//! The answer of `fields` in words.

use std::collections::HashMap;
use std::io::{self, Write};

use super::super::{Answer, Column, Grouped, Look, Share, Table};
use super::rows::{MemberRow, RuleRow};
use super::{Fields, safe};

/// Members that are shown as telling, or as remarkable where there is but one group.
const SHOWN: usize = 12;
/// A share that one value of one group alone has beyond the usual, from which it is shown.
const REMARKABLE: f64 = 0.2;
/// Up to so many objects are shown as they are.
const FEWEST: u64 = 3;
/// Width of a bar for all objects.
const BAR: u64 = 30;
/// Addresses that are shown.
const MOST_ADDRESSES: usize = 20;
/// Columns of a cross table.
const MOST_ACROSS: usize = 8;
/// Its rows.
const MOST_DOWN: usize = 40;
/// Members that are named in a list.
const MOST_LISTED: usize = 40;

impl Answer for Fields {
    fn write_human(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        let name = safe(&self.type_name);
        let members = match self.members.len() {
            1 => "1 member".to_owned(),
            count => format!("{count} members"),
        };
        let name = match &self.filter {
            Some(filter) => format!("{name} where {}", safe(filter)),
            None => name,
        };
        let source = if self.layout == "debug-info" { "debug information" } else { "their bytes alone" };
        let (asked, others) = (&self.suspects, &self.reference);
        match others.count {
            0 => writeln!(
                out,
                "{} {} {} of {name}, no {}; {members} from {source}",
                Grouped(asked.count),
                safe(&asked.group),
                if asked.count == 1 { "object" } else { "objects" },
                safe(&others.group)
            )?,
            count => writeln!(
                out,
                "{} {} and {} {} objects of {name}; {members} from {source}",
                Grouped(asked.count),
                safe(&asked.group),
                Grouped(count),
                safe(&others.group)
            )?,
        }
        if self.by_likeness > 0 {
            writeln!(
                out,
                "of these {} have no pointer that tells their type: they are told by their size and what is in them",
                Grouped(self.by_likeness)
            )?;
        }
        match (self.neither, self.possibly_leaked) {
            (0, _) => {}
            (neither, possibly) if neither == possibly => {
                writeln!(out, "left out: {}, possibly leaked", Grouped(neither))?;
            }
            (neither, _) => writeln!(out, "left out: {}, in neither group", Grouped(neither))?,
        }
        if self.both > 0 {
            writeln!(out, "in both groups: {}, which count as suspected", Grouped(self.both))?;
        }
        if !self.chosen_by.is_empty() && !self.only {
            writeln!(out, "not looked at: {}, by which they were chosen", safe(&self.chosen_by.join(", ")))?;
        }
        writeln!(out)?;
        if let Some(objects) = &self.objects {
            for object in objects.iter().take(MOST_ADDRESSES) {
                writeln!(out, "{}  {}", object.address, safe(&object.group))?;
            }
            let left = self.matching.saturating_sub(MOST_ADDRESSES as u64);
            if left > 0 {
                writeln!(out, "… {} more (--json lists them)", Grouped(left))?;
            }
            return match objects.len() {
                0 => writeln!(out, "no object has that value"),
                _ => writeln!(out, "\n`topleaked explain CORE ADDRESS` says what is there and who holds it"),
            };
        }
        if self.cross.is_some() {
            return self.write_cross(out, look);
        }
        if self.only {
            return self.members.iter().try_for_each(|member| self.write_distribution(out, look, member));
        }
        if others.count == 0 { self.write_one_group(out) } else { self.write_contrast(out) }
    }
}

/// Elements of one array as one, where there are several: `a[…] (63)`.
fn elements_together(labels: Vec<String>) -> Vec<String> {
    let array = |label: &String| {
        let mut parts = label.split('[');
        let first = parts.next().unwrap_or_default().to_owned();
        let (mut text, mut is_element) = (first, false);
        for part in parts {
            // Places, not bounds of a type.
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            let is_place = rest.len() < part.len() && rest.starts_with(']');
            is_element |= is_place;
            text = text + "[" + if is_place { "…" } else { "" } + if is_place { rest } else { part };
        }
        (if is_element { text } else { label.clone() }, is_element)
    };
    let mut counts: HashMap<String, usize> = HashMap::new();
    for label in &labels {
        let (array, is_element) = array(label);
        *counts.entry(array).or_default() += usize::from(is_element);
    }
    let mut shown: Vec<String> = Vec::new();
    for label in labels {
        match counts.get_mut(&array(&label).0) {
            Some(0 | 1) | None => shown.push(label),
            // The first stands for all.
            Some(count) if *count != usize::MAX => {
                shown.push(format!("{} ({count})", array(&label).0));
                *count = usize::MAX;
            }
            Some(_) => {}
        }
    }
    shown
}

/// A group's name without the filter behind it.
fn short(group: &str) -> String {
    safe(group.split(" (").next().unwrap_or(group))
}

impl Fields {
    fn write_contrast(&self, out: &mut dyn Write) -> io::Result<()> {
        let (asked, others) = (short(&self.suspects.group), short(&self.reference.group));
        let telling: Vec<&MemberRow> =
            self.members.iter().filter(|member| member.tells() && member.same_as.is_none()).collect();
        for member in telling.iter().take(SHOWN) {
            self.write_sentence(out, member)?;
        }
        if telling.len() > SHOWN {
            writeln!(out, "… {} more members", telling.len() - SHOWN)?;
        }
        if telling.is_empty() {
            let best = self.members.iter().find(|member| !member.constant);
            let best = best.map_or_else(String::new, |best| match best.slight {
                true => format!(" (best: {}, which differs too little)", best.label()),
                false => format!(" (best: {}, not significant)", best.label()),
            });
            let aged = self.members.iter().any(|member| member.significant);
            let but = if aged { " beyond their age" } else { &*best };
            let alone = if self.rules.is_empty() { "No member" } else { "No member alone" };
            writeln!(out, "{alone} tells the {asked} from the {others} ones{but}.")?;
        }
        if !self.rules.is_empty() {
            writeln!(out, "\n{}", if telling.is_empty() { "But together:" } else { "In short:" })?;
            self.rules.iter().try_for_each(|rule| self.write_rule(out, rule))?;
        } else if self.rules_wanted {
            writeln!(out, "\nno combination of up to three members covers the {asked} and leaves the {others} out")?;
        }
        let older = self.labels(&|member| member.significant && member.age_like);
        if !older.is_empty() {
            writeln!(out, "\nages, no causes (they grow with time): {older}")?;
            for member in self.members.iter().filter(|member| member.significant && member.age_like).take(1) {
                self.write_sentence(out, member)?;
            }
        }
        let aged = |wanted: fn(&MemberRow) -> bool| {
            self.members.iter().filter(|m| m.significant && !m.age_like).filter(|m| wanted(m)).collect::<Vec<_>>()
        };
        let unclear = aged(|member| member.may_be_age);
        if !unclear.is_empty() {
            writeln!(
                out,
                "\nit may be their age or more: too few {asked} and {others} objects of the same age differ to tell:"
            )?;
            unclear.iter().take(SHOWN).try_for_each(|member| self.write_sentence(out, member))?;
        }
        let of_process = self.labels(&|member| member.significant && !member.age_like && member.of_process);
        if !of_process.is_empty() {
            writeln!(out, "\nanother in each process, no causes: {of_process}")?;
        }
        let across = aged(|member| member.across_age_only);
        if !across.is_empty() {
            writeln!(out, "\nno difference among objects of the same age:")?;
            across.iter().take(SHOWN).try_for_each(|member| self.write_sentence(out, member))?;
        }
        let slight: Vec<&MemberRow> = self.members.iter().filter(|member| member.slight && !member.age_like).collect();
        if !slight.is_empty() {
            writeln!(out, "\nthey differ, but too little to be the cause:")?;
            slight.iter().take(SHOWN).try_for_each(|member| self.write_sentence(out, member))?;
        }
        let silent = self.labels(&|member| !member.significant && !member.slight);
        if !silent.is_empty() {
            writeln!(out, "\nthey tell nothing: {silent}")?;
        }
        Ok(())
    }

    fn labels(&self, wanted: &dyn Fn(&MemberRow) -> bool) -> String {
        let all = self.members.iter().filter(|member| wanted(member)).map(MemberRow::label);
        let all = elements_together(all.collect());
        let left = all.len().saturating_sub(MOST_LISTED);
        let shown = all.into_iter().take(MOST_LISTED).collect::<Vec<_>>().join(", ");
        if left > 0 { format!("{shown}, … {left} more") } else { shown }
    }

    fn write_sentence(&self, out: &mut dyn Write, member: &MemberRow) -> io::Result<()> {
        let (Some(value), Some(statement)) = (&member.claim, member.claim_said()) else { return Ok(()) };
        let (asked, others) = (short(&self.suspects.group), short(&self.reference.group));
        let of = Share { part: value.suspects, whole: member.known.0 };
        let against = Share { part: value.reference, whole: member.known.1 };
        let (whole, other) = (Grouped(member.known.0), Grouped(member.known.1));
        write!(out, "{of} of the {whole} {asked} have {statement} ({against} of the {other} {others})")?;
        self.write_same(out, member, MemberRow::claim_said)
    }

    /// The members that say what this one says.
    fn write_same(
        &self,
        out: &mut dyn Write,
        member: &MemberRow,
        said: fn(&MemberRow) -> Option<String>,
    ) -> io::Result<()> {
        let same = (self.members.iter())
            .filter(|other| other.id != member.id && member.same_ids.contains(&other.id))
            .filter_map(said);
        let same: Vec<String> = same.take(SHOWN).collect();
        match same.as_slice() {
            [] => writeln!(out),
            [only] => writeln!(out, "; {only} tells the same"),
            [most @ .., last] => writeln!(out, "; {} and {last} tell the same", most.join(", ")),
        }
    }

    fn write_rule(&self, out: &mut dyn Write, rule: &RuleRow) -> io::Result<()> {
        let said: Vec<&str> = rule.members.iter().map(|member| member.said.as_str()).collect();
        let share = |count: u64, whole: u64| format!("{} of the", Share { part: count, whole });
        let (suspects, reference) = (rule.coverage_suspects.count, rule.coverage_reference.count);
        writeln!(
            out,
            "  {}: {} {} ({}) and {} {} ({})",
            said.join(" and "),
            share(suspects, self.suspects.count),
            safe(&self.suspects.group),
            Grouped(suspects),
            share(reference, self.reference.count),
            safe(&self.reference.group),
            Grouped(reference)
        )
    }

    fn write_one_group(&self, out: &mut dyn Write) -> io::Result<()> {
        let group = safe(&self.suspects.group);
        if self.suspects.count <= FEWEST {
            return self.write_few(out);
        }
        let here = if self.members.iter().any(|member| member.usual.2 > 0) { " in this process" } else { "" };
        writeln!(
            out,
            "All are {group}, so there is nothing to compare with. What most of them share, ahead of what is usual{here}:"
        )?;
        let shown = |m: &&MemberRow| !m.constant && !m.age_like && m.score >= REMARKABLE && m.same_as.is_none();
        let remarkable: Vec<&MemberRow> = self.members.iter().filter(shown).collect();
        for member in remarkable.iter().take(SHOWN) {
            let value = member.most_frequent.and_then(|at| member.values.get(at));
            let (Some(value), Some(statement)) = (value, member.statement(member.most_frequent)) else { continue };
            let share = Share { part: value.suspects, whole: member.known.0 };
            let (kind, usual) = (member.usual.0, (member.usual.1 * 100.0).round());
            write!(
                out,
                "  {share} of the {group} ones have {statement} ({} of {}; {} for {kind}: {usual} %)",
                Grouped(value.suspects),
                Grouped(member.known.0),
                if member.usual.2 > 0 { "usual" } else { "as a rule" }
            )?;
            self.write_same(out, member, |member| member.statement(member.most_frequent))?;
        }
        if remarkable.is_empty() {
            writeln!(out, "  no value that is remarkable")?;
        }
        if remarkable.len() > SHOWN {
            writeln!(out, "  … {} more members", remarkable.len() - SHOWN)?;
        }
        let spread = |m: &MemberRow| !m.constant && !m.age_like && m.score < REMARKABLE;
        let drifts = |m: &MemberRow| !m.age_like && !m.constant && m.drift > 0.0;
        for (title, names) in [
            ("they differ between the first and the last half, by address", self.labels(&drifts)),
            ("they follow the order of addresses, as ages do", self.labels(&|m| !m.constant && m.age_like)),
            ("spread over many values", self.labels(&spread)),
            ("the same in all, or nearly all", self.labels(&|m| m.constant)),
        ] {
            if !names.is_empty() {
                writeln!(out, "\n{title}: {names}")?;
            }
        }
        writeln!(
            out,
            "\nA dump of the same program in good health is something to compare with: --baseline OTHER_CORE. \
             --suspects 'MEMBER == VALUE' compares some objects with the rest."
        )
    }

    /// So few objects are no statistics: what they hold.
    fn write_few(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "too few to say what they have in common; what they hold:")?;
        for member in &self.members {
            let values: Vec<String> = member.values.iter().map(|value| safe(&value.text)).collect();
            let values = if values.is_empty() { "not in the dump".to_owned() } else { values.join(" | ") };
            writeln!(out, "  {} = {values}", safe(&member.path()))?;
        }
        Ok(())
    }

    fn write_distribution(&self, out: &mut dyn Write, look: &Look, member: &MemberRow) -> io::Result<()> {
        writeln!(
            out,
            "{} ({}, offset {}, {} {})",
            safe(&member.path()),
            safe(&member.type_name),
            member.offset,
            member.width,
            if member.width == 1 { "byte" } else { "bytes" }
        )?;
        if let (Some(least), Some(greatest)) = (&member.least, &member.greatest) {
            let unique = if member.unique { ", nearly all different" } else { "" };
            writeln!(out, "{} values{unique}, from {} to {}", Grouped(member.distinct), safe(least), safe(greatest))?;
        }
        let two = self.reference.count > 0;
        let mut columns =
            vec![Column::text("value"), Column::number("suspects"), Column::number("share"), Column::text("")];
        if two {
            columns.extend([Column::number("others"), Column::number("share"), Column::text("")]);
            writeln!(
                out,
                "suspects are the {}, others the {}",
                safe(&self.suspects.group),
                safe(&self.reference.group)
            )?;
        }
        let bar = |count: u64, whole: u64| "#".repeat((count * BAR).div_ceil(whole.max(1)) as usize);
        let mut table = Table::new(&columns);
        for value in &member.values {
            table.row([
                value.text.clone(),
                Grouped(value.suspects).to_string(),
                Share { part: value.suspects, whole: member.known.0 }.to_string(),
                bar(value.suspects, member.known.0),
                Grouped(value.reference).to_string(),
                Share { part: value.reference, whole: member.known.1 }.to_string(),
                bar(value.reference, member.known.1),
            ]);
        }
        table.write(out, look)
    }

    fn write_cross(&self, out: &mut dyn Write, look: &Look) -> io::Result<()> {
        let Some(cross) = &self.cross else { return Ok(()) };
        let (down, across) = (cross.down(MOST_DOWN), cross.across(MOST_ACROSS));
        writeln!(out, "{} down, {} across; of each pair the {}", safe(&cross.rows), safe(&cross.columns), {
            match self.reference.count {
                0 => safe(&self.suspects.group),
                _ => format!("{} / {}", safe(&self.suspects.group), safe(&self.reference.group)),
            }
        })?;
        let mut columns = vec![Column::text("")];
        columns.extend(across.iter().map(|_| Column::number("")));
        let mut table = Table::new(&columns);
        table.row(std::iter::once(String::new()).chain(across.iter().map(|column| column.title.clone())));
        for row in &down {
            let cell = |column| match (cross.count(row, column), self.reference.count) {
                ([suspects, _], 0) => Grouped(suspects).to_string(),
                ([suspects, reference], _) => format!("{} / {}", Grouped(suspects), Grouped(reference)),
            };
            table.row(std::iter::once(row.title.clone()).chain(across.iter().map(cell)));
        }
        table.write(out, look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_an_array_are_named_once() {
        let labels =
            ["a[1]", "b", "a[2]", "c[0].x", "a[0]", "c[1].y", "+0x10 char[4] (2 values)", "m[0][1]", "m[1][0]"];
        let shown = elements_together(labels.map(str::to_owned).to_vec());
        assert_eq!(shown, ["a[…] (3)", "b", "c[0].x", "c[1].y", "+0x10 char[4] (2 values)", "m[…][…] (2)"]);
    }
}
