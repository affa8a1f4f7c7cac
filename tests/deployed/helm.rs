//! helm, and the objects that it renders from the chart.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use testbed::assets;

/// Returns the root of the source tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the folder of the chart.
pub fn chart() -> PathBuf {
    root().join("deploy/chart")
}

/// Runs helm, and returns its output whether or not helm succeeds.
pub fn try_helm<S: AsRef<OsStr>>(args: &[S]) -> Result<Output> {
    assets::ensure(&[assets::HELM])?;
    let home = std::env::temp_dir().join("jobwright-helm");
    Command::new(assets::HELM.path()?)
        .args(args)
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"))
        .output()
        .context("starting helm")
}

/// Runs helm and returns its stdout. The error of a failure contains its stderr.
pub fn helm<S: AsRef<OsStr>>(args: &[S]) -> Result<String> {
    let output = try_helm(args)?;
    if !output.status.success() {
        bail!("helm: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the objects that helm renders from the chart with these flags.
pub fn template(namespace: &str, flags: &[&str]) -> Result<String> {
    let chart = chart();
    let chart = chart.to_str().context("the path is not UTF-8")?;
    helm(&[&["template", "jobwright", chart, "--namespace", namespace], flags].concat())
}

/// Returns the error of helm for these flags.
fn refusal(flags: &[&str]) -> Result<String> {
    match template("jobwright-system", flags) {
        Ok(_) => bail!("helm accepted {flags:?}"),
        Err(error) => Ok(error.to_string()),
    }
}

#[test]
fn plain_manifest_equals_the_rendered_chart() -> Result<()> {
    let head = std::fs::read_to_string(root().join("deploy/install-head.yaml"))?;
    let rendered = format!("{head}{}", template("jobwright-system", &["--include-crds", "--no-hooks"])?);
    let stored = std::fs::read_to_string(root().join("deploy/install.yaml"))?;
    assert!(stored == rendered, "deploy/install.yaml is stale: run `make install-yaml`");
    Ok(())
}

#[test]
fn invalid_values_are_rejected_by_name() -> Result<()> {
    let cases: [(&[&str], &str); 15] = [
        (&["--set", "claim=some"], "/claim"),
        (&["--set", "replica=3"], "replica"),
        (&["--set", "replicas=-1"], "/replicas"),
        (&["--set", "replicas=two"], "/replicas"),
        (&["--set", "controllers={jobs}"], "/controllers"),
        (&["--set", "settings.concurrency=0"], "/settings/concurrency"),
        (&["--set", "settings.podFailureBackoff=ten"], "/settings/podFailureBackoff"),
        (&["--set", "namespace=My_Namespace"], "/namespace"),
        (&["--set", "otlpEndpoint=collector:4318"], "/otlpEndpoint"),
        (&["--set", "image.digest=abc"], "/image/digest"),
        (&["--set", "leaderElection.enabled=false"], "leaderElection.enabled"),
        (&["--set", "uninstall.claim=some"], "/uninstall/claim"),
        (&["--set", "uninstall.waitSeconds=-1"], "/uninstall/waitSeconds"),
        (&["--set", "uninstall.force=true"], "force"),
        (
            &["--set", "uninstall.removeFinalizers=true,leaderElection.enabled=false,replicas=1"],
            "uninstall.removeFinalizers needs leaderElection.enabled",
        ),
    ];
    for (flags, named) in cases {
        let text = refusal(flags)?;
        assert!(text.contains(named), "{flags:?}: {text}");
    }
    Ok(())
}

#[test]
fn every_value_is_in_the_schema_and_has_a_default() -> Result<()> {
    let values: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(chart().join("values.yaml"))?)?;
    let schema: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json"))?)?;
    let known: Vec<&String> = schema["properties"].as_object().context("missing properties")?.keys().collect();
    for name in values.as_object().context("missing values")?.keys() {
        assert!(known.contains(&name), "{name} is not in the schema");
    }
    for name in known.into_iter().filter(|name| *name != "global") {
        assert!(values.get(name).is_some(), "{name} is in the schema and has no default value");
    }
    Ok(())
}

#[test]
fn alerts_and_dashboards_are_rendered_unchanged_if_enabled() -> Result<()> {
    let text = template("jobwright-system", &[])?;
    assert!(!text.contains("PrometheusRule") && !text.contains("grafana_dashboard"));
    let flags = ["--set", "prometheusRule.enabled=true,grafanaDashboard.enabled=true"];
    let show = |file: &str| template("jobwright-system", &[&flags[..], &["--show-only", file]].concat());
    let source = |file: &str| std::fs::read_to_string(chart().join("monitoring").join(file)).context("no source");
    let rules = show("templates/prometheusrule.yaml")?;
    let rendered: Vec<serde_json::Value> = rules
        .split("\n---\n")
        .filter(|document| document.contains("kind:"))
        .map(|document| Ok(serde_saphyr::from_str::<serde_json::Value>(document)?["spec"].take()))
        .collect::<Result<_>>()?;
    for file in ["alerts.yaml", "workload-alerts.yaml"] {
        let rules: serde_json::Value = serde_saphyr::from_str(&source(file)?)?;
        assert!(rendered.contains(&rules), "{file} is not rendered: {rendered:#?}");
    }
    let dashboards: serde_json::Value = serde_saphyr::from_str(&show("templates/grafanadashboard.yaml")?)?;
    assert_eq!(dashboards["metadata"]["labels"]["grafana_dashboard"], "1");
    for file in ["jobwright.json", "workloads.json"] {
        let rendered: serde_json::Value = serde_json::from_str(dashboards["data"][file].as_str().context("no text")?)?;
        let source: serde_json::Value = serde_json::from_str(&source(file)?)?;
        assert_eq!(rendered, source, "{file}");
    }
    let old = ["--set", "prometheusRule=null,grafanaDashboard=null"];
    template("jobwright-system", &old).context("values of an older release")?;
    let monitor = ["--set", "serviceMonitor.enabled=true", "--show-only", "templates/servicemonitor.yaml"];
    let monitor = template("jobwright-system", &monitor)?;
    assert!(monitor.contains("honorLabels: true"), "the label namespace would be that of the pod: {monitor}");
    Ok(())
}

#[test]
fn permissions_follow_the_enabled_controllers() -> Result<()> {
    let verbs = |flags: &[&str]| -> Result<(bool, bool, bool)> {
        let text = template("jobwright-system", &[flags, &["--no-hooks"]].concat())?;
        Ok((
            text.contains("kind: ClusterRole\n"),
            text.contains("[cronjobs]"),
            text.contains("watch, patch, create, delete]"),
        ))
    };
    // Under claim=managed-by, there are no permissions on CronJobs. Without JobSchedules and retention, there are none
    // to create or delete Jobs.
    assert_eq!(verbs(&[])?, (true, false, true));
    assert_eq!(verbs(&["--set", "controllers={job}"])?, (true, false, false));
    assert_eq!(verbs(&["--set", "claim=all"])?, (true, true, true));
    assert_eq!(verbs(&["--set", "claim=all", "--set", "controllers={job}"])?, (true, false, false));
    assert_eq!(verbs(&["--set", "namespace=here"])?, (false, false, true), "permissions outside the namespace");
    let reads_logs = |flags: &[&str]| anyhow::Ok(template("jobwright-system", flags)?.contains("[pods/log]"));
    assert!(!reads_logs(&[])? && reads_logs(&["--set", "settings.logTail=5"])?);
    assert!(reads_logs(&["--set", "rbac.podLogs=true"])?);
    let policies = |flags: &[&str]| {
        anyhow::Ok(template("jobwright-system", flags)?.contains("[jobpolicies]\n    verbs: [list, watch]"))
    };
    assert!(
        policies(&["--set", "controllers={ttl}", "--set", "claim=all"])?
            && !policies(&["--set", "controllers={cronjob}", "--set", "claim=all"])?
    );
    let default = template("jobwright-system", &["--set", "settings.defaultPolicy=batch/strict"])?;
    assert!(default.contains("--default-policy=batch/strict"));
    let gangs = |flags: &[&str]| -> Result<[bool; 2]> {
        let text = template("jobwright-system", flags)?;
        let flag = text.contains("--feature-gates=WorkloadWithJob=true");
        Ok([flag, text.contains("[workloads, podgroups]\n    verbs: [get, list, watch, create, patch]")])
    };
    let gate = ["--set", "featureGates.WorkloadWithJob=true"];
    assert_eq!((gangs(&[])?, gangs(&gate)?), ([false; 2], [true; 2]));
    assert_eq!(
        gangs(&[&gate[..], &["--set", "featureGates=null"]].concat())?,
        [false; 2],
        "values of an older release"
    );
    Ok(())
}

#[test]
fn users_of_the_cluster_roles_view_edit_and_admin_have_permissions_on_the_resources() -> Result<()> {
    let roles = |flags: &[&str]| -> Result<Vec<(String, String)>> {
        let text = template("jobwright-system", flags)?;
        let documents = text.split("\n---\n").filter(|part| part.contains("rbac.authorization.k8s.io/aggregate-to-"));
        let role = |part: &str| -> Result<(String, String)> {
            let role: serde_json::Value = serde_saphyr::from_str(part)?;
            let labels = role["metadata"]["labels"].as_object().context("missing labels")?;
            let label = labels.keys().find(|key| key.contains("aggregate-to-")).context("missing label")?;
            Ok((label.rsplit('-').next().unwrap_or_default().to_owned(), role["rules"].to_string()))
        };
        documents.map(role).collect()
    };
    let all = roles(&[])?;
    assert_eq!(all.iter().map(|(role, _)| role.as_str()).collect::<Vec<_>>(), ["view", "edit", "admin"]);
    assert!(all[0].1.contains("joblimits") && all[0].1.contains("watch") && !all[0].1.contains("patch"), "{all:?}");
    assert!(
        all[1].1.contains("jobschedules") && all[1].1.contains("patch") && !all[1].1.contains("joblimits"),
        "{all:?}"
    );
    assert!(all[2].1.contains("joblimits") && all[2].1.contains("patch"), "{all:?}");
    for flags in [&["--set", "rbac.aggregate=false"], &["--set", "rbac.create=false"], &["--set", "namespace=here"]] {
        assert!(roles(flags)?.is_empty(), "{flags:?}");
    }
    Ok(())
}

/// Returns the objects of the pre-delete hook, which Helm creates before it deletes the release.
fn uninstall_hook(flags: &[&str]) -> Result<Vec<serde_json::Value>> {
    let text = template("jobwright-system", flags)?;
    let documents = text.split("\n---\n").filter(|part| part.contains("helm.sh/hook: pre-delete"));
    documents.map(|part| serde_saphyr::from_str(part).with_context(|| format!("reading {part}"))).collect()
}

#[test]
fn uninstall_check_has_permissions_of_its_own_and_no_more_than_it_needs() -> Result<()> {
    let verbs = |flags: &[&str]| -> Result<Vec<String>> {
        let objects = uninstall_hook(flags)?;
        let rules = objects.iter().filter_map(|object| object["rules"].as_array()).flatten();
        let lists = |rule: &serde_json::Value, field: &str| -> Vec<String> {
            rule[field].as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        let verbs =
            rules.map(|rule| format!("{}: {}", lists(rule, "resources").join(","), lists(rule, "verbs").join(",")));
        Ok(verbs.collect())
    };
    assert_eq!(verbs(&[])?, ["jobs: list", "pods: list", "leases: get"]);
    let removes = ["--set", "uninstall.removeFinalizers=true"];
    assert_eq!(verbs(&removes)?, ["jobs: list", "pods: list,get,patch", "leases: get,update"]);
    for flags in [&["--set", "rbac.create=false"], &["--set", "uninstall.serviceAccountName=mine"]] {
        assert_eq!(verbs(flags)?, [""; 0], "{flags:?}");
    }
    Ok(())
}

#[test]
fn uninstall_check_is_a_pod_so_that_no_job_controller_has_to_run_it() -> Result<()> {
    let pods = |flags: &[&str]| -> Result<Vec<serde_json::Value>> {
        let objects = uninstall_hook(flags)?;
        assert!(objects.iter().all(|object| object["kind"] != "Job"), "{objects:?}");
        Ok(objects.into_iter().filter(|object| object["kind"] == "Pod").collect())
    };
    let args = |flags: &[&str]| -> Result<Vec<String>> {
        let pod = pods(flags)?.pop().context("missing pod")?;
        Ok(serde_json::from_value(pod["spec"]["containers"][0]["args"].clone())?)
    };
    let has = |flags: &[&str], arg: &str| anyhow::Ok(args(flags)?.iter().any(|one| one == arg));
    assert!(has(&[], "--all-namespaces")? && has(&[], "--claim=managed-by")? && !has(&[], "--remove-finalizers")?);
    // Under claim=all, the built-in Job controller takes over the Jobs without managedBy.
    assert!(has(&["--set", "claim=all"], "--claim=managed-by")?);
    assert!(has(&["--set", "claim=all,uninstall.claim=all"], "--claim=all")?);
    assert!(has(&["--set", "namespace=here"], "--namespace=here")?);
    let waits = ["--set", "uninstall.waitSeconds=60,uninstall.removeFinalizers=true"];
    assert!(has(&waits, "--timeout=60s")? && has(&waits, "--remove-finalizers")?);
    for flags in [["--set", "uninstall.check=false"], ["--set", "claim=all,controllers={cronjob}"]] {
        assert!(pods(&flags)?.is_empty(), "{flags:?}");
    }
    Ok(())
}
