//! Calendars that the commands read, to evaluate JobSchedules as the controller does.

use std::sync::Arc;

use kube::ResourceExt;

use super::cluster::ClusterContext;
use crate::schedule::calendar::types::Calendar;
use crate::schedule::calendar::versions::Versions;
use crate::schedule::calendar::view;
use crate::schedule::job_schedule::view::CalendarNames;

/// Returns the periods of a Calendar of this namespace. A manifest without a namespace is one of each namespace.
pub(crate) fn find(calendars: &[Calendar], namespace: &str, name: &str) -> Option<Arc<Versions>> {
    let is_of = |calendar: &&Calendar| {
        calendar.name_any() == name && calendar.namespace().is_none_or(|found| found == namespace)
    };
    let found = calendars.iter().find(is_of)?;
    let status = found.status.clone().unwrap_or_default();
    let current = status.periods.as_ref().unwrap_or(&found.spec.periods);
    Some(Arc::new(view::versions(current, &status)))
}

/// Reads the Calendars that a JobSchedule names from its namespace. One that does not exist is left out.
///
/// # Errors
/// A Calendar cannot be read.
pub(crate) async fn read(context: &ClusterContext, names: &CalendarNames) -> kube::Result<Vec<Calendar>> {
    let mut found = Vec::new();
    for name in names.all() {
        found.extend(context.api::<Calendar>().get_opt(name).await?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::schedule::calendar::types::CalendarStatus;

    fn calendar(namespace: Option<&str>, status: Option<CalendarStatus>) -> Calendar {
        let spec = json!({"periods": [{"date": "12-25"}]});
        let mut calendar = Calendar::new("holidays", serde_json::from_value(spec).unwrap());
        calendar.metadata.namespace = namespace.map(str::to_owned);
        calendar.status = status;
        calendar
    }

    #[test]
    fn calendar_is_found_by_namespace_and_name() {
        let of_team = [calendar(Some("team"), None)];
        assert!(find(&of_team, "team", "holidays").is_some());
        assert!(find(&of_team, "other", "holidays").is_none() && find(&of_team, "team", "weekends").is_none());
        assert!(find(&[calendar(None, None)], "other", "holidays").is_some(), "a manifest without a namespace");
    }

    #[test]
    fn periods_of_the_status_apply() {
        let until = Time("2026-01-05T12:00:00Z".parse().unwrap());
        let earlier = json!([{"until": until, "periods": [{"date": "01-01"}]}]);
        let status = json!({"periods": [], "earlier": earlier});
        let found = find(&[calendar(None, Some(serde_json::from_value(status).unwrap()))], "a", "holidays").unwrap();
        assert_eq!((found.current.len(), found.earlier.len(), found.earlier[0].0), (0, 1, until.0));
    }
}
