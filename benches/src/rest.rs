//! Measurement of a controller without any objects: memory and processor time.

use std::time::Duration;

use anyhow::Result;

use crate::report::Figures;
use crate::system::Controller;
use crate::usage;

/// Time after the first Job in which the controller becomes idle.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures a controller that has just completed its first Job.
pub async fn measure(controller: &Controller) -> Result<Figures> {
    tokio::time::sleep(SETTLE).await;
    let used = usage::of(controller.id())?;
    Ok(Figures::from([("controller_rss_mib", used.now_mib), ("controller_cpu_s", used.cpu_s)]))
}
