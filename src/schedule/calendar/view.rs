//! Calendars as decisions use them.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

use super::period::{Period, PeriodEntry};
use super::types::{Calendar, CalendarSpec, CalendarStatus};
use super::versions::Versions;
use crate::job::view::identity;
use crate::job::wire::metadata;
use crate::runtime::cache::Cached;
use crate::runtime::codec::WireObject;
use crate::runtime::identity::{Identity, Uid};

/// Calendar as the API server sends it. Its spec is parsed later, so that a malformed Calendar does not prevent the
/// others from being listed.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Calendar)]
pub struct WireCalendar {
    /// Part of the metadata.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Spec as unparsed JSON.
    #[serde(default)]
    pub spec: Value,
    /// Status as unparsed JSON.
    #[serde(default)]
    pub status: Value,
}

impl WireObject for WireCalendar {}

/// Calendar, reduced to the data that decisions need.
#[derive(Clone, Debug)]
pub struct CalendarView {
    /// Namespace, name, UID and resource version.
    pub identity: Identity,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Whether the Calendar is being deleted.
    pub deleting: bool,
    /// Periods of the spec, or an error about an invalid one.
    pub spec: Result<Vec<PeriodEntry>, String>,
    /// Stored status.
    pub stored: CalendarStatus,
    /// Periods that apply. Without a status they are those of the spec, and a change of the spec does not apply before it
    /// is stored in the status, with the time until which the earlier periods apply.
    /// None for a Calendar that has never had valid periods.
    pub versions: Option<Arc<Versions>>,
}

impl CalendarView {
    /// Parses a Calendar; none if it lacks metadata that every stored object has.
    pub fn parse(wire: WireCalendar) -> Option<Self> {
        let identity = identity(&wire.metadata)?;
        let spec = periods(wire.spec);
        let stored: CalendarStatus = serde_json::from_value(wire.status).unwrap_or_default();
        let known = stored.periods.as_deref().or(spec.as_ref().ok().map(Vec::as_slice));
        let versions = known.map(|current| Arc::new(versions(current, &stored)));
        let deleting = wire.metadata.deletion_timestamp.is_some();
        Some(Self { identity, generation: wire.metadata.generation, deleting, spec, stored, versions })
    }
}

/// Returns the periods of a Calendar: those that apply now, and the earlier ones of its status.
pub fn versions(current: &[PeriodEntry], status: &CalendarStatus) -> Versions {
    let parsed = |entries: &[PeriodEntry]| entries.iter().filter_map(Period::parse).collect();
    let earlier = status.earlier.iter().rev().map(|earlier| (earlier.until.0, parsed(&earlier.periods)));
    Versions { current: parsed(current), earlier: earlier.collect() }
}

fn periods(spec: Value) -> Result<Vec<PeriodEntry>, String> {
    let spec: CalendarSpec = serde_json::from_value(spec).map_err(|error| format!("spec: {error}"))?;
    match spec.periods.iter().position(|entry| Period::parse(entry).is_none()) {
        Some(place) => Err(format!("spec.periods[{place}]: {}", super::period::NO_PERIOD)),
        None => Ok(spec.periods),
    }
}

impl Cached for CalendarView {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn controller(&self) -> Option<&Uid> {
        None
    }

    /// A Calendar has no finalizers of this controller to remove, so it is never read live.
    fn has_finalizers(&self) -> bool {
        false
    }
}
