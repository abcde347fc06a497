//! Tables for people, fitted to the terminal.

use std::io;

use comfy_table::{CellAlignment, ContentArrangement, presets};

use super::{Look, SafeText};

/// A column of a [`Table`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    title: &'static str,
    right: bool,
}

impl Column {
    /// A column of text, flush left.
    pub const fn text(title: &'static str) -> Column {
        Column { title, right: false }
    }

    /// A column of numbers, flush right.
    pub const fn number(title: &'static str) -> Column {
        Column { title, right: true }
    }
}

/// Rows under titles, two blanks between columns. Where the terminal is too narrow, long text is wrapped within its
/// column; nothing is cut. Every cell is made safe for a terminal, so a name from a dump can be put in as it is.
///
/// ```
/// use topleaked::report::{Column, Look, Table};
///
/// let mut table = Table::new(&[Column::number("count"), Column::text("type")]);
/// table.row(["1,000".to_owned(), "Client".to_owned()]);
/// let mut text = Vec::new();
/// table.write(&mut text, &Look::PLAIN)?;
/// assert_eq!(text, b"count  type\n1,000  Client\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Cells past the last column are dropped, absent ones left blank.
    pub fn row<I>(&mut self, cells: I)
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let cells = cells.into_iter().map(|cell| SafeText::from(cell.as_ref()).to_string());
        self.rows.push(cells.take(self.columns.len()).collect());
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes titles and rows; nothing where there are no rows. No line ends in blanks.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut dyn io::Write, look: &Look) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if let Some(width) = look.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        table.set_header(self.columns.iter().map(|column| column.title));
        table.add_rows(&self.rows);
        for (at, column) in self.columns.iter().enumerate() {
            if let Some(layout) = table.column_mut(at) {
                layout.set_padding((if at == 0 { 0 } else { 2 }, 0));
                layout.set_cell_alignment(if column.right { CellAlignment::Right } else { CellAlignment::Left });
            }
        }
        for (at, line) in table.to_string().lines().enumerate() {
            let line = line.trim_end();
            match at {
                0 if look.color => writeln!(out, "\x1b[1m{line}\x1b[0m")?,
                _ => writeln!(out, "{line}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table, look: Look) -> String {
        let mut text = Vec::new();
        table.write(&mut text, &look).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn numbers_stand_right_and_text_left() {
        let mut table = Table::new(&[Column::number("count"), Column::text("type"), Column::number("bytes")]);
        table.row(["1,000", "A", "3.0 MiB"]);
        table.row(["7", "std::string", "1 B"]);
        assert_eq!(
            text(&table, Look::PLAIN),
            "count  type           bytes\n1,000  A            3.0 MiB\n    7  std::string      1 B\n"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_and_loses_nothing() {
        let mut table = Table::new(&[Column::number("count"), Column::text("type")]);
        table.row(["1", "std::map<std::string, std::vector<Client>>"]);
        let narrow = text(&table, Look { width: Some(30), color: false });
        assert!(narrow.lines().all(|line| line.len() <= 30), "{narrow}");
        let joined: String = narrow.lines().skip(1).flat_map(str::split_whitespace).collect();
        assert_eq!(joined, "1std::map<std::string,std::vector<Client>>");
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(&[Column::text("name")]);
        table.row(["a\x1b[2Jb"]);
        assert_eq!(text(&table, Look::PLAIN), "name\na\\x1b[2Jb\n");
    }

    #[test]
    fn no_rows_no_titles() {
        assert_eq!(text(&Table::new(&[Column::text("name")]), Look::PLAIN), "");
    }
}
