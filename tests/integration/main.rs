//! Tests of the controller against a real API server, one file per subject. The cluster has no nodes: the tests set
//! the status of pods in place of a kubelet.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

mod adoption;
mod after_jobs;
mod argo_health;
mod backfill;
mod bad_input;
mod calendars;
mod check_and_api_server;
mod cli_commands;
mod command_line;
#[cfg(unix)]
mod completion;
mod completion_modes;
mod connections;
mod crd_upgrade;
mod cron_jobs;
mod cron_minutes;
mod deletion;
mod failures;
mod fake_api;
mod faults;
mod gang_placement;
mod gang_refusals;
mod gang_scheduling;
mod harness;
mod helm_hooks;
mod index_subsets;
mod job_limits;
mod job_policies;
mod job_schedule_conditions;
mod job_schedules;
mod kubectl;
mod leader;
mod logs_and_traces;
#[cfg(unix)]
mod logs_on_terminal;
mod max_runs;
mod metrics;
mod one_off;
mod outage;
mod parameters;
mod permissions;
mod policies;
#[cfg(unix)]
mod pseudo_terminal;
mod refusals;
mod reports;
mod restart;
mod restricted_user;
mod retention;
mod security;
mod suspension;
mod takeover;
#[cfg(unix)]
mod terminal;
mod ttl;
mod ui;
mod ui_actions;
mod ui_cluster;
mod ui_logs;
mod ui_schedules;
mod uninstall;
mod unresponsive_api_server;
mod upgrade;
mod user_commands;
mod versions;
mod wire;
#[cfg(unix)]
mod wrong_use;
