//! Draws the table of `jobwright top`. All functions are pure; the screen is an argument.

use jiff::SignedDuration;

use super::Snapshot;
use super::keys::Key;
use crate::client::format::{duration_text, shortened};
use crate::client::terminal::{Color, Screen};
use crate::client::top::rows::{JobState, Row};

/// Width of a progress bar, in characters.
const BAR: usize = 20;
/// Narrowest name that is shown, in characters.
const MIN_NAME: usize = 8;
/// Lines of a frame that are no rows: the header and the status line.
const CHROME: usize = 2;

/// Order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// Stuck and running Jobs first
    #[default]
    State,
    /// By namespace and name
    Name,
    /// The oldest first
    Age,
    /// The least advanced first
    Progress,
    /// The most failures first
    Failed,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::State => Self::Name,
            Self::Name => Self::Age,
            Self::Age => Self::Progress,
            Self::Progress => Self::Failed,
            Self::Failed => Self::State,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Name => "name",
            Self::Age => "age",
            Self::Progress => "progress",
            Self::Failed => "failed",
        }
    }
}

/// What the table shows.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Whether the namespaces are a column.
    pub namespaces: bool,
    /// Whether finished Jobs are shown.
    pub all_jobs: bool,
    /// Whether every column is shown, however narrow the screen is.
    pub wide: bool,
    /// Scope of the table in words, such as `namespace default`.
    pub scope: String,
    /// Order of the rows.
    pub sort: Sort,
    /// Number of rows above the first visible one.
    pub offset: usize,
}

impl View {
    /// Applies a key. `rows` is the number of all rows, and `height` that of the lines of the screen.
    pub(super) fn press(&mut self, key: Key, rows: usize, height: usize) {
        let page = height.saturating_sub(CHROME).max(1);
        self.offset = match key {
            Key::Up => self.offset.saturating_sub(1),
            Key::Down => self.offset + 1,
            Key::PageUp => self.offset.saturating_sub(page),
            Key::PageDown => self.offset + page,
            Key::First => 0,
            Key::Last => rows,
            Key::Sort => {
                self.sort = self.sort.next();
                0
            }
            Key::Quit | Key::Other => self.offset,
        };
        self.offset = self.offset.min(rows.saturating_sub(page));
    }
}

/// Sorts the rows. Equal rows are sorted by namespace and name.
pub(super) fn sort(rows: &mut [Row], by: Sort) {
    rows.sort_by(|one, other| {
        let names = |row: &Row| (row.namespace.clone(), row.name.clone());
        let order = match by {
            Sort::State => one.state.cmp(&other.state),
            Sort::Name => std::cmp::Ordering::Equal,
            Sort::Age => other.age_seconds.cmp(&one.age_seconds),
            Sort::Progress => one.progress().unwrap_or_default().total_cmp(&other.progress().unwrap_or_default()),
            Sort::Failed => other.failed.cmp(&one.failed),
        };
        order.then_with(|| names(one).cmp(&names(other)))
    });
}

/// Returns the whole table, for output that does not stay on the screen.
pub(super) fn page(snapshot: &Snapshot, view: &View, screen: &Screen) -> String {
    let mut lines = lines(snapshot, view, screen);
    lines.extend(notes(snapshot).into_iter().map(|note| shortened(&note, screen.width)));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Returns one frame of the live table, which replaces the frame before: the header, the visible rows, and a status
/// line.
pub(super) fn frame(snapshot: &Snapshot, view: &mut View, screen: &Screen) -> String {
    let height = screen.height.unwrap_or(24).max(CHROME + 1);
    let page = height - CHROME;
    let rows = snapshot.items.len();
    view.offset = view.offset.min(rows.saturating_sub(page));
    let lines = lines(snapshot, view, screen);
    let (header, body) = lines.split_first().map_or((String::new(), &[][..]), |(header, body)| (header.clone(), body));
    let mut shown = vec![header];
    shown.extend(body.iter().skip(view.offset).take(page).cloned());
    let range = match rows {
        0 => "no Jobs".to_owned(),
        _ => format!("{}-{} of {rows}", view.offset + 1, (view.offset + page).min(rows)),
    };
    let unread = notes(snapshot).into_iter().next().map(|note| format!("  {note}")).unwrap_or_default();
    let status = format!("{range}  sort: {}  q quit  s sort  arrows scroll{unread}", view.sort.as_str());
    shown.resize(height - 1, String::new());
    shown.push(screen.paint(Color::Dim, &shortened(&status, screen.width)));
    // Each line clears its rest, so that the screen does not flicker.
    format!("\u{1b}[H{}\u{1b}[J", shown.join("\u{1b}[K\r\n") + "\u{1b}[K")
}

fn notes(snapshot: &Snapshot) -> Vec<String> {
    let unread = snapshot.unread.iter();
    unread.map(|one| format!("Not read: {} ({}): {}.", one.resource, one.reason, one.effect)).collect()
}

/// A column of the table.
struct Column {
    title: &'static str,
    /// Columns with the lowest importance are left out first where the screen is narrow.
    importance: u8,
    cell: fn(&Row, usize) -> String,
}

const COLUMNS: &[Column] = &[
    Column { title: "NAMESPACE", importance: 9, cell: |row, _| row.namespace.clone() },
    Column { title: "NAME", importance: 10, cell: |row, _| row.name.clone() },
    Column {
        title: "PROGRESS",
        importance: 3,
        cell: |row, bar| row.progress().map_or_else(|| "-".to_owned(), |share| progress(share, bar)),
    },
    Column {
        title: "DONE",
        importance: 8,
        cell: |row, _| {
            row.completions.map_or_else(|| row.succeeded.to_string(), |of| format!("{}/{of}", row.succeeded))
        },
    },
    Column { title: "FAILED", importance: 6, cell: |row, _| row.failed.to_string() },
    Column { title: "ACTIVE", importance: 5, cell: |row, _| row.active.to_string() },
    Column { title: "RATE", importance: 1, cell: |row, _| row.rate_per_second.map_or_else(|| "-".to_owned(), rate) },
    Column {
        title: "LEFT",
        importance: 2,
        cell: |row, _| {
            row.seconds_left.map_or_else(|| "-".to_owned(), |left| duration_text(SignedDuration::from_secs(left)))
        },
    },
    Column { title: "AGE", importance: 4, cell: |row, _| duration_text(row.age()) },
    Column { title: "OWNER", importance: 0, cell: |row, _| row.owner.clone().unwrap_or_else(|| "-".to_owned()) },
    Column { title: "STATE", importance: 11, cell: |row, _| row.state.as_str().to_owned() },
    Column { title: "REASON", importance: 7, cell: |row, _| row.reason.clone().unwrap_or_default() },
];

/// Returns the header and the rows. No line is wider than the screen: first the bars are shortened, then the least
/// important columns are left out, then names are shortened.
fn lines(snapshot: &Snapshot, view: &View, screen: &Screen) -> Vec<String> {
    let rows = &snapshot.items;
    let mut columns: Vec<&Column> =
        COLUMNS.iter().filter(|column| view.namespaces || column.title != "NAMESPACE").collect();
    if !view.wide {
        columns.retain(|column| column.title != "OWNER");
    }
    let mut bar = BAR;
    let widths = |columns: &[&Column], bar: usize| -> Vec<usize> {
        let width = |column: &&Column| {
            let cells = rows.iter().map(|row| (column.cell)(row, bar).chars().count());
            cells.chain([column.title.len()]).max().unwrap_or_default()
        };
        columns.iter().map(width).collect()
    };
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    let mut fitted = widths(&columns, bar);
    while !view.wide && total(&fitted) > screen.width {
        // Names are shortened to this width before a more important column is left out.
        let name = columns.iter().position(|column| column.title == "NAME").unwrap_or_default();
        let excess = total(&fitted) - screen.width;
        let importance = columns.iter().map(|column| column.importance).min().unwrap_or_default();
        if bar > 0 {
            bar = bar.saturating_sub(excess.max(5));
            fitted = widths(&columns, bar);
        } else if importance < 7 {
            columns.retain(|column| column.importance != importance);
            fitted = widths(&columns, bar);
        } else if fitted[name] > MIN_NAME {
            fitted[name] = fitted[name].saturating_sub(excess).max(MIN_NAME);
        } else if importance < 10 {
            columns.retain(|column| column.importance != importance);
            fitted = widths(&columns, bar);
            fitted[columns.iter().position(|column| column.title == "NAME").unwrap_or_default()] = MIN_NAME;
        } else {
            break;
        }
    }
    let line = |cells: Vec<String>| -> String {
        let padded = cells.iter().zip(&fitted).map(|(cell, width)| format!("{:<width$}", shortened(cell, *width)));
        shortened(padded.collect::<Vec<_>>().join("  ").trim_end(), if view.wide { usize::MAX } else { screen.width })
    };
    let header = line(columns.iter().map(|column| column.title.to_owned()).collect());
    let mut lines = vec![screen.paint(Color::Bold, &header)];
    for row in rows {
        let cells = columns.iter().map(|column| (column.cell)(row, bar)).collect();
        lines.push(painted(&line(cells), row.state, screen));
    }
    if rows.is_empty() {
        let what = if view.all_jobs { "no Jobs" } else { "no unfinished Jobs" };
        lines.push(shortened(&format!("{what} in {}", view.scope), screen.width));
    }
    lines
}

fn painted(line: &str, state: JobState, screen: &Screen) -> String {
    let color = match state {
        JobState::Stuck | JobState::Failed => Color::Red,
        JobState::Complete => Color::Green,
        JobState::Running => return line.to_owned(),
        JobState::Retrying | JobState::Pending | JobState::Finishing | JobState::Terminating => Color::Yellow,
        JobState::Waiting | JobState::Paused | JobState::Suspended | JobState::External => Color::Dim,
    };
    screen.paint(color, line)
}

fn progress(share: f64, bar: usize) -> String {
    if bar == 0 {
        return format!("{:>3.0}%", share * 100.0);
    }
    let full = (share.clamp(0.0, 1.0) * bar as f64).floor() as usize;
    format!("{}{} {:>3.0}%", "█".repeat(full), "░".repeat(bar - full), share * 100.0)
}

/// Formats a rate per second, minute or hour: the first of these units in which the rate is at least 1.
fn rate(rate: f64) -> String {
    let units = [(1.0, "s"), (60.0, "min"), (3600.0, "h")];
    let (by, unit) = units.into_iter().find(|(by, _)| rate * by >= 1.0).unwrap_or(units[2]);
    format!("{:.1}/{unit}", rate * by)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::client::top::rates::Rates;
    use crate::client::top::rows::tests::job;

    fn view() -> View {
        let scope = "namespace default".to_owned();
        View { namespaces: false, all_jobs: false, wide: false, scope, sort: Sort::State, offset: 0 }
    }

    fn screen(width: usize) -> Screen {
        Screen { width, ..Screen::PLAIN }
    }

    fn at(second: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
    }

    fn snapshot() -> Snapshot {
        let status =
            |done: i32| json!({"startTime": "2026-01-01T00:00:00Z", "succeeded": done, "active": 2, "failed": 1});
        let mut rates = Rates::default();
        let mut snapshot = Snapshot::default();
        for (second, done) in [(100, 50), (110, 60)] {
            let jobs = [
                job("etl", json!({"completions": 80}), status(done)),
                job("held", json!({"completions": 4, "suspend": true}), json!({})),
                job("queue", json!({}), status(3)),
            ];
            rates.take(&jobs, at(second));
            snapshot.items = jobs.iter().map(|job| Row::of(job, &[], rates.of(job), at(second))).collect();
        }
        sort(&mut snapshot.items, Sort::State);
        snapshot
    }

    #[test]
    fn table_shows_progress_rate_and_time_left_of_each_job() {
        assert_eq!(
            page(&snapshot(), &view(), &screen(120)),
            "\
NAME   PROGRESS                   DONE   FAILED  ACTIVE  RATE     LEFT  AGE    STATE      REASON
etl    ███████████████░░░░░  75%  60/80  1       2       1.0/s    20s   1m50s  running
queue  -                          3      1       2       1.6/min  -     1m50s  running
held   ░░░░░░░░░░░░░░░░░░░░   0%  0/4    0       0       -        -     1m50s  suspended
"
        );
        let none = page(&Snapshot::default(), &view(), &screen(80));
        assert_eq!(none.lines().last(), Some("no unfinished Jobs in namespace default"));
    }

    #[test]
    fn wide_table_has_every_column_and_whole_names() {
        let mut snapshot = snapshot();
        snapshot.items[0].name = "a-very-long-name-of-a-job-that-ends-in-x2b4q".to_owned();
        snapshot.items[0].owner = Some("cronjob/nightly".to_owned());
        let table = page(&snapshot, &View { namespaces: true, wide: true, ..view() }, &screen(40));
        let titles: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(titles, COLUMNS.iter().map(|column| column.title).collect::<Vec<_>>());
        assert!(table.contains("ends-in-x2b4q") && table.contains("cronjob/nightly"), "{table}");
    }

    #[test]
    fn no_line_is_wider_than_the_screen_and_the_state_stays() {
        let mut snapshot = snapshot();
        snapshot.items[0].name = "a-very-long-name-of-a-job-that-ends-in-x2b4q".to_owned();
        snapshot.items[0].reason = Some("ImagePullBackOff".to_owned());
        for width in [20, 40, 50, 60, 80, 100, 160] {
            for namespaces in [false, true] {
                let table = page(&snapshot, &View { namespaces, ..view() }, &screen(width));
                let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
                assert!(widest <= width, "{width}: {widest}\n{table}");
                assert_eq!(table.lines().count(), 4, "{table}");
                assert!(table.contains("STATE") && table.contains("running"), "{width}\n{table}");
            }
        }
        assert!(page(&snapshot, &view(), &screen(80)).contains("DONE"));
    }

    #[test]
    fn frame_has_the_header_the_visible_rows_and_a_status_line() {
        let mut snapshot = snapshot();
        let row = snapshot.items[0].clone();
        snapshot.items = (0..50).map(|number| Row { name: format!("job-{number:02}"), ..row.clone() }).collect();
        let screen = Screen { width: 80, height: Some(10), ..Screen::PLAIN };
        let mut view = view();
        let shown = |view: &mut View| -> Vec<String> {
            let frame = frame(&snapshot, view, &screen);
            let plain = frame.replace("\u{1b}[H", "").replace("\u{1b}[K", "").replace("\u{1b}[J", "");
            plain.split("\r\n").map(str::to_owned).collect()
        };
        let first = shown(&mut view);
        assert_eq!(first.len(), 10, "{first:?}");
        assert!(
            first[0].starts_with("NAME") && first[1].starts_with("job-00") && first[8].starts_with("job-07"),
            "{first:?}"
        );
        assert!(first[9].starts_with("1-8 of 50  sort: state  q quit"), "{first:?}");
        view.press(Key::PageDown, 50, 10);
        view.press(Key::Down, 50, 10);
        let second = shown(&mut view);
        assert!(second[0].starts_with("NAME") && second[1].starts_with("job-09"), "{second:?}");
        view.press(Key::Last, 50, 10);
        assert!(shown(&mut view)[8].starts_with("job-49"));
        view.press(Key::Down, 50, 10);
        assert!(shown(&mut view)[8].starts_with("job-49"), "the last row stays on the screen");
        view.press(Key::Sort, 50, 10);
        assert_eq!((view.sort, view.offset), (Sort::Name, 0));
    }

    #[test]
    fn rows_are_sorted_as_the_flag_demands() {
        let mut rows = snapshot().items;
        let mut names = |by: Sort| {
            sort(&mut rows, by);
            rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(Sort::Name), ["etl", "held", "queue"]);
        assert_eq!(names(Sort::State), ["etl", "queue", "held"]);
        assert_eq!(names(Sort::Progress), ["held", "queue", "etl"]);
        assert_eq!(names(Sort::Failed), ["etl", "queue", "held"]);
    }

    #[test]
    fn states_have_colors() {
        let mut snapshot = snapshot();
        snapshot.items[0].state = JobState::Stuck;
        let table = page(&snapshot, &view(), &Screen { color: true, ..screen(120) });
        assert!(table.contains("\u{1b}[31metl"), "{table:?}");
    }

    #[test]
    fn unread_pods_are_named_below_the_table() {
        let mut snapshot = snapshot();
        let unread = |text: &str| text.to_owned();
        snapshot.unread.push(crate::client::explain::explanation::Unread {
            resource: unread("pods"),
            reason: unread("forbidden"),
            effect: unread("reasons are not known"),
        });
        let table = page(&snapshot, &view(), &screen(120));
        assert!(table.ends_with("Not read: pods (forbidden): reasons are not known.\n"), "{table}");
    }
}
