//! Gallery: a page with every component and chart of the console, with sample data.
//!
//! A test writes the page to `target/ui-gallery`, one file for each theme, which a person can open without a server.

use std::fs;

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use jobwright::ui::ansi::Reader;
use jobwright::ui::charts::{
    Calendar, CalendarEvent, DurationPoint, Gantt, GanttRow, GanttSpan, Hour, IndexRun, IndexState, Outcome,
    OutcomeCell, PodEnd, PodPhase, View, gantt, heat_map, hours, outcome_legend, outcome_links, outcome_strip,
    sparkline, trend,
};
use jobwright::ui::components::{
    Choice, Crumb, Filter, Header, Level, Order, Pager, State, Tab, Tile, badge, breadcrumb, chips, command,
    definitions, empty, figure, filter_form, hidden, navigation, notice, pager, progress, request, search_field,
    section, select_field, skip_link, state, table, tabs, text_field, tiles,
};
use jobwright::ui::text::{duration, name, relative_time, truncated};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::harness::target;

/// Stylesheet of the console.
pub const STYLE: &str = include_str!("../../src/ui/assets/console.css");

/// Random numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn now() -> Timestamp {
    "2026-03-27T13:24:10Z".parse().unwrap()
}

fn zone() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn tab(label: &'static str, href: &'static str, is_current: bool) -> Tab<'static> {
    Tab { label, href, count: None, is_current }
}

fn page(style: &Markup, content: &Markup) -> Markup {
    let sections = [
        tab("Overview", "/", true),
        tab("Jobs", "/jobs", false),
        tab("Schedules", "/schedules", false),
        tab("Calendar", "/calendar", false),
        tab("Limits", "/limits", false),
    ];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Gallery" }
                link rel="icon" href="data:,";
                (style)
            }
            body {
                (skip_link("main"))
                header {
                    a.brand href="/" { "Jobwright" }
                    (navigation(&sections))
                    p.where { span { "kind-production" } span { "read-only" } } span.live { "Live" }
                }
                main id="main" tabindex="-1" { (content) }
                footer { "Jobwright 0.1.0. Times are in the zone Europe/Berlin." }
            }
        }
    }
}

fn overview() -> Markup {
    let counts = [
        (State::Failed, 12),
        (State::Stuck, 3),
        (State::Failing, 7),
        (State::Waiting, 41),
        (State::Suspended, 2),
        (State::Running, 318),
        (State::Complete, 48_211),
        (State::Late, 0),
    ];
    let tile = |(state, count)| Tile { state, count, href: "/jobs?state=x" };
    let mut numbers = Numbers(4);
    let begin: Timestamp = "2026-03-26T14:00:00Z".parse().unwrap();
    let day: Vec<Hour> = (0..24)
        .map(|hour| Hour {
            begin: begin + SignedDuration::from_hours(hour),
            succeeded: 90 + numbers.below(140) + if hour == 11 { 260 } else { 0 },
            failed: numbers.below(9).saturating_sub(4) + if hour == 19 { 14 } else { 0 },
        })
        .collect();
    let worst = [
        (
            State::Stuck,
            "prod/invoice-export-29573100",
            5400,
            "Pod invoice-export-29573100-x7k2p cannot start: image registry.example.org/exporter:2.41 does not exist.",
        ),
        (
            State::Failed,
            "prod/nightly-backup-29572980",
            30_240,
            "Pod nightly-backup-29572980-h4q9z, container main: exit code 137 (OOMKilled), the limit is 512Mi.",
        ),
        (
            State::Failing,
            "ml/train-resnet-7f2c",
            720,
            "3 of 64 indexes have failed; the next pod of index 17 is created in 40s.",
        ),
        (
            State::Waiting,
            "ml/embeddings-rebuild",
            190,
            "JobLimit team-ml admits 10 Jobs and all are in use; position 3 of 41.",
        ),
    ];
    html! {
        div.head { h1 { "Overview" } span.hint { "All namespaces" } }
        (tiles("Jobs by state", &counts.map(tile)))
        div.cols {
            (section("worst", "Needs attention", html! {
                ol.worst {
                    @for (state, job, seconds, cause) in worst {
                        li {
                            (badge(state)) a href="/jobs/a/b" { (name(job, 48)) } span.hint { (relative_time(ago(seconds), now(), &zone())) }
                            p { (truncated(cause, 200)) }
                        }
                    }
                }
            }))
            (figure("Last 24 hours", "3,912 succeeded, 31 failed", hours(&day, &zone())))
        }
    }
}

fn jobs() -> Markup {
    let states = [
        State::Failed,
        State::Stuck,
        State::Failing,
        State::BackingOff,
        State::Waiting,
        State::Suspended,
        State::Running,
        State::Complete,
    ];
    let causes = [
        "Container main: exit code 1; backoffLimit 3 is exceeded",
        "No node has 64Gi of memory for pod etl-7h2k",
        "2 pods have failed",
        "The next pod is created in 80s",
        "JobLimit batch: position 12 of 40",
        "spec.suspend is true",
        "",
        "",
    ];
    let headers = [
        Header { label: "State", href: Some("/jobs?sort=state"), order: Some(Order::Descending), is_number: false },
        Header { label: "Name", href: Some("/jobs?sort=name"), ..Header::default() },
        Header { label: "Namespace", href: Some("/jobs?sort=namespace"), ..Header::default() },
        Header { label: "Owner", ..Header::default() },
        Header { label: "Progress", href: Some("/jobs?sort=progress"), ..Header::default() },
        Header { label: "Duration", href: Some("/jobs?sort=duration"), is_number: true, order: None },
        Header { label: "Age", href: Some("/jobs?sort=age"), is_number: true, order: None },
        Header { label: "Cause", ..Header::default() },
    ];
    let mut numbers = Numbers(9);
    let rows = html! {
        @for place in 0..16_usize {
            @let state_of_row = states[place % states.len()];
            @let total = 1 + numbers.below(200);
            @let (succeeded, failed) = match state_of_row { State::Complete => (total, 0), State::Running => (total / 3, 0), _ => (total / 4, total.min(2)) };
            tr {
                td { (state(state_of_row)) }
                th scope="row" { a href="/jobs/a/b" { (name(&format!("{}-{}", ["nightly-backup", "invoice-export", "etl", "report-of-customers-by-region-and-product"][place % 4], 29_573_100 + place), 42)) } }
                td data-l="Namespace" { (["prod", "batch", "ml"][place % 3]) }
                td data-l="Owner" { a href="/schedules/a/b/c" { (["nightly-backup", "invoice-export", "–", "reports"][place % 4]) } }
                td data-l="Progress" { (progress(succeeded, failed, if state_of_row == State::Running { total / 5 } else { 0 }, Some(total))) }
                td.n data-l="Duration" { (duration(SignedDuration::from_secs(numbers.below(40_000) as i64))) }
                td.n data-l="Age" { (relative_time(ago(numbers.below(600_000) as i64), now(), &zone())) }
                td { (truncated(causes[place % causes.len()], 70)) }
            }
        }
    };
    let choices = [Choice { value: "", label: "All states" }, Choice { value: "Failed", label: "Failed" }];
    let filters = [
        Filter { label: "Namespace", value: "prod", without: "/jobs" },
        Filter { label: "Owner", value: "CronJob/nightly-backup", without: "/jobs" },
    ];
    html! {
        (section("jobs", "Jobs", html! {
            (filter_form("/jobs", &[
                search_field("q", "Search", "", "Name, cause or image"),
                select_field("state", "State", &choices, ""),
                select_field("namespace", "Namespace", &[Choice { value: "", label: "All namespaces" }], "prod"),
                text_field("label", "Labels", "app=backup,tier!=dev", "app=backup"),
                hidden("sort", "state"),
            ], Some("/jobs")))
            (chips(&filters))
            (table("Jobs", &headers, rows))
        }))
        (pager(&Pager { first: 101, last: 200, total: 48_594, noun: "Jobs", previous: Some("/jobs?page=1"), next: Some("/jobs?page=3") }))
    }
}

fn rows() -> Vec<GanttRow> {
    let mut numbers = Numbers(7);
    (0..28_i64)
        .map(|place| {
            let begin = 5400 - place * 170;
            let mut at = begin;
            let mut next = |phase, seconds: u64| {
                let span = GanttSpan { phase, from: ago(at), to: ago((at - seconds as i64).max(0)) };
                at = (at - seconds as i64).max(0);
                span
            };
            let mut spans =
                vec![next(PodPhase::Pending, 5 + numbers.below(60)), next(PodPhase::Starting, 10 + numbers.below(90))];
            let end = match place {
                5 => PodEnd::Failed("exit code 137 (OOMKilled)".to_owned()),
                13 => PodEnd::Unfinished(Some("back-off: exit code 1".to_owned())),
                24.. => PodEnd::Unfinished(None),
                _ => PodEnd::Succeeded,
            };
            let lasts = if matches!(end, PodEnd::Unfinished(_)) { 9000 } else { 300 + numbers.below(1500) };
            if place == 13 {
                spans.extend([
                    next(PodPhase::Running, 300),
                    next(PodPhase::BackOff, 200),
                    next(PodPhase::Running, 240),
                    next(PodPhase::BackOff, 9000),
                ]);
            } else {
                spans.push(next(PodPhase::Running, lasts));
            }
            GanttRow {
                pod: format!("train-resnet-7f2c-{place}-{:05x}", numbers.below(1 << 20)),
                link: Some("/jobs/a/b?tab=logs".to_owned()),
                index: Some(place.to_string()),
                spans,
                end,
            }
        })
        .collect()
}

fn job() -> Markup {
    let crumbs = [
        Crumb { label: "Jobs", href: Some("/jobs") },
        Crumb { label: "ml", href: Some("/jobs?namespace=ml") },
        Crumb { label: "train-resnet-7f2c", href: None },
    ];
    let with_count = |label, count, is_current| Tab { count: Some(count), ..tab(label, "/jobs/a/b", is_current) };
    let mut numbers = Numbers(3);
    let mut runs = vec![
        IndexRun { first: 0, last: 58_911, state: IndexState::Succeeded },
        IndexRun { first: 58_912, last: 60_420, state: IndexState::Running },
    ];
    runs.extend((0..40).map(|place| {
        let first = numbers.below(60_000) as u32;
        IndexRun { first, last: first, state: if place % 3 == 0 { IndexState::Retrying } else { IndexState::Failed } }
    }));
    let small = [
        IndexRun { first: 0, last: 40, state: IndexState::Succeeded },
        IndexRun { first: 17, last: 17, state: IndexState::Failed },
        IndexRun { first: 41, last: 46, state: IndexState::Running },
        IndexRun { first: 44, last: 44, state: IndexState::Retrying },
    ];
    let rows = rows();
    html! {
        (breadcrumb(&crumbs))
        div.head {
            h1 { "train-resnet-7f2c" } (badge(State::Failing))
            div.actions { a.button href="/jobs/a/b/suspend" { "Suspend" } a.button href="/jobs/a/b/rerun" { "Run again" } button.danger type="button" { "Delete" } }
        }
        (tabs("Job", &[tab("Overview", "/jobs/a/b", true), with_count("Pods", 28, false), tab("Logs", "/jobs/a/b", false), tab("YAML", "/jobs/a/b", false)]))
        (notice(Level::Warning, "3 of 64 indexes have failed", html! { "Pod train-resnet-7f2c-5-x7k2p, container main: exit code 137 (OOMKilled). The limit of memory is 512Mi." }))
        (section("facts", "Job", definitions(&[
            ("Namespace", html! { a href="/jobs?namespace=ml" { "ml" } }),
            ("Owner", html! { a href="/schedules/a/b/c" { "JobSchedule/train-resnet" } }),
            ("Started", relative_time(ago(5400), now(), &zone())),
            ("Progress", progress(41, 3, 6, Some(64))),
            ("Parallelism", html! { "8" }),
            ("Image", html! { code { "registry.example.org/ml/trainer:2.41.0" } }),
        ])))
        (figure("Pods over time", "28 pods", gantt(&Gantt { id: "pods", caption: "Pods over time", from: ago(5400), to: now(), zone: &zone(), rows: &rows })))
        div.cols {
            (figure("Indexes", "58,885 of 100,000 succeeded", heat_map(100_000, &runs)))
            (figure("Indexes of a smaller Job", "64 indexes", heat_map(64, &small)))
        }
        (section("log", "Logs", log()))
        (section("commands", "Commands", html! { (command("kubectl jobwright explain job/train-resnet-7f2c -n ml")) }))
        (section("request", "Confirm: run the failed indexes again", html! {
            div.confirm {
                p { "The console sends this request with your permissions." }
                (request("POST", "/apis/batch/v1/namespaces/ml/jobs", "{\n  \"kind\": \"Job\",\n  \"metadata\": {\"name\": \"train-resnet-7f2c-rerun\"}\n}"))
                div.actions { button.primary type="submit" { "Run again" } a.button href="/jobs" { "Cancel" } }
            }
        }))
    }
}

fn log() -> Markup {
    let lines = [
        "\u{1b}[2m2026-03-27T13:20:01Z\u{1b}[0m \u{1b}[32mINFO\u{1b}[0m  loaded 48,212 samples from s3://training/batch-17",
        "\u{1b}[2m2026-03-27T13:20:03Z\u{1b}[0m \u{1b}[33mWARN\u{1b}[0m  learning rate \u{1b}[1m0.1\u{1b}[0m is high",
        "epoch 1:  10%\repoch 1:  55%\repoch 1: 100% \u{1b}[36m[==========]\u{1b}[0m loss=0.412",
        "\u{1b}[1;31mERROR\u{1b}[0m worker 3: <script>alert(1)</script> \u{1b}]8;;https://example.org\u{7}a link\u{1b}]8;;\u{7} user\u{202e}gnp.exe",
        "\u{1b}[41;97m FATAL \u{1b}[0m \u{1b}[38;5;208mout of memory\u{1b}[0m: \u{1b}[4mallocation\u{1b}[0m of \u{1b}[7m 8 GiB \u{1b}[0m failed",
        "\u{1b}[30;47m black \u{1b}[31;42m red \u{1b}[32;43m green \u{1b}[33;44m yellow \u{1b}[34;45m blue \u{1b}[35;46m magenta \u{1b}[36;41m cyan \u{1b}[37;40m white \u{1b}[0m \u{1b}[3mitalic\u{1b}[0m \u{1b}[9mstruck\u{1b}[0m",
        "\u{1b}[90mbright black \u{1b}[91mred \u{1b}[92mgreen \u{1b}[93myellow \u{1b}[94mblue \u{1b}[95mmagenta \u{1b}[96mcyan \u{1b}[97mwhite\u{1b}[0m",
    ];
    let mut reader = Reader::new(400);
    let long = "x".repeat(1000);
    html! {
        div.log role="region" aria-label="Logs" tabindex="0" {
            @for (place, line) in lines.into_iter().chain([&*long]).enumerate() {
                div { span.src { "index-" (place) } span.l { (reader.read(line.as_bytes())) } }
            }
        }
    }
}

fn schedules() -> Markup {
    let mut numbers = Numbers(11);
    let headers =
        ["Schedule", "Last runs", "Next", "Duration", "Succeeded"].map(|label| Header { label, ..Header::default() });
    let rows = html! {
        @for (place, schedule) in ["nightly-backup", "invoice-export", "cleanup-of-temporary-files", "reports"].into_iter().enumerate() {
            @let outcomes: Vec<Outcome> = (0..[20, 20, 60, 20][place]).map(|run| match (place, run, numbers.below(12)) {
                (0, 19, _) => Outcome::Failed,
                (1, 19, _) => Outcome::Running,
                (2, 7, _) => Outcome::Missed,
                (3, 11, _) => Outcome::Replaced,
                (_, _, 0) => Outcome::Failed,
                _ => Outcome::Succeeded,
            }).collect();
            @let durations: Vec<SignedDuration> = (0..30).map(|_| SignedDuration::from_secs((200 + numbers.below(120 * (place as u64 + 1))) as i64)).collect();
            tr {
                th scope="row" { a href="/schedules/a/b/c" { (schedule) } small { "CronJob in prod, 0 3 * * *" } }
                td data-l="Last runs" { (outcome_strip(&outcomes)) }
                td data-l="Next" { (relative_time(ago(-4000 * (place as i64 + 1)), now(), &zone())) small { "03:00 CET" } }
                td data-l="Duration" { (sparkline(&durations)) }
                td data-l="Succeeded" { (format!("{} %", 100 - numbers.below(9))) }
            }
        }
    };
    let points: Vec<DurationPoint> = (0..60)
        .map(|place| DurationPoint {
            started: ago((60 - place) * 86_400),
            duration: SignedDuration::from_secs(
                (240 + numbers.below(90) + if numbers.below(14) == 0 { 300 } else { 0 }) as i64,
            ),
            outcome: if numbers.below(15) == 0 { Outcome::Failed } else { Outcome::Succeeded },
            link: Some("/jobs/a/b".to_owned()),
        })
        .collect();
    let cells: Vec<OutcomeCell> = points
        .iter()
        .take(30)
        .map(|point| OutcomeCell { outcome: point.outcome, link: point.link.clone(), title: point.started.to_string() })
        .chain([Outcome::Missed, Outcome::Replaced, Outcome::Running, Outcome::Due].map(|outcome| OutcomeCell {
            outcome,
            link: None,
            title: String::new(),
        }))
        .collect();
    html! {
        (section("schedules", "Schedules", table("Schedules", &headers, rows)))
        div.cols {
            (figure("Durations", "60 runs", trend(&points, &zone())))
            (figure("Outcomes", "the oldest run is first", html! { (outcome_links(&cells)) (outcome_legend()) }))
        }
    }
}

fn events() -> Vec<CalendarEvent> {
    let begin: Timestamp = "2026-03-22T23:00:00Z".parse().unwrap();
    let mut events = Vec::new();
    let mut numbers = Numbers(5);
    let mut series = |label: &str, first: i64, distance: i64, lasts: i64| {
        let mut at = first;
        while at < 14 * 86_400 {
            let time = begin + SignedDuration::from_secs(at);
            let outcome = match numbers.below(40) {
                _ if time > now() => Outcome::Due,
                0 => Outcome::Failed,
                1 => Outcome::Missed,
                _ => Outcome::Succeeded,
            };
            let end = Some(time + SignedDuration::from_secs(lasts));
            events.push(CalendarEvent {
                time,
                end,
                label: label.to_owned(),
                link: Some("/schedules/a/b/c".to_owned()),
                page: Some("/schedules/a/b/c".to_owned()),
                outcome,
            });
            at += distance;
        }
    };
    series("nightly-backup", 3 * 3600, 86_400, 5400);
    series("invoice-export", 9 * 3600 + 1800, 86_400, 600);
    series("metrics-rollup", 0, 1800, 60);
    series("reindex-search", 4 * 3600, 12 * 3600, 13 * 3600);
    series("weekly-report", 8 * 3600, 7 * 86_400, 900);
    events
}

fn calendars() -> Markup {
    let (events, zone) = (events(), zone());
    let day_link = |date: jiff::civil::Date| format!("/calendar?view=day&date={date}");
    let hour_link = |date, hour| format!("/calendar?view=day&date={date}&hour={hour}");
    let calendar =
        Calendar { zone: &zone, now: now(), events: &events, day_link: &day_link, hour_link: &hour_link, hour: None };
    html! {
        @for (view, date) in [(View::Month, date(2026, 3, 27)), (View::Week, date(2026, 3, 27)), (View::Day, date(2026, 3, 29))] {
            section { div.head { h2 { (view.heading(date)) } } p {} (calendar.table(view, date)) }
        }
    }
}

fn parts() -> Markup {
    html! {
        (section("states", "States", html! { div.actions { @for state in State::ALL { (badge(state)) } } }))
        div.cols {
            (notice(Level::Info, "The page is live", html! { "Changes appear within a second." }))
            (notice(Level::Success, "The Job was suspended", html! {}))
            (notice(Level::Error, "Not allowed", html! { "The user jane is not allowed to " code { "list jobs.batch" } " in the namespace prod." }))
            (empty("No Jobs", html! { "No Job matches the filters. " a href="/jobs" { "Remove all filters" } }))
        }
    }
}

fn content() -> Markup {
    html! { (overview()) (jobs()) (job()) (schedules()) (calendars()) (parts()) }
}

/// Returns the gallery with a link to its stylesheet.
pub fn linked_page(stylesheet: &str) -> String {
    page(&html! { link rel="stylesheet" href=(stylesheet); }, &content()).into_string()
}

/// Returns the element with the stylesheet for one theme, whatever the browser prefers.
fn style(is_dark: bool) -> Markup {
    let (media, scheme) = if is_dark { ("all", "dark") } else { ("not all", "light") };
    let style = STYLE
        .replace("@media (prefers-color-scheme: dark)", &format!("@media {media}"))
        .replace("color-scheme: light dark", &format!("color-scheme: {scheme}"));
    html! { style { (PreEscaped(style)) } }
}

#[test]
fn gallery_of_all_parts_is_written() {
    let folder = target().join("ui-gallery");
    fs::create_dir_all(&folder).unwrap();
    for (theme, is_dark) in [("light", false), ("dark", true)] {
        let text = page(&style(is_dark), &content()).into_string();
        assert!(!text.contains("style=\""), "an inline style");
        assert!(!text.contains("NaN"), "a coordinate that is no number");
        assert!(!text.chars().any(|one| one.is_control() && one != '\n'), "a control character");
        fs::write(folder.join(format!("{theme}.html")), text).unwrap();
    }
}
