//! Names of the Jobs of a JobSchedule.
//!
//! A name consists of the name of the JobSchedule and the scheduled time, so that two Jobs are never created for one
//! time. The time follows an `s`. The names of a CronJob's Jobs end in a dash and digits, so a CronJob and a
//! JobSchedule can have the same name.

use jiff::Timestamp;

use crate::runtime::hash::hash;
use crate::runtime::text::beginning;

/// Maximum length of the name of a Job, in bytes. The name is the value of a label of the pods.
const MAXIMUM: usize = 63;

/// Returns the names of the Job for a scheduled time, in the order in which they are tried. The second name is used if
/// a Job of another owner has the first one. It depends on the UID of the JobSchedule.
pub fn names(schedule: &str, uid: &str, scheduled: Timestamp) -> [String; 2] {
    let (minutes, seconds) = parts(scheduled);
    let time = if seconds == 0 { format!("s{minutes}") } else { format!("s{minutes}s{seconds}") };
    let other = hash([uid.as_bytes(), time.as_bytes()]) & 0xffff;
    [fitted(schedule, &time), fitted(schedule, &format!("{time}x{other:04x}"))]
}

/// Returns the name that version 0.1.0 gave to the Job for a scheduled time.
pub fn earlier_name(schedule: &str, scheduled: Timestamp) -> String {
    let (minutes, seconds) = parts(scheduled);
    if seconds == 0 { format!("{schedule}-{minutes}") } else { format!("{schedule}-{minutes}-{seconds}") }
}

/// Returns the scheduled time of a Job with this name; none if no version gives this name to a Job of the JobSchedule.
pub fn scheduled_time(schedule: &str, uid: &str, job: &str) -> Option<Timestamp> {
    let is_of = |time: &Timestamp| {
        names(schedule, uid, *time).iter().any(|name| name == job) || earlier_name(schedule, *time) == job
    };
    let (_, last) = job.rsplit_once('-')?;
    let this_version = last.strip_prefix('s').and_then(|time| {
        let time = time.split('x').next()?;
        let (minutes, seconds) = time.split_once('s').unwrap_or((time, "0"));
        instant(minutes, seconds)
    });
    let earlier_version = job.strip_prefix(schedule).and_then(|time| {
        let time = time.strip_prefix('-')?;
        let (minutes, seconds) = time.split_once('-').unwrap_or((time, "0"));
        instant(minutes, seconds)
    });
    this_version.into_iter().chain(earlier_version).find(is_of)
}

fn parts(scheduled: Timestamp) -> (i64, i64) {
    (scheduled.as_second().div_euclid(60), scheduled.as_second().rem_euclid(60))
}

fn instant(minutes: &str, seconds: &str) -> Option<Timestamp> {
    let seconds = minutes.parse::<i64>().ok()?.checked_mul(60)?.checked_add(seconds.parse().ok()?)?;
    Timestamp::from_second(seconds).ok()
}

/// Joins the name of the JobSchedule and the time. A name that is too long is truncated, and its hash is appended.
fn fitted(schedule: &str, time: &str) -> String {
    let whole = format!("{schedule}-{time}");
    if whole.len() <= MAXIMUM {
        return whole;
    }
    let mark = format!("{:08x}", hash([schedule.as_bytes()]) & 0xffff_ffff);
    let room = MAXIMUM.saturating_sub(time.len() + mark.len() + 2);
    let begin = beginning(schedule, room).trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    format!("{begin}-{mark}-{time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn names_differ_from_those_of_a_cron_job_and_contain_the_scheduled_time() {
        for (time, first) in
            [("2026-01-05T10:30:00Z", "nightly-s29460150"), ("2026-01-05T10:30:07Z", "nightly-s29460150s7")]
        {
            let names = names("nightly", "uid", at(time));
            assert_eq!(names[0], first);
            assert!(names[1].starts_with(&format!("{first}x")) && names[1].len() == first.len() + 5, "{names:?}");
            for name in names.iter().chain([&earlier_name("nightly", at(time))]) {
                assert_eq!(scheduled_time("nightly", "uid", name), Some(at(time)), "{name}");
            }
            for name in names {
                let digits = name.rsplit('-').next().unwrap();
                assert!(
                    !digits.bytes().all(|byte| byte.is_ascii_digit()),
                    "{name} could be the name of a Job of a CronJob"
                );
            }
        }
    }

    #[test]
    fn names_of_other_jobs_have_no_scheduled_time() {
        for name in [
            "nightly",
            "nightly-manual-abcde",
            "nightly-s",
            "nightly-sx",
            "other-s29460150",
            "nightly-s29460150x0000",
            "nightly-1-2-3",
            "nightly-s99999999999999999999",
        ] {
            assert_eq!(scheduled_time("nightly", "uid", name), None, "{name}");
        }
    }

    #[test]
    fn every_name_fits_into_a_label_value() {
        let long = format!("{}.{}", "a".repeat(40), "b".repeat(11));
        for schedule in [&*"n".repeat(52), &long, &"n".repeat(253)] {
            let time = at("2026-01-05T10:30:59Z");
            let names = names(schedule, "uid", time);
            for name in &names {
                assert!(name.len() <= MAXIMUM && !name.contains(".-"), "{name}");
                assert_eq!(scheduled_time(schedule, "uid", name), Some(time), "{name}");
            }
            assert_ne!(names[0], names[1]);
        }
        let (one, two) = (format!("{}1", "n".repeat(51)), format!("{}2", "n".repeat(51)));
        let time = at("2026-01-05T10:30:59Z");
        assert_ne!(names(&one, "uid", time)[0], names(&two, "uid", time)[0]);
    }
}
