//! Past and future runs of schedules by day, week and month.
//!
//! Days and hours are those of a zone. Hours that a clock change skips or repeats are marked. Cells with many runs are
//! summarized, and a table that would be too large has fewer runs in each cell. Links lead to the day and to the hour
//! with all of their runs.

mod grids;
mod items;
mod slots;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use maud::{Markup, html};

use self::items::overlapping;
use super::{Outcome, zone_name};

/// Maximum size of a table, in bytes. The other parts of the page have less than 10 KiB.
const MAX_BYTES: usize = 20 * 1024;

/// Run in a calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarEvent {
    /// Scheduled time, or start of a manual run.
    pub time: Timestamp,
    /// End of the run. For a future run, the end after the usual duration.
    pub end: Option<Timestamp>,
    /// Name of the schedule.
    pub label: String,
    /// Page of the run or of the schedule.
    pub link: Option<String>,
    /// Page of the schedule, to which a summary of several runs links.
    pub page: Option<String>,
    /// Outcome of the run: [`Outcome::Due`] for a future one.
    pub outcome: Outcome,
}

/// Period that a calendar shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// One day, by hours.
    Day,
    /// One week from Monday to Sunday, by hours.
    #[default]
    Week,
    /// The weeks of one month, by days.
    Month,
}

impl View {
    /// All views.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// Returns the view with this name in a URL.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|view| view.word() == word)
    }

    /// Returns the name of the view in a URL.
    pub fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Returns the first and the last day that the view shows. `None` at the limits of the calendar.
    pub fn days(self, date: Date) -> Option<(Date, Date)> {
        let monday = |date: Date| date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).ok();
        match self {
            Self::Day => Some((date, date)),
            Self::Week => Some((monday(date)?, monday(date)?.checked_add(6.days()).ok()?)),
            Self::Month => {
                Some((monday(date.first_of_month())?, monday(date.last_of_month())?.checked_add(6.days()).ok()?))
            }
        }
    }

    /// Returns the begin of the first day and the end of the last.
    pub fn range(self, date: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        let (first, last) = self.days(date)?;
        Some((slots::midnight(first, zone)?, slots::midnight(last.tomorrow().ok()?, zone)?))
    }

    /// Returns a date in the previous period.
    pub fn previous(self, date: Date) -> Option<Date> {
        match self {
            Self::Day => date.yesterday().ok(),
            Self::Week => date.checked_sub(7.days()).ok(),
            Self::Month => date.first_of_month().yesterday().ok(),
        }
    }

    /// Returns a date in the next period.
    pub fn next(self, date: Date) -> Option<Date> {
        match self {
            Self::Day => date.tomorrow().ok(),
            Self::Week => date.checked_add(7.days()).ok(),
            Self::Month => date.last_of_month().tomorrow().ok(),
        }
    }

    /// Returns the heading of a period, such as `November 2026`.
    pub fn heading(self, date: Date) -> String {
        match (self, self.days(date)) {
            (Self::Week, Some((first, last))) => {
                format!("{} – {}", first.strftime("%B %-d"), last.strftime("%B %-d, %Y"))
            }
            (Self::Month, _) => date.strftime("%B %Y").to_string(),
            _ => date.strftime("%A, %B %-d, %Y").to_string(),
        }
    }
}

/// Runs that a calendar shows.
#[derive(Clone, Copy)]
pub struct Calendar<'a> {
    /// Zone whose days and hours are shown.
    pub zone: &'a TimeZone,
    /// Present time. Its day is marked.
    pub now: Timestamp,
    /// Runs in any order. Runs outside of the period are not shown.
    pub events: &'a [CalendarEvent],
    /// Returns the link to the view of a day.
    pub day_link: &'a dyn Fn(Date) -> String,
    /// Returns the link to the view of one hour of a day.
    pub hour_link: &'a dyn Fn(Date, i8) -> String,
    /// Hour of the clock to which the view of a day is limited.
    pub hour: Option<i8>,
}

impl Calendar<'_> {
    /// Returns the table of the period that contains a date.
    pub fn table(&self, view: View, date: Date) -> Markup {
        let Some(((first, last), (from, to))) = view.days(date).zip(view.range(date, self.zone)) else {
            return html! { p.none { "The calendar has no such date." } };
        };
        let events = overlapping(self.events, from, to, self.zone);
        let grid = match view {
            View::Day => {
                let max = if self.hour.is_some() { grids::IN_HOUR } else { grids::IN_DAY };
                fitting(max, 1, |max| grids::day(self, date, &events, max))
            }
            View::Week => fitting(grids::IN_WEEK, 0, |max| grids::week(self, first, &events, max)),
            View::Month => fitting(grids::IN_MONTH, 0, |max| grids::month(self, (first, last), date, (&events, max))),
        };
        html! {
            div.calendar {
                (grid)
                p.hint { "Times are in the zone " (zone_name(self.zone)) "." }
                ul.legend aria-hidden="true" {
                    @for outcome in Outcome::ALL { li { span class={ "s " (outcome.class()) } { (outcome.word()) } } }
                    li { span.overlap {} "overlaps the previous run" }
                }
            }
        }
    }

    fn is_today(&self, date: Date) -> bool {
        self.now.to_zoned(self.zone.clone()).date() == date
    }
}

/// Returns the grid with the largest number of runs in each cell with which it is small enough. With `least` runs, a grid
/// is shown in any case.
fn fitting(max: usize, least: usize, grid: impl Fn(usize) -> Markup) -> Markup {
    let mut max = max;
    loop {
        let markup = grid(max);
        if markup.0.len() <= MAX_BYTES || max <= least {
            return markup;
        }
        max = (max / 2).max(least);
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jiff::civil::date;

    use super::*;

    fn event(time: &str, label: &str, outcome: Outcome, minutes: i64) -> CalendarEvent {
        let time: Timestamp = time.parse().unwrap();
        let end = Some(time + SignedDuration::from_mins(minutes));
        let link = Some(format!("/schedules/{label}"));
        CalendarEvent { time, end, label: label.to_owned(), page: link.clone(), link, outcome }
    }

    fn table(view: View, date: Date, events: &[CalendarEvent], zone: &str) -> String {
        table_of(view, date, None, events, zone)
    }

    fn table_of(view: View, date: Date, hour: Option<i8>, events: &[CalendarEvent], zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let now = "2026-03-28T12:00:00Z".parse().unwrap();
        let day_link = |date: Date| format!("/calendar?view=day&date={date}");
        let hour_link = |date: Date, hour: i8| format!("/calendar?view=day&date={date}&hour={hour}");
        Calendar { zone: &zone, now, events, day_link: &day_link, hour_link: &hour_link, hour }
            .table(view, date)
            .into_string()
    }

    fn every(minutes: i64, count: i64, label: &str) -> Vec<CalendarEvent> {
        let begin: Timestamp = "2026-03-28T00:00:00Z".parse().unwrap();
        let at = |place: i64| (begin + SignedDuration::from_mins(place * minutes)).to_string();
        (0..count).map(|place| event(&at(place), label, Outcome::Succeeded, 1)).collect()
    }

    #[test]
    fn periods_begin_on_monday() {
        let day = date(2026, 3, 18);
        assert_eq!(View::Week.days(day), Some((date(2026, 3, 16), date(2026, 3, 22))));
        assert_eq!(View::Month.days(day), Some((date(2026, 2, 23), date(2026, 4, 5))));
        assert_eq!([View::Day, View::Week, View::Month].map(|view| view.next(day).unwrap().day()), [19, 25, 1]);
        assert_eq!([View::Day, View::Week, View::Month].map(|view| view.previous(day).unwrap().day()), [17, 11, 28]);
        assert_eq!(
            View::ALL.map(|view| view.heading(day)),
            ["Wednesday, March 18, 2026", "March 16 – March 22, 2026", "March 2026"]
        );
        assert_eq!([View::from_word("month"), View::from_word("year")], [Some(View::Month), None]);
    }

    #[test]
    fn dates_at_the_limits_of_the_calendar_are_refused() {
        for day in [Date::MIN, Date::MAX] {
            for view in View::ALL {
                let _ = (table(view, day, &[], "UTC"), view.previous(day), view.next(day));
            }
        }
        assert!(table(View::Week, Date::MAX, &[], "UTC").contains("The calendar has no such date."));
    }

    #[test]
    fn day_shows_both_hours_that_a_clock_change_repeats() {
        let events = [
            event("2026-10-25T00:30:00Z", "early", Outcome::Due, 1),
            event("2026-10-25T01:30:00Z", "late", Outcome::Due, 1),
        ];
        let text = table(View::Day, date(2026, 10, 25), &events, "Europe/Berlin");
        let places = ["02:00 CEST", "02:30</time> early", "02:00 CET", "02:30</time> late"].map(|part| text.find(part));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {text}");
        assert!(text.contains("Clock change: 03:00 CEST becomes 02:00 CET"), "{text}");
    }

    #[test]
    fn week_marks_the_hour_that_a_clock_change_skips() {
        let text = table(View::Week, date(2026, 3, 29), &[], "Europe/Berlin");
        assert_eq!(text.matches("Clock change: 02:00 CET becomes 03:00 CEST").count(), 1, "{text}");
        assert_eq!(text.matches(">skipped<").count(), 1);
        let text = table(View::Week, date(2026, 3, 27), &[], "UTC");
        assert!(!text.contains("Clock change") && text.contains("aria-current=\"date\""), "{text}");
    }

    #[test]
    fn dense_cell_is_summarized() {
        let mut events = every(30, 48, "frequent");
        events[3].outcome = Outcome::Failed;
        events.push(event("2026-03-28T01:00:00Z", "nightly", Outcome::Missed, 1));
        let text = table(View::Month, date(2026, 3, 1), &events, "UTC");
        assert!(text.contains("frequent <i>48 runs, 1 failed</i></a>"), "{text}");
        assert!(text.contains("nightly"), "{text}");
        let many: Vec<_> =
            (0..1000).map(|place| event("2026-03-28T01:00:00Z", &format!("s{place}"), Outcome::Due, 1)).collect();
        for view in View::ALL {
            let text = table(view, date(2026, 3, 28), &many, "UTC");
            assert!(text.contains("more schedules") && text.len() < 30 * 1024, "{} bytes", text.len());
        }
        let text = table(View::Month, date(2026, 3, 28), &every(1, 40_000, "minutely"), "UTC");
        assert!(text.contains("1,440 runs") && text.len() < 30 * 1024, "{} bytes", text.len());
    }

    #[test]
    fn table_of_many_schedules_has_few_runs_in_each_cell() {
        let all: Vec<_> =
            (0..500).flat_map(|place| every(60, 24, &format!("team-with-a-long-name/schedule-{place}"))).collect();
        let day = date(2026, 3, 28);
        for view in View::ALL {
            let text = table(view, day, &all, "UTC");
            assert!(text.len() < 22 * 1024, "{view:?}: {} bytes", text.len());
        }
        let text = table(View::Day, day, &all, "UTC");
        assert!(text.contains("date=2026-03-28&amp;hour=23\""), "{text}");
        let text = table_of(View::Day, day, Some(23), &all, "UTC");
        assert!(text.matches("23:00</time>").count() == 0 && text.contains("more schedules"), "{text}");
        assert!(text.matches("/schedules/team").count() >= 40 && text.len() < 22 * 1024, "{} bytes", text.len());
        let week: Vec<_> = (0..7)
            .flat_map(|day| {
                let at = move |event: CalendarEvent| CalendarEvent {
                    time: event.time - SignedDuration::from_hours(24 * day),
                    ..event
                };
                all.iter().cloned().map(at)
            })
            .collect();
        let text = table(View::Week, day, &week, "UTC");
        assert!(text.contains("500 runs") && text.len() < 22 * 1024, "{} bytes", text.len());
    }

    #[test]
    fn run_that_begins_before_the_previous_one_has_ended_is_marked() {
        let mut events = every(30, 3, "slow");
        events[0].end = Some("2026-03-28T00:31:00Z".parse().unwrap());
        events.extend(every(30, 3, "other"));
        // A schedule of another kind has the same name.
        let of_other_kind = |event: CalendarEvent| CalendarEvent { page: Some("/schedules/x".to_owned()), ..event };
        events.extend(every(30, 3, "slow").into_iter().map(of_other_kind));
        let text = table(View::Day, date(2026, 3, 28), &events, "UTC");
        assert_eq!(text.matches("title=\"overlaps the previous run\"").count(), 1, "{text}");
        assert!(text.contains("<time datetime=\"2026-03-28T00:30:00Z\">00:30</time> slow"), "{text}");
    }

    #[test]
    fn hostile_label_and_link_are_neutralized() {
        let mut hostile = event("2026-03-28T01:00:00Z", "a", Outcome::Failed, 1);
        hostile.label = "<script>\u{202e}\"".to_owned();
        hostile.link = Some("javascript:alert(1)".to_owned());
        hostile.page = hostile.link.clone();
        for view in View::ALL {
            let text = table(view, date(2026, 3, 28), &vec![hostile.clone(); 30], "UTC");
            assert!(!text.contains("<script>") && !text.contains('\u{202e}') && !text.contains("javascript"), "{text}");
        }
    }
}
