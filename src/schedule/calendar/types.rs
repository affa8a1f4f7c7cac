//! The `Calendar` resource (`calendars.jobwright.dev`).

#![allow(unreachable_pub, reason = "KubeSchema derives a public struct inside of a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::period::{EXISTING_DAYS, ORDERED_PERIODS, PeriodEntry, WHOLE_ENTRIES};

/// spec lists the days and periods of the calendar.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "jobwright.dev",
    version = "v1beta1",
    kind = "Calendar",
    doc = "Calendar has days and periods, such as holidays, that JobSchedules of its namespace exclude or are restricted to.",
    namespaced,
    shortname = "jcal",
    category = "all",
    status = "CalendarStatus",
    printcolumn = r#"{"name":"Periods","type":"integer","jsonPath":".status.count"}"#,
    printcolumn = r#"{"name":"Changed","type":"date","jsonPath":".status.earlier[0].until"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CalendarSpec {
    /// periods are the days and periods, in the time zone of the JobSchedule that names the calendar. A change applies to
    /// later times alone: what was due before it stays due, and what was excluded stays excluded.
    #[x_kube(validation = Rule::new(WHOLE_ENTRIES).message("each entry of spec.periods must have either date, or from and to"))]
    #[x_kube(validation = Rule::new(EXISTING_DAYS).optional_old_self(true)
        .message("each date, from and to of spec.periods must be a day of the calendar; 02-30 is none, and 02-29 with a year needs a leap year"))]
    #[x_kube(validation = Rule::new(ORDERED_PERIODS).optional_old_self(true)
        .message("each entry of spec.periods must have a to after its from; otherwise it is empty"))]
    #[schemars(length(max = 366))]
    pub periods: Vec<PeriodEntry>,
}

/// status is the observed state of the Calendar. Jobwright writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CalendarStatus {
    /// observedGeneration is the generation of the spec from which the status was derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// count is the number of periods that apply.
    pub count: i32,
    /// periods are those that apply since the last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub periods: Option<Vec<PeriodEntry>>,
    /// earlier lists the periods before each of the last changes, the last one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierPeriods>,
}

/// Periods before a change.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EarlierPeriods {
    /// until is the last time to which these periods apply.
    pub until: Time,
    /// periods are the days and periods.
    pub periods: Vec<PeriodEntry>,
}
