//! Comparison of the simulated API server with a real one: both get the same random requests, and their responses are
//! compared by status code and by the relevant fields of the object.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Method, Request};
use jobwright::job::TRACKING_FINALIZER;
use jobwright::runtime::clock::Clock;
use kube::Client;
use serde_json::{Value, json};
use testbed::Cluster;

use crate::admission::{Admission, Policy};
use crate::api::State;
use crate::checks::Checks;
use crate::faults::Faults;
use crate::patch::strings;
use crate::scenario::Scenario;
use crate::store::Store;

/// Number of request sequences that are compared; `SIMULATION_COMPARED` overrides it.
const SEQUENCES: u64 = 40;
/// Number of requests in each sequence.
const REQUESTS: usize = 60;

const JOBS: [&str; 3] = ["plain", "indexed", "held"];
const PODS: [&str; 4] = ["pod-0", "pod-1", "pod-2", "pod-3"];
const OWN_RESOURCES: [&str; 2] = ["joblimits", "jobschedules"];
const OWN: &str = "jobwright.dev/v1beta1";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// An API server, real or simulated.
enum Server {
    Real(Client),
    Simulated(Box<State>),
}

/// HTTP status code, with the object or list if it is 200, or else the message.
type Answer = (u16, Value);

/// One request, without the values that differ between the two servers, such as UIDs and versions.
#[derive(Clone, Debug)]
enum Ask {
    CreatePod {
        name: &'static str,
        owner: Option<&'static str>,
        tracked: bool,
    },
    /// Sets the phase of a pod, as a kubelet does.
    End {
        pod: &'static str,
        phase: &'static str,
    },
    Untrack {
        pod: &'static str,
        known: Known,
    },
    Adopt {
        pod: &'static str,
        job: &'static str,
        known: Known,
    },
    Release {
        pod: &'static str,
        job: &'static str,
        known: Known,
    },
    DeletePod {
        pod: &'static str,
        known: Known,
        grace: Option<i64>,
    },
    Status {
        job: &'static str,
        status: Value,
        known: Known,
    },
    CreateLease,
    ReplaceLease {
        holder: &'static str,
        known: Known,
    },
    Get {
        resource: &'static str,
        name: &'static str,
    },
    List {
        labels: &'static str,
        fields: &'static str,
    },
    DeleteJob {
        job: &'static str,
        known: Known,
        policy: &'static str,
    },
    /// Creates a JobSchedule or JobLimit. `resource` is the plural.
    CreateOwn {
        resource: &'static str,
        spec: Value,
    },
    /// Patches the status of the JobSchedule, with an annotation that must not be stored.
    ScheduleStatus {
        status: Value,
        known: Known,
    },
    DeleteOwn {
        resource: &'static str,
        known: Known,
    },
    GetOwn {
        resource: &'static str,
    },
}

/// UID and version that the sender of a request states.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Uid,
    UidAndVersion,
    /// The UID of another object.
    OtherUid,
    /// A resourceVersion that the object no longer has.
    OldVersion,
}

impl Server {
    async fn ask(&mut self, method: Method, path: &str, query: &str, kind: &str, body: &Value) -> Result<Answer> {
        match self {
            Self::Real(client) => {
                let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
                let request = Request::builder().method(method).uri(uri).header("content-type", kind);
                let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
                match client.request::<Value>(request.body(body)?).await {
                    Ok(object) => Ok((200, object)),
                    Err(kube::Error::Api(status)) => Ok((status.code, json!(status.message))),
                    Err(error) => Err(error.into()),
                }
            }
            Self::Simulated(state) => {
                let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
                let selectors = ["labelSelector", "fieldSelector"].map(|name| value(name).unwrap_or_default());
                // The invariants do not apply to random requests: fresh checks for each request discard every breach.
                state.checks = Checks::new(&Scenario::plain(0));
                Ok(match state.handle(&method, path, selectors.into(), body) {
                    Ok(object) => (200, object),
                    Err(refusal) => (refusal.0, json!(refusal.1)),
                })
            }
        }
    }

    /// Returns the stored object; null if there is none.
    async fn now(&mut self, path: &str) -> Result<Value> {
        let (code, object) = self.ask(Method::GET, path, "", "", &Value::Null).await?;
        Ok(if code == 200 { object } else { Value::Null })
    }

    async fn carry_out(&mut self, namespace: &str, ask: &Ask) -> Result<Answer> {
        let core = format!("/api/v1/namespaces/{namespace}/pods");
        let batch = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        match ask {
            Ask::CreatePod { name, owner, tracked } => {
                let mut metadata = json!({"name": name, "labels": {"app": name}});
                if *tracked {
                    metadata["finalizers"] = json!([TRACKING_FINALIZER]);
                }
                if let Some(owner) = owner {
                    let job = self.now(&format!("{batch}/{owner}")).await?;
                    metadata["ownerReferences"] = json!([reference(&job)]);
                    metadata["labels"]["owned"] = json!("yes");
                }
                let spec = json!({
                    "restartPolicy": "Never", "nodeName": "node-0", "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "simulated"}],
                });
                let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
                self.ask(Method::POST, &core, "", "application/json", &pod).await
            }
            Ask::End { pod, phase } => {
                let path = format!("{core}/{pod}");
                if self.now(&path).await?.is_null() {
                    return Ok((404, Value::Null));
                }
                let body = json!({"status": {"phase": phase}});
                match self {
                    Self::Real(_) => self.ask(Method::PATCH, &format!("{path}/status"), "", STRATEGIC, &body).await,
                    Self::Simulated(state) => {
                        let key = ("pods", namespace.to_owned(), (*pod).to_owned());
                        state.store.change(&key, |pod| pod["status"]["phase"] = json!(phase));
                        Ok((200, state.store.get(&key).cloned().unwrap_or_default()))
                    }
                }
            }
            Ask::Untrack { pod, known } => {
                let patch = json!({"$deleteFromPrimitiveList/finalizers": [TRACKING_FINALIZER]});
                self.patch(&format!("{core}/{pod}"), "", *known, json!({"metadata": patch})).await
            }
            Ask::Adopt { pod, job, known } => {
                let job = self.now(&format!("{batch}/{job}")).await?;
                let patch = json!({"ownerReferences": [reference(&job)], "finalizers": [TRACKING_FINALIZER]});
                self.patch(&format!("{core}/{pod}"), "", *known, json!({"metadata": patch})).await
            }
            Ask::Release { pod, job, known } => {
                let job = self.now(&format!("{batch}/{job}")).await?;
                let patch = json!({
                    "ownerReferences": [{"$patch": "delete", "uid": job["metadata"]["uid"]}],
                    "$deleteFromPrimitiveList/finalizers": [TRACKING_FINALIZER],
                });
                self.patch(&format!("{core}/{pod}"), "", *known, json!({"metadata": patch})).await
            }
            Ask::Status { job, status, known } => {
                self.patch(
                    &format!("{batch}/{job}"),
                    "/status",
                    *known,
                    json!({"metadata": {"annotations": {"test": "yes"}}, "status": status}),
                )
                .await
            }
            Ask::DeletePod { pod, known, grace } => {
                let path = format!("{core}/{pod}");
                let uid = known.uid(&self.now(&path).await?);
                let mut options = json!({"preconditions": {"uid": uid}});
                if let Some(grace) = grace {
                    options["gracePeriodSeconds"] = json!(grace);
                }
                self.ask(Method::DELETE, &path, "", "application/json", &options).await
            }
            Ask::DeleteJob { job, known, policy } => {
                let path = format!("{batch}/{job}");
                let uid = known.uid(&self.now(&path).await?);
                let options = json!({"preconditions": {"uid": uid}, "propagationPolicy": policy});
                self.ask(Method::DELETE, &path, "", "application/json", &options).await
            }
            Ask::CreateLease => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lease"},
                    "spec": {"holderIdentity": "first"},
                });
                self.ask(Method::POST, &leases, "", "application/json", &lease).await
            }
            Ask::ReplaceLease { holder, known } => {
                let path = format!("{leases}/lease");
                let mut lease = self.now(&path).await?;
                if lease.is_null() {
                    lease =
                        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lease"}});
                }
                if *known == Known::OldVersion {
                    lease["metadata"]["resourceVersion"] = json!("1");
                }
                lease["spec"] = json!({"holderIdentity": holder});
                self.ask(Method::PUT, &path, "", "application/json", &lease).await
            }
            Ask::CreateOwn { resource, spec } => {
                let kind = if *resource == "joblimits" { "JobLimit" } else { "JobSchedule" };
                let object = json!({
                    "apiVersion": OWN, "kind": kind, "metadata": {"name": "own"}, "spec": spec,
                });
                self.ask(Method::POST, &own(namespace, resource, ""), "", "application/json", &object).await
            }
            Ask::ScheduleStatus { status, known } => {
                let patch = json!({"metadata": {"annotations": {"test": "yes"}}, "status": status});
                let (code, object) =
                    self.patch(&own(namespace, "jobschedules", "/own"), "/status", *known, patch).await?;
                ensure!(
                    code != 200 || object["metadata"]["annotations"]["test"].is_null(),
                    "a status patch stores an annotation"
                );
                Ok((code, object))
            }
            Ask::DeleteOwn { resource, known } => {
                let path = own(namespace, resource, "/own");
                let uid = known.uid(&self.now(&path).await?);
                let options = json!({"preconditions": {"uid": uid}, "propagationPolicy": "Background"});
                self.ask(Method::DELETE, &path, "", "application/json", &options).await
            }
            Ask::GetOwn { resource } => {
                self.ask(Method::GET, &own(namespace, resource, "/own"), "", "", &Value::Null).await
            }
            Ask::Get { resource, name } => {
                let path = if *resource == "pods" { format!("{core}/{name}") } else { format!("{batch}/{name}") };
                self.ask(Method::GET, &path, "", "", &Value::Null).await
            }
            Ask::List { labels, fields } => {
                let query: String = form_urlencoded::Serializer::new(String::new())
                    .extend_pairs([("labelSelector", labels), ("fieldSelector", fields)])
                    .finish();
                self.ask(Method::GET, &core, &query, "", &Value::Null).await
            }
        }
    }

    async fn patch(&mut self, path: &str, sub: &str, known: Known, mut patch: Value) -> Result<Answer> {
        let now = self.now(path).await?;
        patch["metadata"]["uid"] = known.uid(&now);
        match known {
            Known::UidAndVersion => {
                patch["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
            }
            Known::OldVersion => patch["metadata"]["resourceVersion"] = json!("1"),
            Known::Uid | Known::OtherUid => {}
        }
        let kind = if sub.is_empty() { STRATEGIC } else { MERGE };
        self.ask(Method::PATCH, &format!("{path}{sub}"), "", kind, &patch).await
    }
}

impl Known {
    fn uid(self, object: &Value) -> Value {
        match self {
            Self::OtherUid => json!("7d9a2f6e-0000-4000-8000-000000000000"),
            // Without a stored object, there is no UID to state.
            _ => object["metadata"]["uid"].clone(),
        }
    }
}

/// Returns the request path of a custom resource of Jobwright.
fn own(namespace: &str, resource: &str, rest: &str) -> String {
    format!("/apis/{OWN}/namespaces/{namespace}/{resource}{rest}")
}

/// Returns an owner reference to a controlling Job.
fn reference(job: &Value) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Returns the parts of a response that both servers must have in common.
fn plain((code, object): &Answer) -> Value {
    if *code != 200 {
        return json!({"code": code});
    }
    if let Some(items) = object["items"].as_array() {
        let mut items: Vec<Value> = items.iter().map(|item| plain(&(200, item.clone()))).collect();
        items.sort_by_key(|item| item["name"].to_string());
        return json!({"items": items});
    }
    let metadata = &object["metadata"];
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let owners: Vec<&Value> = owners.map(|owner| &owner["name"]).collect();
    let mut finalizers = strings(&metadata["finalizers"]);
    finalizers.sort();
    let mut status = object["status"].clone();
    if object["kind"] == "Pod" || status["phase"].is_string() {
        status = status["phase"].clone();
    } else {
        prune(&mut status);
    }
    // The response to a DELETE that removes the object is a Status.
    let name = if object["kind"] == "Status" { &object["details"]["name"] } else { &metadata["name"] };
    if object["kind"] == "Status" {
        return json!({"name": name, "gone": true});
    }
    json!({
        "name": name, "owners": owners, "finalizers": finalizers, "status": status,
        "deleting": !metadata["deletionTimestamp"].is_null(),
        "grace": metadata["deletionGracePeriodSeconds"],
        "holder": object["spec"]["holderIdentity"],
        "own": defaults(object),
    })
}

/// Returns the fields of a custom resource's spec that can have a default.
fn defaults(object: &Value) -> Value {
    let fields = ["catchUp", "concurrencyPolicy", "historyLimit", "suspend", "maxActiveJobs", "maxActivePods"];
    match object["kind"].as_str() {
        Some("JobSchedule" | "JobLimit") => fields.map(|field| object["spec"][field].clone()).into_iter().collect(),
        _ => Value::Null,
    }
}

/// Removes fields that are null, empty or 0, because both servers may omit them.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|_, value| {
                !matches!(value, Value::Null) && *value != json!({}) && *value != json!([]) && *value != json!(0)
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Draws a sequence of requests.
fn asks(random: &mut fastrand::Rng) -> Vec<Ask> {
    let mut asks: Vec<Ask> = (0..REQUESTS).map(|_| ask(random)).collect();
    // The deletion of the Job comes last, because the garbage collector of the real cluster acts on it.
    asks.push(Ask::DeleteJob {
        job: JOBS[random.usize(0..JOBS.len())],
        known: known(random),
        policy: ["Background", "Foreground", "Orphan"][random.usize(0..3)],
    });
    asks
}

fn known(random: &mut fastrand::Rng) -> Known {
    [Known::Uid, Known::Uid, Known::UidAndVersion, Known::UidAndVersion, Known::OtherUid, Known::OldVersion]
        [random.usize(0..6)]
}

fn ask(random: &mut fastrand::Rng) -> Ask {
    let (pod, job) = (PODS[random.usize(0..PODS.len())], JOBS[random.usize(0..JOBS.len())]);
    let known = known(random);
    match random.u32(0..26) {
        20 => Ask::CreateOwn { resource: "joblimits", spec: limit(random) },
        21 => Ask::CreateOwn { resource: "jobschedules", spec: schedule(random) },
        22 | 23 => Ask::ScheduleStatus { status: schedule_status(random), known },
        24 => Ask::DeleteOwn { resource: OWN_RESOURCES[random.usize(0..2)], known },
        25 => Ask::GetOwn { resource: OWN_RESOURCES[random.usize(0..2)] },
        0..=2 => Ask::CreatePod { name: pod, owner: random.bool().then_some(job), tracked: random.bool() },
        3 => Ask::End { pod, phase: ["Running", "Succeeded", "Failed"][random.usize(0..3)] },
        4 | 5 => Ask::Untrack { pod, known },
        6 => Ask::Adopt { pod, job: "plain", known },
        7 => Ask::Release { pod, job: "plain", known },
        8 | 9 => Ask::DeletePod { pod, known, grace: [None, Some(0), Some(7)][random.usize(0..3)] },
        10 => Ask::CreateLease,
        11 => Ask::ReplaceLease { holder: ["one", "other"][random.usize(0..2)], known },
        12 => Ask::Get { resource: ["pods", "jobs"][random.usize(0..2)], name: if random.bool() { pod } else { job } },
        13 => Ask::List {
            labels: ["", "app=pod-0", "owned", "!owned", "owned=yes,app=pod-1"][random.usize(0..5)],
            fields: ["", "spec.restartPolicy!=Always", "status.phase=Succeeded"][random.usize(0..3)],
        },
        _ => Ask::Status { job, status: status(random), known: if random.u32(0..4) == 0 { known } else { Known::Uid } },
    }
}

/// Draws a valid or invalid spec of a JobLimit.
fn limit(random: &mut fastrand::Rng) -> Value {
    let mut limit = json!({});
    for field in ["maxActiveJobs", "maxActivePods"] {
        if random.bool() {
            limit[field] = random.i32(-1..3).into();
        }
    }
    limit
}

/// Draws a valid or invalid spec of a JobSchedule.
fn schedule(random: &mut fastrand::Rng) -> Value {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "simulated"}]}});
    let mut schedule = json!({"schedules": ["* * * * *"], "jobTemplate": {"spec": {"template": template}}});
    let optional = [
        ("schedules", json!([[].as_slice(), &["@daily"]][random.usize(0..2)])),
        ("concurrencyPolicy", json!(["Allow", "Forbid", "Queue"][random.usize(0..3)])),
        ("catchUp", json!(["Latest", "All"][random.usize(0..2)])),
        ("maxCatchUp", json!(5)),
        ("maxActive", json!(2)),
        ("jobTemplate", json!({"spec": {}})),
    ];
    for (field, value) in optional {
        if random.u32(0..4) == 0 {
            schedule[field] = value;
        }
    }
    schedule
}

fn schedule_status(random: &mut fastrand::Rng) -> Value {
    let time = json!(["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"][random.usize(0..2)]);
    json!({
        "activeCount": random.i32(0..3),
        "lastScheduleTime": if random.bool() { time.clone() } else { Value::Null },
        "history": [{"job": "own-1", "outcome": "Succeeded", "finished": time}],
    })
}

/// Draws some fields of a Job status, both likely and unlikely values.
fn status(random: &mut fastrand::Rng) -> Value {
    let mut status = serde_json::Map::new();
    for _ in 0..random.usize(1..5) {
        let small = json!(random.i32(0..4));
        let time = json!(["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"][random.usize(0..2)]);
        let indexes = json!(["0", "1", "0,1", "2"][random.usize(0..4)]);
        let (field, value) = match random.u32(0..12) {
            0 | 1 => ("active", small),
            2 => ("ready", small),
            3 => ("terminating", small),
            4 => ("succeeded", small),
            5 => ("failed", small),
            6 => ("startTime", time),
            7 => ("completionTime", if random.bool() { time } else { Value::Null }),
            8 => ("completedIndexes", indexes),
            9 => ("failedIndexes", indexes),
            10 => {
                let list = |random: &mut fastrand::Rng| {
                    json!([[].as_slice(), &["a"], &["a", "b"], &["a", "a"]][random.usize(0..4)])
                };
                ("uncountedTerminatedPods", json!({"succeeded": list(random), "failed": list(random)}))
            }
            _ => ("conditions", conditions(random)),
        };
        status.insert(field.to_owned(), value);
    }
    Value::Object(status)
}

fn conditions(random: &mut fastrand::Rng) -> Value {
    let sets: [&[&str]; 9] = [
        &[],
        &["Suspended"],
        &["SuccessCriteriaMet"],
        &["FailureTarget"],
        &["SuccessCriteriaMet", "Complete"],
        &["FailureTarget", "Failed"],
        &["Complete"],
        &["Failed"],
        &["SuccessCriteriaMet", "FailureTarget"],
    ];
    let types = sets[random.usize(0..sets.len())].iter();
    types.map(|type_| json!({"type": type_, "status": "True", "reason": "R", "message": "m"})).collect()
}

/// Returns the Jobs that the requests refer to.
fn jobs() -> [(&'static str, Value); 3] {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "simulated"}]}});
    [
        ("plain", json!({"completions": 3, "parallelism": 2, "template": template})),
        (
            "indexed",
            json!({
                "completions": 3, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
                "template": template,
            }),
        ),
        ("held", json!({"completions": 3, "parallelism": 2, "suspend": true, "template": template})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_and_real_api_server_give_equal_responses_to_random_requests() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let compared = crate::number("SIMULATION_COMPARED", SEQUENCES);
    let (mut refused, mut accepted) = (0, 0);
    for seed in 0..compared {
        let random = &mut fastrand::Rng::with_seed(seed);
        let namespace = cluster.namespace("compared").await?;
        let state = state(random.clone());
        let mut servers = [Server::Real(cluster.client().await?), Server::Simulated(Box::new(state))];
        let batch = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
        for (name, spec) in jobs() {
            // `managedBy` keeps every controller from changing the Job.
            let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec});
            job["spec"]["managedBy"] = json!("example.com/none");
            for server in &mut servers {
                let (code, answer) = server.ask(Method::POST, &batch, "", "application/json", &job).await?;
                ensure!(code == 200, "{code} {answer}");
            }
        }
        let mut history = Vec::new();
        for ask in asks(random) {
            let mut answers = Vec::new();
            for server in &mut servers {
                answers
                    .push(server.carry_out(&namespace, &ask).await.with_context(|| format!("seed {seed}: {ask:?}"))?);
            }
            let plain: Vec<Value> = answers.iter().map(plain).collect();
            let real = answers[0].0;
            *(if real == 200 { &mut accepted } else { &mut refused }) += 1;
            history.push(format!("{real} {ask:?}"));
            ensure!(
                plain[0] == plain[1],
                "seed {seed}: the real API server responds {} ({}), the simulated one {} ({}), after\n{}",
                plain[0],
                answers[0].1,
                plain[1],
                answers[1].1,
                history.join("\n")
            );
        }
        cluster.delete_namespace(&namespace).await?;
    }
    println!("{accepted} requests accepted and {refused} refused, equally by both servers");
    ensure!(
        refused > 100 && accepted > 500 || compared < SEQUENCES,
        "{accepted} requests accepted and {refused} refused: too few of one kind"
    );
    Ok(())
}

/// Compares the responses to a write that a policy refuses: the status code, and that the message contains the text of
/// the policy's author.
#[tokio::test(flavor = "multi_thread")]
async fn refusal_by_a_policy_has_the_code_and_message_of_the_real_api_server() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("refused").await?;
    let mut real = Server::Real(cluster.client().await?);
    let mut simulated = Server::Simulated(Box::new(state(fastrand::Rng::with_seed(0))));
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    for (number, code, reason) in [(0, 422, "Invalid"), (1, 403, "Forbidden")] {
        let forbidden = Policy { number, target: ("create", "pods", ""), code };
        let name = format!("{namespace}-{number}");
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                }]},
                "validations": [{"expression": "false", "message": forbidden.message(), "reason": reason}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
            },
        });
        for (path, object) in [(policies, policy), (bindings, binding)] {
            let (code, answer) = real.ask(Method::POST, path, "", "application/json", &object).await?;
            ensure!(code == 200, "{code} {answer}");
        }
        let Server::Simulated(state) = &mut simulated else { unreachable!() };
        state.admission.policies = vec![forbidden.clone()];
        let ask = Ask::CreatePod { name: "pod-0", owner: None, tracked: false };
        // A policy takes effect with a delay after its creation, and ends with a delay after its deletion.
        let mut answer = real.carry_out(&namespace, &ask).await?;
        for _ in 0..100 {
            if answer.0 == forbidden.code {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            let other = Ask::DeletePod { pod: "pod-0", known: Known::Uid, grace: Some(0) };
            real.carry_out(&namespace, &other).await?;
            answer = real.carry_out(&namespace, &ask).await?;
        }
        let same = simulated.carry_out(&namespace, &ask).await?;
        for (code, text) in [&answer, &same] {
            ensure!(*code == forbidden.code, "status code {code} ({text}), expected {}", forbidden.code);
            ensure!(
                text.as_str().is_some_and(|text| text.contains(&forbidden.message())),
                "the message lacks the policy's text: {text}"
            );
        }
        for path in [bindings, policies] {
            real.ask(Method::DELETE, &format!("{path}/{name}"), "", "application/json", &Value::Null).await?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    cluster.delete_namespace(&namespace).await
}

/// Returns a simulated API server without faults.
fn state(random: fastrand::Rng) -> State {
    State {
        store: Store::new(Clock::system()),
        checks: Checks::new(&Scenario::plain(0)),
        faults: Faults::default(),
        random,
        unavailable: false,
        quota: false,
        admission: Admission::default(),
        paused_watches: BTreeMap::new(),
        unanswered: Vec::new(),
        http1: false,
        faults_made: 0,
        requests: 0,
        digest: 0,
        prints: false,
    }
}
