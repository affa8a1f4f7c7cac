//! The controller against a real API server, one file a theme. There are no nodes: tests play the kubelet.

mod adoption;
mod bad_input;
mod command_line;
mod connections;
mod cron_jobs;
mod cron_minutes;
mod deletion;
mod failures;
mod faults;
mod for_people;
mod harness;
mod job_limits;
mod job_schedules;
mod kinds;
mod leader;
mod metrics;
mod outage;
mod reports;
mod restart;
mod retention;
mod rights;
mod security;
mod suspension;
mod takeover;
mod telling;
mod ttl;
