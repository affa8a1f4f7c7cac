//! The console in the cluster against a real API server: two tenants with tokens of service accounts, and users that the
//! console impersonates. The console itself has exactly the permissions that the chart grants.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use testbed::permissions::grant_ui;
use testbed::process::Process;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::*;
use crate::ui::{Live, Page, request};

const HOST: (&str, &str) = ("Host", "console.example.com");
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A running `jobwright ui --in-cluster` process.
struct Console {
    address: String,
    _process: Process,
    dir: tempfile::TempDir,
}

impl Console {
    /// Starts a console that reads with these permissions.
    async fn start(kubeconfig: &Path, dir: tempfile::TempDir, flags: &[&str]) -> Result<Self> {
        let mut args = vec!["ui".to_owned(), "--in-cluster".to_owned(), "--listen=127.0.0.1:0".to_owned()];
        args.extend([format!("--hosts={}", HOST.1), format!("--kubeconfig={}", kubeconfig.display())]);
        args.extend(flags.iter().map(|&flag| flag.to_owned()));
        let program = Path::new(env!("CARGO_BIN_EXE_jobwright"));
        let process = Process::start("ui", dir.path(), program, &args)?;
        let address = until("the address of the console", || async {
            let log = process.log_tail(20);
            let address = log.lines().find_map(|line| line.strip_prefix("The console listens on "));
            Ok(address.map(str::to_owned).ok_or(log.clone()))
        })
        .await?;
        let console = Self { address, _process: process, dir };
        until("the console to be ready", || async {
            // The kubelet sends the address of the pod.
            let page = request(&console.address, "GET", "/readyz", &[("Host", &console.address)]).await?;
            Ok(if page.status == 200 { Ok(()) } else { Err(page.body) })
        })
        .await?;
        Ok(console)
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Page> {
        request(&self.address, "GET", path, &[&[HOST], headers].concat()).await
    }

    /// Waits until a page contains a text, and returns the page.
    async fn page_with(&self, path: &str, text: &str, headers: &[(&str, &str)]) -> Result<String> {
        until(&format!("{text} in {path}"), || async {
            let page = self.get(path, headers).await?;
            Ok(if page.status == 200 && page.body.contains(text) { Ok(page.body) } else { Err(page.body) })
        })
        .await
    }

    async fn live(&self, path: &str, token: &str) -> Result<Live> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let path: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
        let text = format!("GET /live?path={path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {token}\r\n\r\n", HOST.1);
        stream.write_all(text.as_bytes()).await?;
        Ok(Live(BufReader::new(stream)))
    }
}

/// Returns the rules of a user who may read Jobs, pods and events.
fn reader() -> Value {
    json!([
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["get", "list"]},
    ])
}

/// Grants the permissions of these rules in the namespace of the scene.
pub(super) async fn grant(scene: &Scene, rules: Value, subject: Value) -> Result<()> {
    let (roles, bindings): (Api<Role>, Api<RoleBinding>) = (
        Api::namespaced(scene.client.clone(), &scene.namespace),
        Api::namespaced(scene.client.clone(), &scene.namespace),
    );
    let role = serde_json::from_value(json!({"metadata": {"name": "tenant"}, "rules": rules}))?;
    roles.create(&PostParams::default(), &role).await?;
    let binding = serde_json::from_value(json!({
        "metadata": {"name": "tenant"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
        "subjects": [subject],
    }))?;
    bindings.create(&PostParams::default(), &binding).await?;
    Ok(())
}

/// Returns the header `Authorization` of a new service account that may read the namespace of the scene.
async fn token(scene: &Scene) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": "tenant"}}))?;
    accounts.create(&PostParams::default(), &account).await?;
    grant(scene, reader(), json!({"kind": "ServiceAccount", "name": "tenant", "namespace": scene.namespace})).await?;
    let asked: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}}))?;
    let answer = accounts.create_token_request("tenant", &PostParams::default(), &asked).await?;
    let token = answer.status.and_then(|status| status.token).context("no token")?;
    Ok(format!("Bearer {token}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_with_tokens_see_nothing_of_each_other() -> Result<()> {
    let a = Scene::without_controller("ui-tokens-a", &[]).await?;
    let b = Scene::without_controller("ui-tokens-b", &[]).await?;
    if a.cluster.control.is_none() {
        testbed::skipped!("a given cluster issues no certificates for test users");
        return Ok(());
    }
    a.create("alpha", json!({})).await?;
    b.create("bravo", json!({})).await?;
    let dir = tempfile::tempdir()?;
    let user = format!("{}-console", a.namespace);
    let kubeconfig = grant_ui(a.cluster, &user, dir.path(), false).await?;
    let console = Console::start(&kubeconfig, dir, &[]).await?;
    let (token_a, token_b) = (token(&a).await?, token(&b).await?);
    for (token, own, name, other, hidden) in [
        (&token_a, &a, "alpha", &b, "bravo"),
        (&token_b, &b, "bravo", &a, "alpha"),
        (&token_a, &a, "alpha", &b, "bravo"),
    ] {
        let signed_in = [("Authorization", token.as_str())];
        let jobs = console.page_with("/jobs", &format!("{name}</a>"), &signed_in).await?;
        assert!(jobs.contains("1 Jobs"), "{jobs}");
        let job = format!("/jobs/{}/{name}", own.namespace);
        let tabs = [job.clone(), format!("{job}?tab=pods"), format!("{job}?tab=logs"), format!("{job}?tab=yaml")];
        let lists =
            ["/", "/jobs", "/jobs?q=a", "/jobs?state=waiting", "/jobs?sort=-namespace", "/jobs?page=9", "/nothing"];
        for path in lists.into_iter().map(str::to_owned).chain(tabs) {
            let page = console.get(&path, &signed_in).await?;
            let is_foreign = page.body.contains(&other.namespace) || page.body.contains(&format!("{hidden}</a>"));
            assert!(!is_foreign, "{path} of {name}: {}", page.body);
        }
        assert_eq!(console.get(&job, &signed_in).await?.status, 200);
        let logs = |part: &str| format!("/logs/{part}?namespace={}&name={hidden}", other.namespace);
        let (job_of_other, jobs) =
            (format!("/jobs/{}/{hidden}", other.namespace), format!("/jobs?namespace={}", other.namespace));
        for path in [job_of_other, jobs, logs("live"), logs("download")] {
            let page = console.get(&path, &signed_in).await?;
            assert!(page.status == 403 && !page.body.contains(&format!("{hidden}</a>")), "{path}: {}", page.body);
        }
        let origin = format!("https://{}", HOST.1);
        let headers = [HOST, signed_in[0], ("Origin", origin.as_str()), ("Content-Length", "0")];
        let posted =
            request(&console.address, "POST", &format!("/jobs/{}/{hidden}/delete", other.namespace), &headers).await?;
        assert!((400..500).contains(&posted.status), "{}", posted.body);
    }
    assert!(b.jobs.get_opt("bravo").await?.is_some());
    let (mut live_a, mut live_b) = (console.live("/jobs", &token_a).await?, console.live("/jobs", &token_b).await?);
    live_a.until("</main>", Duration::from_secs(5)).await?;
    live_b.until("</main>", Duration::from_secs(5)).await?;
    b.create("bravo-two", json!({})).await?;
    let read = live_b.until("bravo-two</a>", Duration::from_secs(2)).await?;
    assert!(!read.contains("alpha"), "{read}");
    let silent = live_a.until("event: main", Duration::from_secs(1)).await;
    assert!(silent.is_err(), "{silent:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn request_without_an_accepted_token_is_refused_on_every_path() -> Result<()> {
    let scene = Scene::without_controller("ui-no-token", &[]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("a given cluster issues no certificates for test users");
        return Ok(());
    }
    scene.create("alpha", json!({})).await?;
    // The console has a client certificate of an administrator, which no request of a user may use.
    let administrator = scene.cluster.kubeconfig.clone();
    let console = Console::start(&administrator, tempfile::tempdir()?, &[]).await?;
    let token = token(&scene).await?;
    let (rest, signature) = token.rsplit_once('.').context("no signature")?;
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{rest}.{first}{}", &signature[1..]);
    let job = format!("/jobs/{}/alpha", scene.namespace);
    for path in ["/", "/jobs", &job, "/live?path=%2Fjobs", "/login?token=x"] {
        for headers in [&[][..], &[("Authorization", forged.as_str())], &[("Authorization", "Bearer x")]] {
            let page = console.get(path, headers).await?;
            assert!(
                page.status == 401 && page.head.contains("www-authenticate: bearer"),
                "{path} {headers:?}: {}",
                page.head
            );
            assert!(!page.body.contains("alpha") && page.body.contains("token"), "{}", page.body);
        }
    }
    let own = [("Authorization", token.as_str())];
    console.page_with("/jobs", "alpha</a>", &own).await?;
    let other = console.get("/jobs/kube-system/alpha", &own).await?;
    assert!(other.status == 403, "the permissions are those of the token: {}", other.body);
    let forged = [own[0], ("Impersonate-User", "admin"), ("Impersonate-Group", "system:masters")];
    assert_eq!(console.get("/jobs/kube-system/alpha", &forged).await?.status, 403);
    let page = request(&console.address, "GET", "/jobs", &[("Host", &console.address), own[0]]).await?;
    assert_eq!(page.status, 421, "{}", page.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_trusted_proxy_have_their_own_permissions() -> Result<()> {
    let scene = Scene::without_controller("ui-impersonate", &[]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("a given cluster issues no certificates for test users");
        return Ok(());
    }
    scene.create("alpha", json!({})).await?;
    let group = format!("{}-team", scene.namespace);
    grant(&scene, reader(), json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group})).await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n"))?;
    let user = format!("{}-console", scene.namespace);
    let kubeconfig = grant_ui(scene.cluster, &user, dir.path(), true).await?;
    let flag = format!("--proxy-secret-file={}", file.display());
    let console = Console::start(&kubeconfig, dir, &["--impersonate", &flag]).await?;
    let (secret, jane) = (("X-Jobwright-Proxy-Secret", SECRET), ("X-Forwarded-User", "jane@example.com"));
    let groups = format!("others, {group}");
    let member = [secret, jane, ("X-Forwarded-Groups", groups.as_str())];
    let jobs = console.page_with("/jobs", "alpha</a>", &member).await?;
    assert!(jobs.contains("1 Jobs"), "{jobs}");
    let job = format!("/jobs/{}/alpha", scene.namespace);
    assert_eq!(console.get(&job, &member).await?.status, 200);
    // The same user without the group, although the console itself lists all Jobs.
    for path in ["/", "/jobs", &job] {
        let page = console.get(path, &[secret, jane]).await?;
        assert!(page.status == 403 && !page.body.contains("alpha</a>"), "{path}: {}", page.body);
    }
    let cases: [(&[(&str, &str)], u16); 5] = [
        (&[], 401),
        (&[jane], 403),
        (&[jane, ("X-Jobwright-Proxy-Secret", "0123456789abcdef")], 403),
        (&[secret, jane, ("X-Forwarded-Groups", "system:masters")], 403),
        (&[secret, ("X-Forwarded-User", "system:admin")], 403),
    ];
    for (headers, status) in cases {
        let page = console.get("/jobs", headers).await?;
        assert!(page.status == status && !page.body.contains("alpha</a>"), "{headers:?}: {}", page.body);
    }
    let log = std::fs::read_dir(console.dir.path())?
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .collect::<String>();
    assert!(log.contains("refused a user or a group of the system") && log.contains("system:masters"), "{log}");
    Ok(())
}
