//! What was expected, what came.

use limits_test::table::Table;

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
    pub fn row(&mut self, what: &str, expected: &str, got: String, good: bool) {
        self.rows.push(Row {
            what: what.to_owned(),
            expected: expected.to_owned(),
            got,
            good,
        });
    }

    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.good)
    }

    pub fn print(&self) {
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
            "\n{table}\n{good} of {} as expected. Waited: requests that asked redis-proxy first; the others had a \
             token already,\nor were known to have none.",
            self.rows.len()
        );
    }
}
