//! Tables as text, with columns that are as wide as their widest cell. On a terminal, no line is wider than the screen.

use super::format::{cut, shortened};
use super::terminal::{Color, Screen};

/// Width to which a column is shortened before other columns are left out, in characters.
const MIN_COLUMN: usize = 6;
/// Blanks between two columns.
const GAP: usize = 2;

/// Table with a header. The last column is not padded.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Row>,
    /// Columns that a narrow terminal does not show, the least important first.
    optional: Vec<String>,
}

struct Row {
    cells: Vec<String>,
    /// Column of the cell that has a color, and the color.
    painted: Option<(usize, Color)>,
}

impl Table {
    /// Returns a table with these column names.
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new(), optional: Vec::new() }
    }

    /// Sets the columns that a narrow terminal does not show, the least important first.
    pub(crate) fn optional(mut self, names: &[&str]) -> Self {
        self.optional = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Adds a row, with one cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row { cells: cells.into_iter().collect(), painted: None });
    }

    /// Adds a row whose cell under this column name has a color.
    pub(crate) fn painted_row(&mut self, cells: impl IntoIterator<Item = String>, column: &str, color: Color) {
        let place = self.header.iter().position(|name| name == column);
        self.rows.push(Row { cells: cells.into_iter().collect(), painted: place.map(|place| (place, color)) });
    }

    /// Removes the columns with these names.
    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        for name in names {
            let Some(place) = self.header.iter().position(|one| one == name) else { continue };
            self.header.remove(place);
            for row in &mut self.rows {
                row.cells.remove(place);
                row.painted = row
                    .painted
                    .filter(|(column, _)| *column != place)
                    .map(|(column, color)| (if column > place { column - 1 } else { column }, color));
            }
        }
        self
    }

    /// Returns the table as text. On a terminal, no line is wider than the screen: the widest columns are shortened, and
    /// if that is not enough, optional columns are left out. The last column is shortened at its end, and the others in
    /// their middle, because generated names differ at their end.
    pub(crate) fn text(mut self, screen: &Screen) -> String {
        let mut widths = self.widths();
        if screen.terminal {
            while !shrink(&mut widths, screen.width, MIN_COLUMN) && !self.optional.is_empty() {
                let least = self.optional.remove(0);
                self = self.without(&[&least]);
                widths = self.widths();
            }
            shrink(&mut widths, screen.width, 1);
        }
        self.formatted(&widths, screen)
    }

    fn formatted(&self, widths: &[usize], screen: &Screen) -> String {
        let last = self.header.len().saturating_sub(1);
        let line = |cells: &[String], paint: &dyn Fn(usize, &str) -> String| {
            let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                let fitted = if column == last { cut(cell, *width) } else { shortened(cell, *width) };
                let blanks = if column == last { 0 } else { width.saturating_sub(fitted.chars().count()) };
                format!("{}{}", paint(column, &fitted), " ".repeat(blanks))
            });
            padded.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned() + "\n"
        };
        let mut text = line(&self.header, &|_, cell| screen.paint(Color::Bold, cell));
        for Row { cells, painted } in &self.rows {
            text += &line(cells, &|column, cell| match painted {
                Some((place, color)) if *place == column => screen.paint(*color, cell),
                _ => cell.to_owned(),
            });
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(column)).chain([&self.header[column]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        (0..self.header.len()).map(width).collect()
    }
}

/// Reduces the widest columns, to at least `min`, until all of them fit. Returns whether they fit.
fn shrink(widths: &mut [usize], screen: usize, min: usize) -> bool {
    let room = screen.saturating_sub(GAP * widths.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        // Among equally wide columns the last one is shortened first.
        let widest = widths.iter_mut().max_by_key(|width| **width).filter(|width| **width > min);
        let Some(widest) = widest else { return false };
        *widest -= 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAMESPACE", "NAME", "STATE"]);
        table.row(["a", "été", "x"].map(str::to_owned));
        table.painted_row(["b", "longer", "Failed"].map(str::to_owned), "STATE", Color::Red);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let plain = table().text(&Screen::PLAIN);
        assert_eq!(plain, "NAMESPACE  NAME    STATE\na          été     x\nb          longer  Failed\n");
        let fewer = table().without(&["NAMESPACE", "OTHER"]).text(&Screen { color: true, ..Screen::PLAIN });
        let expected =
            "\u{1b}[1mNAME\u{1b}[0m    \u{1b}[1mSTATE\u{1b}[0m\nété     x\nlonger  \u{1b}[31mFailed\u{1b}[0m\n";
        assert_eq!(fewer, expected);
    }

    #[test]
    fn widest_columns_are_shortened_on_a_terminal() {
        let name = "nightly-report-of-all-shops-x2b4q";
        let table = || {
            let mut table = Table::new(&["NAME", "STATE", "CAUSE"]);
            table.row([name, "Failed", "the container main exited with code 3"].map(str::to_owned));
            table
        };
        let on = |width| table().text(&Screen { width, terminal: true, ..Screen::PLAIN });
        assert_eq!(on(50), "NAME                  STATE   CAUSE\nnightly-r…hops-x2b4q  Failed  the container main …\n");
        for width in [24, 30, 40, 50, 60, 79] {
            let widest = on(width).lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{width}: {}", on(width));
        }
        assert!(on(200).contains(name) && on(200).ends_with("exited with code 3\n"));
        assert!(table().text(&Screen { width: 30, ..Screen::PLAIN }).contains(name), "a pipe gets the whole text");
    }

    #[test]
    fn optional_columns_are_left_out_on_a_narrow_terminal() {
        let on = |width| {
            let names = ["FIRST-NAME", "SECOND-NAME", "THIRD-NAME", "FOURTH-NAME"];
            let mut table = Table::new(&names).optional(&["THIRD-NAME", "FIRST-NAME"]);
            table.painted_row(names.map(str::to_lowercase), "FOURTH-NAME", Color::Red);
            table.text(&Screen { width, terminal: true, ..Screen::PLAIN })
        };
        let columns = |width| on(width).lines().next().unwrap().split_whitespace().count();
        assert_eq!([columns(80), columns(40), columns(29), columns(20), columns(12)], [4, 4, 3, 2, 2]);
        for width in [12, 20, 29, 40] {
            assert!(on(width).lines().all(|line| line.chars().count() <= width), "{width}: {}", on(width));
        }
    }
}
