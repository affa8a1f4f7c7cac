//! The objects of the console that helm renders from the chart.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::helm::template;

const ENABLED: [&str; 2] = ["--set", "ui.enabled=true,ui.hosts={console.example.com}"];
const IMPERSONATES: [&str; 2] = ["--set", "ui.impersonate.enabled=true,ui.impersonate.secretName=proxy"];

/// Returns the objects of the console with these flags.
fn objects(flags: &[&str]) -> Result<Vec<Value>> {
    let text = template("jobwright-system", &[&ENABLED, flags].concat())?;
    let documents = text.split("\n---\n").filter(|part| part.contains("# Source: jobwright/templates/ui/"));
    documents.map(|part| serde_saphyr::from_str(part).with_context(|| format!("reading {part}"))).collect()
}

/// Returns the only object of a kind.
fn only(flags: &[&str], kind: &str) -> Result<Value> {
    let mut found: Vec<Value> = objects(flags)?.into_iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}: {found:#?}");
    found.pop().context("no object")
}

/// Returns each rule of all roles as `resources: verbs`.
fn rules(flags: &[&str]) -> Result<Vec<String>> {
    let objects = objects(flags)?;
    let list = |rule: &Value, field: &str| -> String {
        let all = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        all.collect::<Vec<_>>().join(",")
    };
    let rules = objects.iter().filter_map(|object| object["rules"].as_array()).flatten();
    Ok(rules.map(|rule| format!("{}: {}", list(rule, "resources"), list(rule, "verbs"))).collect())
}

#[test]
fn console_is_rendered_only_if_enabled() -> Result<()> {
    for flags in [&[][..], &["--set", "ui=null"], &IMPERSONATES, &["--set", "ui.hosts={console.example.com}"]] {
        let text = template("jobwright-system", flags)?;
        assert!(!text.contains("jobwright-ui") && !text.contains("templates/ui"), "{flags:?}");
    }
    let kinds = |flags: &[&str]| -> Result<Vec<String>> {
        let mut kinds: Vec<String> =
            objects(flags)?.iter().filter_map(|object| object["kind"].as_str().map(str::to_owned)).collect();
        kinds.sort();
        Ok(kinds)
    };
    let all = ["ClusterRole", "ClusterRoleBinding", "Deployment", "NetworkPolicy", "Service", "ServiceAccount"];
    assert_eq!(kinds(&[])?, all);
    assert_eq!(kinds(&["--set", "rbac.create=false"])?, ["Deployment", "NetworkPolicy", "Service", "ServiceAccount"]);
    let none = ["--set", "networkPolicy.enabled=false,ui.serviceAccount.create=false"];
    assert_eq!(kinds(&none)?, ["ClusterRole", "ClusterRoleBinding", "Deployment", "Service"]);
    // The objects of the controller are those of an installation without the console.
    let without_ui = |flags: &[&str]| -> Result<String> {
        let text = template("jobwright-system", &[&["--no-hooks"], flags].concat())?;
        let parts = text.split("---\n").filter(|part| !part.contains("# Source: jobwright/templates/ui/"));
        Ok(parts.map(str::trim).collect::<Vec<_>>().join("\n---\n"))
    };
    assert_eq!(without_ui(&ENABLED)?, without_ui(&[])?);
    Ok(())
}

#[test]
fn console_has_a_service_account_with_the_permissions_of_its_caches_alone() -> Result<()> {
    let caches = ["jobs,cronjobs: list,watch", "jobschedules,calendars,joblimits: list,watch"];
    assert_eq!(rules(&[])?, caches);
    let impersonates = [&caches[..], &["users: impersonate", "groups: impersonate"]].concat();
    assert_eq!(rules(&IMPERSONATES)?, impersonates);
    let names = ["--set", "ui.impersonate.users={jane},ui.impersonate.groups={dev,ops}"];
    let named = objects(&[IMPERSONATES, names].concat())?;
    let roles: Vec<&Value> = named.iter().filter(|object| object["kind"] == "ClusterRole").collect();
    assert_eq!(roles[1]["rules"][0]["resourceNames"], json!(["jane"]));
    assert_eq!(roles[1]["rules"][1]["resourceNames"], json!(["dev", "ops"]));
    let account = only(&[], "ServiceAccount")?["metadata"]["name"].take();
    assert_eq!(account, "jobwright-ui");
    for object in objects(&IMPERSONATES)?.iter().filter(|object| object["kind"] == "ClusterRoleBinding") {
        assert_eq!(object["subjects"][0]["name"], account);
    }
    let here = objects(&["--set", "namespace=here"])?;
    assert!(here.iter().all(|object| object["kind"] != "ClusterRole"), "{here:#?}");
    let roles: Vec<&Value> = here.iter().filter(|object| object["kind"] == "Role").collect();
    assert!(roles.len() == 1 && roles[0]["metadata"]["namespace"] == "here", "{roles:#?}");
    Ok(())
}

#[test]
fn pod_of_the_console_is_confined_as_that_of_the_controller() -> Result<()> {
    let deployment = only(&[], "Deployment")?;
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"].as_str().and_then(|image| image.split(':').next()), Some("jobwright-ui"));
    let args: Vec<&str> = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(args, ["ui", "--in-cluster", "--listen=0.0.0.0:8080", "--hosts=console.example.com"]);
    let confined =
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    assert_eq!(container["securityContext"], confined);
    assert!(pod["securityContext"]["runAsNonRoot"] == true && pod["securityContext"]["runAsUser"] == 65532);
    assert!(pod["volumes"].is_null() && container["volumeMounts"].is_null());
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    // Neither the Service nor the network policy of the controller selects the pods of the console.
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], "jobwright-ui");
    let more = ["--set", "ui.readOnly=true,namespace=here,ui.image.digest=", "--set", "ui.address=[::]"];
    let container =
        only(&[&more[..], &IMPERSONATES].concat(), "Deployment")?["spec"]["template"]["spec"]["containers"][0].take();
    for arg in [
        "--listen=[::]:8080",
        "--namespace=here",
        "--read-only",
        "--impersonate",
        "--proxy-secret-file=/etc/jobwright/proxy/secret",
        "--proxy-secret-header=X-Jobwright-Proxy-Secret",
        "--user-header=X-Forwarded-User",
        "--groups-header=X-Forwarded-Groups",
    ] {
        assert!(container["args"].as_array().is_some_and(|args| args.contains(&json!(arg))), "{arg}: {container:#}");
    }
    let pod = only(&IMPERSONATES, "Deployment")?["spec"]["template"]["spec"].take();
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "proxy");
    Ok(())
}

#[test]
fn network_policy_of_the_console_admits_the_named_peers() -> Result<()> {
    let policy = only(&[], "NetworkPolicy")?;
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"], "jobwright-ui");
    assert_eq!(policy["spec"]["egress"], json!([{"ports": [{"port": 443}, {"port": 6443}]}]));
    assert!(policy["spec"]["ingress"][0]["from"].is_null());
    let from = ["--set", "ui.from[0].podSelector.matchLabels.app=oauth2-proxy"];
    let policy = only(&from, "NetworkPolicy")?;
    let peer = json!([{"podSelector": {"matchLabels": {"app": "oauth2-proxy"}}}]);
    assert_eq!(policy["spec"]["ingress"][0]["from"], peer);
    Ok(())
}

#[test]
fn invalid_values_of_the_console_are_rejected_by_name() -> Result<()> {
    let cases: [(&[&str], &str); 9] = [
        (&["--set", "ui.enabled=true"], "ui.hosts is empty"),
        (&["--set", "ui.enabled=yes-please"], "/ui/enabled"),
        (&["--set", "ui.replica=2"], "replica"),
        (&["--set", "ui.hosts={https://console.example.com}"], "/ui/hosts/0"),
        (&["--set", "ui.impersonate.userHeader=a b"], "/ui/impersonate/userHeader"),
        (&["--set", "ui.impersonate.groups={system:masters}"], "/ui/impersonate/groups/0"),
        (&["--set", "ui.impersonate.users={system:admin}"], "/ui/impersonate/users/0"),
        (&["--set", "ui.port=80"], "/ui/port"),
        (&[ENABLED[0], ENABLED[1], "--set", "ui.impersonate.enabled=true"], "ui.impersonate.secretName is empty"),
    ];
    for (flags, named) in cases {
        let error = template("jobwright-system", flags).err().with_context(|| format!("helm accepted {flags:?}"))?;
        assert!(error.to_string().contains(named), "{flags:?}: {error}");
    }
    Ok(())
}
