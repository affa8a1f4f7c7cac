//! What `jobwright status` reports: pure rules over what was read from the cluster.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use crate::client::explain::span;
use crate::client::leases::{LeaseState, Leases};
use crate::client::one_line::one_line;
use crate::client::terminal::{Color, Screen};

/// First minor version of Kubernetes 1 that is supported, as `kubeVersion` of the chart.
pub(super) const FIRST_MINOR: u32 = 32;
/// Last minor version of Kubernetes 1 whose API types this version has.
pub(super) const LAST_MINOR: u32 = 37;

/// Result of a part of the report that may be unreadable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Known<T> {
    /// What was read.
    Found(T),
    /// Why nothing could be read.
    Unreadable(String),
}

/// Version of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Server {
    /// Version, such as `v1.37.0`.
    pub version: String,
    /// `Supported`, `TooOld`, `Newer` or `Unknown`.
    pub support: &'static str,
}

/// Controller that holds a Lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Controller {
    /// Namespace and name of the Lease.
    pub lease: String,
    /// Identity of the leader. `None` if the Lease is released.
    pub leader: Option<String>,
    /// Whether the leader renews the Lease.
    pub alive: bool,
    /// Namespace and name of the installation.
    pub installation: Option<String>,
    /// Value of `--claim` of the leader.
    pub claim: Option<String>,
    /// Time of the last renewal, in UTC (RFC 3339).
    #[schemars(with = "Option<String>")]
    pub renewed: Option<Timestamp>,
}

/// Pod of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Replica {
    /// Namespace and name of the pod.
    pub pod: String,
    /// Version in the labels of the pod.
    pub version: Option<String>,
    /// Image of the pod.
    pub image: Option<String>,
    /// Whether the pod is ready.
    pub ready: bool,
    /// Number of restarts of its container.
    pub restarts: i32,
    /// Node of the pod.
    pub node: Option<String>,
}

/// Permission of the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Allowed {
    /// Verb and resource, such as `list pods`.
    pub action: String,
    /// Commands that need the permission.
    pub needed_by: &'static str,
    /// Whether the user has the permission.
    pub allowed: bool,
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Version of this program.
    pub client: String,
    /// Version of the API server.
    pub server: Server,
    /// Installed resources of jobwright.dev, such as `jobschedules/v1beta1`.
    pub resources: Known<Vec<String>>,
    /// Controllers of Jobwright.
    pub controllers: Known<Vec<Controller>>,
    /// The kube-controller-manager, which runs the built-in controllers unless it is configured otherwise.
    pub built_in: Known<Option<Controller>>,
    /// Pods of the controllers.
    pub replicas: Known<Vec<Replica>>,
    /// Namespace of the permissions.
    pub namespace: String,
    /// Permissions of the user.
    pub permissions: Vec<Allowed>,
    /// What is wrong, in sentences.
    pub problems: Vec<String>,
}

/// Returns the version of the API server, and whether this version of Jobwright supports it.
pub(super) fn server(major: &str, minor: &str, git: &str) -> Server {
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    let support = match (major, digits.parse::<u32>()) {
        ("1", Ok(minor)) if minor < FIRST_MINOR => "TooOld",
        ("1", Ok(minor)) if minor > LAST_MINOR => "Newer",
        ("1", Ok(_)) => "Supported",
        _ => "Unknown",
    };
    Server { version: git.to_owned(), support }
}

/// Returns the controllers of Jobwright that hold or held a Lease.
pub(super) fn controllers(leases: &Leases, now: Timestamp) -> Known<Vec<Controller>> {
    let own: Vec<Controller> =
        leases.found.iter().filter(|lease| !lease.is_builtin()).map(|lease| controller(lease, now)).collect();
    match leases.unread.as_ref().filter(|_| own.is_empty()) {
        Some(reason) => Known::Unreadable(reason.clone()),
        None => Known::Found(own),
    }
}

/// Returns the kube-controller-manager.
pub(super) fn built_in(leases: &Leases, now: Timestamp) -> Known<Option<Controller>> {
    match &leases.unread_builtin {
        Some(reason) => Known::Unreadable(reason.clone()),
        None => Known::Found(leases.found.iter().find(|lease| lease.is_builtin()).map(|lease| controller(lease, now))),
    }
}

fn controller(lease: &LeaseState, now: Timestamp) -> Controller {
    Controller {
        lease: format!("{}/{}", lease.namespace, lease.name),
        alive: lease.is_alive(now),
        leader: lease.holder.clone(),
        installation: lease.installation.clone(),
        claim: lease.claim.clone(),
        renewed: lease.renewed,
    }
}

/// Returns a pod of a controller.
pub(super) fn replica(pod: &Pod) -> Replica {
    let status = pod.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    let spec = pod.spec.clone().unwrap_or_default();
    Replica {
        pod: format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()),
        version: pod.labels().get("app.kubernetes.io/version").cloned(),
        image: spec.containers.first().and_then(|container| container.image.clone()),
        ready,
        restarts: status.container_statuses.iter().flatten().map(|container| container.restart_count).sum(),
        node: spec.node_name,
    }
}

/// Returns what is wrong, in sentences, the most important first.
pub(super) fn problems(report: &Report) -> Vec<String> {
    let mut problems = Vec::new();
    match &report.controllers {
        Known::Unreadable(reason) => {
            problems.push(format!("It is unknown whether a controller of Jobwright is alive: {reason}."))
        }
        Known::Found(controllers) if controllers.is_empty() => problems.push(
            "No controller of Jobwright is installed, or it runs without leader election: no Lease names one."
                .to_owned(),
        ),
        Known::Found(controllers) => {
            for controller in controllers.iter().filter(|controller| !controller.alive) {
                let Controller { lease, leader, .. } = controller;
                problems.push(match leader {
                    Some(leader) => format!("The controller {leader} does not renew the Lease {lease}."),
                    None => format!("No controller holds the Lease {lease}."),
                });
            }
            let claims_all = controllers.iter().any(|one| one.alive && one.claim.as_deref() == Some("all"));
            if controllers.iter().filter(|controller| controller.alive).count() > 1 {
                problems
                    .push("Several controllers of Jobwright are alive; each needs namespaces of its own.".to_owned());
            }
            if claims_all && matches!(&report.built_in, Known::Found(Some(built_in)) if built_in.alive) {
                problems.push(
                    "The controller claims all Jobs, and the kube-controller-manager is alive; \
                     check that its flag --controllers has -job-controller, -cronjob-controller and -ttl-after-finished-controller."
                        .to_owned(),
                );
            }
        }
    }
    if report.server.support == "TooOld" {
        problems.push(format!("The API server {} is older than 1.{FIRST_MINOR}.", report.server.version));
    }
    if let Known::Found(replicas) = &report.replicas {
        for replica in replicas.iter().filter(|replica| !replica.ready) {
            problems.push(format!("The pod {} is not ready.", replica.pod));
        }
    }
    problems
}

/// Returns the report for a person. With `wide`, it has a line for each permission, and otherwise for those that are
/// missing.
pub(super) fn text(report: &Report, now: Timestamp, wide: bool, screen: &Screen) -> String {
    let mut lines = vec![("Client", report.client.clone())];
    let support = match report.server.support {
        "Supported" => "supported".to_owned(),
        "TooOld" => format!("not supported: older than 1.{FIRST_MINOR}"),
        "Newer" => format!("newer than 1.{LAST_MINOR}, with which this version was tested"),
        _ => "it is unknown whether this version is supported".to_owned(),
    };
    lines.push(("API server", format!("{} ({support})", report.server.version)));
    lines.push((
        "Resources",
        match &report.resources {
            Known::Found(resources) if resources.is_empty() => "JobSchedule and JobLimit are not installed".to_owned(),
            Known::Found(resources) => resources.join(", "),
            Known::Unreadable(reason) => format!("unknown: {reason}"),
        },
    ));
    match &report.controllers {
        Known::Found(controllers) if controllers.is_empty() => lines.push(("Controller", "none found".to_owned())),
        Known::Found(controllers) => {
            lines.extend(controllers.iter().map(|controller| ("Controller", describe(controller, now))));
        }
        Known::Unreadable(reason) => lines.push(("Controller", format!("unknown: {reason}"))),
    }
    lines.push((
        "Built-in",
        match &report.built_in {
            Known::Found(Some(controller)) => format!("kube-controller-manager {}", describe(controller, now)),
            Known::Found(None) => "no Lease of a kube-controller-manager".to_owned(),
            Known::Unreadable(reason) => format!("unknown: {reason}"),
        },
    ));
    match &report.replicas {
        Known::Found(replicas) if replicas.is_empty() => lines.push(("Replicas", "no pods found".to_owned())),
        Known::Found(replicas) => lines.extend(replicas.iter().map(|replica| ("Replica", of_replica(replica)))),
        Known::Unreadable(reason) => lines.push(("Replicas", format!("unknown: {reason}"))),
    }
    let allowed = report.permissions.iter().filter(|one| one.allowed).count();
    let count = format!("{allowed} of {} in namespace {}", report.permissions.len(), report.namespace);
    lines.push(("Permissions", count));
    let shown = report.permissions.iter().filter(|one| wide || !one.allowed);
    lines.extend(shown.map(|one| {
        (if one.allowed { "Allowed" } else { "Missing" }, format!("{} (for {})", one.action, one.needed_by))
    }));
    lines.extend(report.problems.iter().map(|problem| ("Problem", problem.clone())));
    // Texts such as the identity of a leader come from the cluster, and may contain control characters.
    let line = |(name, text): &(&str, String)| {
        let title = format!("{:<13}", format!("{name}:"));
        let title = match *name {
            "Problem" => screen.paint(Color::Red, &title),
            "Missing" => screen.paint(Color::Yellow, &title),
            _ => title,
        };
        format!("{title}{}\n", one_line(text))
    };
    lines.iter().map(line).collect()
}

fn describe(controller: &Controller, now: Timestamp) -> String {
    let Controller { lease, leader, alive, installation, claim, renewed } = controller;
    let mut text = if *alive { "alive" } else { "not alive" }.to_owned();
    if let Some(installation) = installation {
        text += &format!(", installation {installation}");
    }
    if let Some(claim) = claim {
        text += &format!(", claim {claim}");
    }
    match leader {
        Some(leader) => text += &format!(", leader {leader}"),
        None => text += ", no leader",
    }
    text += &format!(", Lease {lease}");
    if let Some(renewed) = renewed {
        text += &format!(" renewed {} ago", span(*renewed, now));
    }
    text
}

fn of_replica(replica: &Replica) -> String {
    let Replica { pod, version, image, ready, restarts, node } = replica;
    let mut text = format!("{pod} {}", if *ready { "ready" } else { "not ready" });
    for (name, value) in [("version", version), ("image", image), ("node", node)] {
        if let Some(value) = value {
            text += &format!(", {name} {value}");
        }
    }
    if *restarts > 0 {
        text += &format!(", {restarts} {}", if *restarts == 1 { "restart" } else { "restarts" });
    }
    text
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::Lease;
    use serde_json::json;

    use super::*;

    fn lease(holder: &str, renewed: &str) -> Lease {
        let annotations =
            json!({"jobwright.dev/installation": "jobwright-system/jobwright", "jobwright.dev/claim": "all"});
        let metadata = json!({"namespace": "kube-system", "name": "jobwright", "annotations": annotations});
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn of(lease: &Lease) -> Controller {
        controller(&LeaseState::of(lease), now())
    }

    fn report() -> Report {
        Report {
            client: "jobwright 0.1.0".to_owned(),
            server: server("1", "37", "v1.37.0"),
            resources: Known::Found(vec!["jobschedules/v1beta1".to_owned()]),
            controllers: Known::Found(vec![of(&lease("a", "2026-01-01T00:59:58.000000Z"))]),
            built_in: Known::Found(None),
            replicas: Known::Found(Vec::new()),
            namespace: "default".to_owned(),
            permissions: Vec::new(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn controller_is_alive_while_its_lease_is_renewed() {
        let alive = |holder: &str, renewed: &str| of(&lease(holder, renewed)).alive;
        assert!(alive("a", "2026-01-01T00:59:50.000000Z"));
        assert!(alive("a", "2026-01-01T00:59:15.000000Z"), "clocks may differ by 30 s");
        assert!(!alive("a", "2026-01-01T00:59:14.000000Z"));
        assert!(!alive("", "2026-01-01T00:59:50.000000Z"));
    }

    #[test]
    fn leases_are_those_of_jobwright_and_of_the_built_in_controllers() {
        let mut built_in_lease = lease("b", "2026-01-01T01:00:00.000000Z");
        built_in_lease.metadata.name = Some("kube-controller-manager".to_owned());
        let found = [&lease("a", "2026-01-01T01:00:00.000000Z"), &built_in_lease].map(LeaseState::of).to_vec();
        let leases = Leases { found, unread: Some("forbidden".to_owned()), ..Leases::default() };
        let Known::Found(own) = controllers(&leases, now()) else { panic!("a Lease was read") };
        assert_eq!(own.iter().map(|one| one.leader.as_deref()).collect::<Vec<_>>(), [Some("a")]);
        let Known::Found(Some(other)) = built_in(&leases, now()) else { panic!("the Lease was read") };
        assert_eq!(other.leader.as_deref(), Some("b"));
        let unread = Leases { found: Vec::new(), unread_builtin: Some("no".to_owned()), ..leases };
        assert_eq!(controllers(&unread, now()), Known::Unreadable("forbidden".to_owned()));
        assert_eq!(built_in(&unread, now()), Known::Unreadable("no".to_owned()));
    }

    #[test]
    fn version_of_the_api_server_is_compared_with_the_supported_ones() {
        let cases = [("31", "TooOld"), ("32", "Supported"), ("37+", "Supported"), ("38", "Newer"), ("", "Unknown")];
        for (minor, support) in cases {
            assert_eq!(server("1", minor, "v").support, support, "{minor}");
        }
        assert_eq!(server("2", "0", "v").support, "Unknown");
    }

    #[test]
    fn problems_are_named() {
        assert_eq!(problems(&report()), Vec::<String>::new());
        let silent =
            Report { controllers: Known::Found(vec![of(&lease("a", "2026-01-01T00:00:00.000000Z"))]), ..report() };
        assert_eq!(problems(&silent), ["The controller a does not renew the Lease kube-system/jobwright."]);
        let none = Report { controllers: Known::Found(Vec::new()), ..report() };
        assert!(problems(&none)[0].starts_with("No controller of Jobwright is installed"));
        let both = Report { built_in: Known::Found(Some(of(&lease("b", "2026-01-01T01:00:00.000000Z")))), ..report() };
        assert!(problems(&both)[0].contains("-job-controller"), "{:?}", problems(&both));
        let unknown = Report { controllers: Known::Unreadable("leases is forbidden".to_owned()), ..report() };
        assert_eq!(
            problems(&unknown),
            ["It is unknown whether a controller of Jobwright is alive: leases is forbidden."]
        );
    }

    #[test]
    fn report_is_printed_line_by_line() {
        let permissions = ["get jobs", "list pods"].map(|action| Allowed {
            action: action.to_owned(),
            needed_by: "explain",
            allowed: action == "get jobs",
        });
        let pod = json!({
            "metadata": {"namespace": "jobwright-system", "name": "jobwright-1", "labels": {"app.kubernetes.io/version": "0.1.0"}},
            "spec": {"nodeName": "n", "containers": [{"name": "jobwright", "image": "i:0.1.0"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        let replicas = Known::Found(vec![replica(&serde_json::from_value(pod).unwrap())]);
        let report = Report { permissions: permissions.to_vec(), replicas, ..report() };
        let expected = "\
Client:      jobwright 0.1.0
API server:  v1.37.0 (supported)
Resources:   jobschedules/v1beta1
Controller:  alive, installation jobwright-system/jobwright, claim all, leader a, Lease kube-system/jobwright renewed 2 s ago
Built-in:    no Lease of a kube-controller-manager
Replica:     jobwright-system/jobwright-1 ready, version 0.1.0, image i:0.1.0, node n
Permissions: 1 of 2 in namespace default
Missing:     list pods (for explain)
";
        assert_eq!(text(&report, now(), false, &Screen::PLAIN), expected);
        crate::client::transcripts::assert_in_page("jobs.md", expected);
        let wide = text(&report, now(), true, &Screen::PLAIN);
        assert!(wide.contains("Allowed:     get jobs (for explain)\nMissing:     list pods (for explain)\n"), "{wide}");
        let problem = Report { problems: vec!["It fails.".to_owned()], ..report };
        let colored = text(&problem, now(), false, &Screen { color: true, ..Screen::PLAIN });
        assert!(colored.ends_with("\u{1b}[31mProblem:     \u{1b}[0mIt fails.\n"), "{colored:?}");
    }
}
