//! Tables as text, with columns that are as wide as their widest cell.

/// Table with a header. The last column is not padded.
pub(crate) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    /// Returns a table with these column names.
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { lines: vec![header.iter().map(|name| (*name).to_owned()).collect()] }
    }

    /// Adds a row, with one cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().collect());
    }

    /// Returns the table as text, without the first `skip` columns.
    pub(crate) fn text(&self, skip: usize) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for line in &self.lines {
            widths.resize(widths.len().max(line.len()), 0);
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for line in &self.lines {
            let cells = line.iter().zip(&widths).skip(skip);
            let padded: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
            text += padded.join("  ").trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAMESPACE", "NAME", "STATE"]);
        table.row(["a", "été", "x"].map(str::to_owned));
        table.row(["b", "longer", ""].map(str::to_owned));
        assert_eq!(table.text(1), "NAME    STATE\nété     x\nlonger\n");
        assert!(table.text(0).starts_with("NAMESPACE  NAME    STATE\n"));
    }
}
