//! Tables of a day, a week and a month.

use jiff::ToSpan;
use jiff::civil::Date;
use maud::{Markup, html};

use super::Calendar;
use super::items::{Event, items, of_day};
use super::slots::{self, Hour, clock_changes};

/// Maximum number of runs or summaries in the only hour of a view.
pub(super) const IN_HOUR: usize = 100;
/// Maximum number of runs or summaries in an hour of a day.
pub(super) const IN_DAY: usize = 12;
/// Maximum number of runs or summaries in an hour of a week.
pub(super) const IN_WEEK: usize = 2;
/// Maximum number of runs or summaries in a day of a month.
pub(super) const IN_MONTH: usize = 3;

/// Returns the hours of a day, or the one hour to which the calendar is limited.
pub(super) fn day(calendar: &Calendar<'_>, date: Date, events: &[Event<'_>], max: usize) -> Markup {
    let hour_of = |slot: &slots::Slot| slot.from.to_zoned(calendar.zone.clone()).hour();
    // The rest of the only hour has no page of its own.
    let rest = |slot: &slots::Slot| calendar.hour.is_none().then(|| (calendar.hour_link)(date, hour_of(slot)));
    let is_shown = |slot: &slots::Slot| calendar.hour.is_none_or(|hour| hour_of(slot) == hour);
    html! {
        table.day {
            caption.vh { "Runs by hour" }
            thead.vh { tr { th scope="col" { "Hour" } th scope="col" { "Runs" } } }
            tbody {
                @for slot in slots::slots(date, calendar.zone).into_iter().filter(is_shown) {
                    @let within: Vec<&Event<'_>> = events.iter().filter(|event| slot.from <= event.event.time && event.event.time < slot.to).collect();
                    @let is_now = slot.from <= calendar.now && calendar.now < slot.to;
                    tr aria-current=[is_now.then_some("time")] {
                        th scope="row" { (slot.label) }
                        td {
                            @if let Some(change) = &slot.change { (change_mark(change)) }
                            (items(&within, max, rest(&slot).as_deref()))
                        }
                    }
                }
            }
        }
    }
}

fn change_mark(change: &str) -> Markup {
    html! { p.change { "Clock change: " (change) } }
}

/// Returns seven days by hours of the clock.
pub(super) fn week(calendar: &Calendar<'_>, monday: Date, events: &[Event<'_>], max: usize) -> Markup {
    let days: Vec<Date> = (0..7_i64).filter_map(|day| monday.checked_add(day.days()).ok()).collect();
    html! {
        div.scroll role="region" aria-label="Runs of the week" tabindex="0" {
            table.week {
                caption.vh { "Runs by day and hour" }
                thead { tr {
                    td {}
                    @for date in &days {
                        th scope="col" aria-current=[calendar.is_today(*date).then_some("date")] {
                            a href=((calendar.day_link)(*date)) { (date.strftime("%a ")) b { (date.day()) } }
                            @for change in clock_changes(*date, calendar.zone) { (change_mark(&change.text)) }
                        }
                    }
                } }
                tbody {
                    @for hour in 0..24_i8 {
                        tr {
                            th scope="row" { (format!("{hour:02}:00")) }
                            @for date in &days { (hour_cell(calendar, (*date, hour), events, max)) }
                        }
                    }
                }
            }
        }
    }
}

fn hour_cell(calendar: &Calendar<'_>, (date, hour): (Date, i8), events: &[Event<'_>], max: usize) -> Markup {
    let within: Vec<&Event<'_>> = of_day(events, date).filter(|event| event.local.hour() == hour).collect();
    let (class, note) = match slots::hour(date, hour, calendar.zone) {
        Hour::Normal => (None, None),
        Hour::Skipped => (Some("changed"), Some("skipped")),
        Hour::Repeated => (Some("changed"), Some("repeated")),
    };
    html! {
        td class=[class] {
            @if let Some(note) = note { i { (note) } }
            (items(&within, max, Some(&(calendar.day_link)(date))))
        }
    }
}

/// Returns the weeks of a month by days.
pub(super) fn month(
    calendar: &Calendar<'_>,
    (first, last): (Date, Date),
    month: Date,
    (events, max): (&[Event<'_>], usize),
) -> Markup {
    let days: Vec<Date> = first.series(1.day()).take_while(|date| *date <= last).collect();
    html! {
        table.month {
            caption.vh { "Runs by day" }
            thead { tr { @for date in days.iter().take(7) { th scope="col" { (date.strftime("%a")) } } } }
            tbody {
                @for week in days.chunks(7) {
                    tr { @for date in week { (day_cell(calendar, (*date, month), events, max)) } }
                }
            }
        }
    }
}

fn day_cell(calendar: &Calendar<'_>, (date, month): (Date, Date), events: &[Event<'_>], max: usize) -> Markup {
    let within: Vec<&Event<'_>> = of_day(events, date).collect();
    let day_link = (calendar.day_link)(date);
    let class = match (date.first_of_month() == month.first_of_month(), within.is_empty()) {
        (false, _) => Some("out"),
        (true, true) => Some("empty"),
        (true, false) => None,
    };
    html! {
        td class=[class] aria-current=[calendar.is_today(date).then_some("date")] {
            a.date href=(day_link) { time datetime=(date) { span.wd { (date.strftime("%a, %b ")) } (date.day()) } }
            @for change in clock_changes(date, calendar.zone) { (change_mark(&change.text)) }
            (items(&within, max, Some(&day_link)))
        }
    }
}
