//! Requests to the API server, as counted by its metrics.

use std::collections::BTreeMap;

use anyhow::Result;
use kube::Client;

/// Requests by verb and resource, such as `POST pods` and `PUT jobs/status`.
pub type Requests = BTreeMap<String, f64>;

/// Returns all requests that the API server has handled so far.
pub async fn so_far(client: &Client) -> Result<Requests> {
    let text = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let mut requests = Requests::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
        let Some((labels, count)) = line.rsplit_once("} ") else { continue };
        let label = |name: &str| {
            labels.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default()
        };
        let (resource, sub) = (label("resource"), label("subresource"));
        let resource = if sub.is_empty() { resource.to_owned() } else { format!("{resource}/{sub}") };
        *requests.entry(format!("{} {resource}", label("verb"))).or_default() += count.parse::<f64>()?;
    }
    Ok(requests)
}

/// Returns the requests since `before` for the resources of Job controllers. Writes of the simulated nodes
/// (`pods/status`) are excluded.
pub fn of_controllers(before: &Requests, after: &Requests) -> Requests {
    let resources = ["pods", "jobs", "jobs/status", "cronjobs", "cronjobs/status", "events"];
    let mut made = Requests::new();
    for (what, count) in after {
        let more = count - before.get(what).copied().unwrap_or_default();
        let named =
            what.split_once(' ').is_some_and(|(verb, resource)| verb != "WATCH" && resources.contains(&resource));
        if named && more > 0.0 {
            made.insert(what.clone(), more);
        }
    }
    made
}
