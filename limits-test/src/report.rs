//! What was expected, what came.

use crate::table::Table;

/// A table that a demo ends with.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    expected: String,
    got: String,
    good: bool,
}

impl Report {
    /// Adds a line.
    pub fn row(&mut self, what: &str, expected: &str, got: String, good: bool) {
        self.rows.push(Row {
            what: what.to_owned(),
            expected: expected.to_owned(),
            got,
            good,
        });
    }

    /// Whether everything came as expected.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.good)
    }

    /// Prints the table, and a note on it.
    pub fn print(&self, note: &str) {
        let mut table = Table::new(["what", "expected", "got", "ok?"]);
        for row in &self.rows {
            let mark = if row.good { "✓" } else { "✗" };
            table.row([
                row.what.clone(),
                row.expected.clone(),
                row.got.clone(),
                mark.to_owned(),
            ]);
        }
        let good = self.rows.iter().filter(|row| row.good).count();
        println!(
            "\n{table}\n{good} of {} as expected. {note}",
            self.rows.len()
        );
    }
}
