//! The console against a real API server: sign-in, every page, live updates, hostile objects, and users who may read one
//! namespace only.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use testbed::process::Process;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::*;
use crate::ui_cluster::grant;

/// A running `jobwright ui` process, and the browser that signed in.
pub(super) struct Console {
    process: Process,
    pub host: String,
    login: String,
    pub cookie: String,
    _dir: tempfile::TempDir,
}

/// Response of the console.
pub(super) struct Page {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends a request, and returns the response.
pub(super) async fn request(port: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Page> {
    request_with(port, method, path, headers, "").await
}

/// Sends a request with a body, and returns the response.
async fn request_with(port: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Page> {
    let mut stream = TcpStream::connect(port).await?;
    let length = body.len();
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n");
    headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the headers")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Page { status, head: head.to_lowercase(), body: body.to_owned() })
}

impl Console {
    /// Starts the console, and exchanges the token for a session.
    pub(super) async fn start(kubeconfig: &Path, flags: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let args: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let program = Path::new(env!("CARGO_BIN_EXE_jobwright"));
        let (process, address) = testbed::console::start(program, dir.path(), kubeconfig, &args).await?;
        let rest = address.strip_prefix("http://").context("no http address")?;
        let (host, login) = rest.split_once('/').context("no path")?;
        let mut console =
            Self { process, host: host.to_owned(), login: format!("/{login}"), cookie: String::new(), _dir: dir };
        let page = console.get(&console.login).await?;
        assert_eq!(page.status, 200, "{}", page.body);
        let cookie = page.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).context("no cookie")?;
        assert!(cookie.ends_with("; path=/; httponly; samesite=strict"), "{cookie}");
        console.cookie = cookie.split(';').next().context("no cookie")?.to_owned();
        Ok(console)
    }

    pub(super) async fn get(&self, path: &str) -> Result<Page> {
        request(&self.host, "GET", path, &[("Host", &self.host), ("Cookie", &self.cookie)]).await
    }

    /// Waits until a page contains a text, and returns the page.
    pub(super) async fn page_with(&self, path: &str, text: &str) -> Result<String> {
        until(&format!("{text} in {path}"), || async {
            let page = self.get(path).await?;
            Ok(if page.status == 200 && page.body.contains(text) { Ok(page.body) } else { Err(page.body) })
        })
        .await
    }

    /// Opens the page of an action and sends its form, as a browser does.
    pub(super) async fn confirm(&self, path: &str) -> Result<Page> {
        let page = self.get(path).await?;
        self.post(path.split('?').next().unwrap_or_default(), &confirmation(&page.body)?).await
    }

    /// Sends a form.
    pub(super) async fn post(&self, path: &str, form: &str) -> Result<Page> {
        let origin = format!("http://{}", self.host);
        let headers = [("Host", &*self.host), ("Origin", &*origin), ("Cookie", &*self.cookie)];
        request_with(&self.host, "POST", path, &headers, form).await
    }

    /// Opens the live stream of a page.
    pub(super) async fn live(&self, path: &str) -> Result<Live> {
        let mut stream = TcpStream::connect(&self.host).await?;
        let path: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
        let text = format!("GET /live?path={path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", self.host, self.cookie);
        stream.write_all(text.as_bytes()).await?;
        Ok(Live(BufReader::new(stream)))
    }
}

/// Returns the fields of the form that confirms an action, as a browser sends them.
pub(super) fn confirmation(page: &str) -> Result<String> {
    let (_, form) = page.split_once("<form method=\"post\"").with_context(|| format!("no confirmation: {page}"))?;
    let form = form.split("</form>").next().unwrap_or_default();
    let mut sent = form_urlencoded::Serializer::new(String::new());
    for field in form.split("<input type=\"hidden\" name=\"").skip(1) {
        let (name, rest) = field.split_once("\" value=\"").context("no value")?;
        sent.append_pair(name, rest.split_once("\">").context("no end")?.0);
    }
    Ok(sent.finish())
}

/// Live stream of a page.
pub(super) struct Live(pub BufReader<TcpStream>);

impl Live {
    /// Reads lines until one contains the text, and returns all of them.
    pub async fn until(&mut self, text: &str, limit: Duration) -> Result<String> {
        let mut read = String::new();
        let lines = async {
            loop {
                let mut line = String::new();
                if self.0.read_line(&mut line).await? == 0 {
                    bail!("the stream ended: {read}");
                }
                read += &line;
                if line.contains(text) {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(limit, lines).await {
            Ok(result) => result.map(|()| read),
            Err(_) => bail!("no {text} in the stream after {limit:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn console_answers_its_own_browser_alone() -> Result<()> {
    let scene = Scene::without_controller("ui-session", &[]).await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("the user of a given cluster may have no kubeconfig file");
        return Ok(());
    };
    scene.create("a", json!({})).await?;
    let console = Console::start(&control.kubeconfig, &["-n", &scene.namespace, "--read-only"]).await?;
    console.page_with("/jobs", "<th scope=\"row\">").await?;
    let again = request(&console.host, "GET", &console.login, &[("Host", &console.host)]).await?;
    assert!(again.status == 403 && again.body.contains("used before"), "{}", again.body);
    let (own, cookie) = (("Host", console.host.as_str()), ("Cookie", console.cookie.as_str()));
    let port = console.host.split(':').next_back().context("a port")?;
    let evil = format!("rebound.example:{port}");
    for path in ["/", "/jobs", &format!("/jobs/{}/a", scene.namespace), "/live?path=%2Fjobs"] {
        assert_eq!(request(&console.host, "GET", path, &[own]).await?.status, 401, "{path}");
        assert_eq!(request(&console.host, "GET", path, &[("Host", &evil), cookie]).await?.status, 421, "{path}");
    }
    let page = console.get("/").await?;
    assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{}", page.head);
    assert!(!page.head.contains("access-control"), "{}", page.head);
    let origin = format!("http://{}", console.host);
    for (origin, text) in [("http://evil.example", "another site"), (&origin, "--read-only")] {
        let headers = [own, cookie, ("Origin", origin), ("Content-Length", "0")];
        let posted = request(&console.host, "POST", "/jobs", &headers).await?;
        assert!(posted.status == 403 && posted.body.contains(text), "{}", posted.body);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_the_jobs_of_the_cluster() -> Result<()> {
    let scene = Scene::new("ui-pages").await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("the user of a given cluster may have no kubeconfig file");
        return Ok(());
    };
    let env = json!([{"name": "TOKEN", "value": "s3cret-value"}]);
    let template =
        json!({"template": {"spec": {"containers": [{"name": "main", "image": "example.com/a:1", "env": env}]}}});
    scene.create("runs", template).await?;
    scene.create("fails", json!({"backoffLimit": 0})).await?;
    scene.create("held", json!({"suspend": true})).await?;
    let pods = scene.active("fails", 1).await?;
    scene.kubelet.fail(&pods[0], 3).await?;
    scene.condition("fails", "Failed").await?;
    let console = Console::start(&control.kubeconfig, &["-n", &scene.namespace]).await?;
    let jobs = console.page_with("/jobs", "fails").await?;
    for text in ["runs", "held", "Suspended", "Failed", "Running", "exit code 3", "3 Jobs"] {
        assert!(jobs.contains(text), "{text}: {jobs}");
    }
    for (query, shown, hidden) in [
        ("state=suspended", "held</a>", "runs</a>"),
        ("q=FAIL", "fails</a>", "runs</a>"),
        ("label=none%3Dx", "No Job passes the filters", "runs</a>"),
        ("sort=-name", "runs</a>", "No Job passes"),
    ] {
        let page = console.get(&format!("/jobs?{query}")).await?.body;
        assert!(page.contains(shown) && !page.contains(hidden), "{query}: {page}");
    }
    assert_eq!(console.get("/jobs?state=x").await?.status, 400);
    let overview = console.get("/").await?.body;
    assert!(overview.contains("Needs attention") && overview.contains("exit code 3"), "{overview}");
    let path = format!("/jobs/{}/fails", scene.namespace);
    let job = console.get(&path).await?.body;
    for text in [
        "Job fails failed",
        "Failure report",
        "BackoffLimitExceeded",
        "kubectl describe job fails",
        "Conditions and events",
    ] {
        assert!(job.contains(text), "{text}: {job}");
    }
    let pods = console.get(&format!("/jobs/{}/runs?tab=pods", scene.namespace)).await?.body;
    assert!(pods.contains("<th scope=\"row\">"), "{pods}");
    let yaml = console.get(&format!("/jobs/{}/runs?tab=yaml", scene.namespace)).await?.body;
    assert!(yaml.contains("TOKEN") && yaml.contains("(hidden)") && !yaml.contains("s3cret-value"), "{yaml}");
    for missing in [format!("/jobs/{}/none", scene.namespace), format!("{path}?tab=none"), "/nothing".to_owned()] {
        assert_eq!(console.get(&missing).await?.status, 404, "{missing}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_page_is_updated_within_a_second() -> Result<()> {
    let scene = Scene::without_controller("ui-live", &[]).await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("the user of a given cluster may have no kubeconfig file");
        return Ok(());
    };
    scene.create("first", json!({})).await?;
    let mut console = Console::start(&control.kubeconfig, &["-n", &scene.namespace]).await?;
    console.page_with("/jobs", "first").await?;
    let mut live = console.live("/jobs").await?;
    live.until("first", Duration::from_secs(5)).await?;
    for name in ["second", "third"] {
        let begin = Instant::now();
        scene.create(name, json!({})).await?;
        let read = live.until(&format!("{name}</a>"), Duration::from_secs(5)).await?;
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        assert!(read.contains("event: main"), "{read}");
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    console.process.signal(rustix::process::Signal::INT);
    let status = tokio::task::block_in_place(|| console.process.stop(Duration::from_secs(5)))?;
    assert!(status.success(), "{status}: an open stream does not delay the end");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_objects_do_not_change_a_page() -> Result<()> {
    let scene = Scene::without_controller("ui-hostile", &[]).await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("the user of a given cluster may have no kubeconfig file");
        return Ok(());
    };
    let hostile = "<script>alert(1)</script>\u{202e}\u{1b}[2J\r\n\r\nevent: x";
    let mut job: Job = job("hostile", json!({}))?;
    let report = json!({"pod": hostile, "container": hostile, "message": hostile, "exitCode": 1, "log": [hostile]});
    job.metadata.annotations = Some([("jobwright.dev/failure".to_owned(), report.to_string())].into());
    scene.jobs.create(&PostParams::default(), &job).await?;
    let now = jiff::Timestamp::now().to_string();
    let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": "Hostile", "message": hostile, "lastTransitionTime": now});
    let begin = json!({"status": {"startTime": now, "conditions": [condition("FailureTarget")]}});
    let end = json!({"status": {"conditions": [condition("FailureTarget"), condition("Failed")]}});
    for status in [begin, end] {
        scene.jobs.patch_status("hostile", &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    let console = Console::start(&control.kubeconfig, &["-n", &scene.namespace]).await?;
    console.page_with("/jobs", "Failed (1)").await?;
    let path = format!("/jobs/{}/hostile", scene.namespace);
    let pages =
        ["/".to_owned(), "/jobs".to_owned(), path.clone(), format!("{path}?tab=pods"), format!("{path}?tab=yaml")];
    for page in pages {
        let Page { status, body, .. } = console.get(&page).await?;
        assert_eq!(status, 200, "{body}");
        for raw in ["<script>alert", "\u{202e}", "\u{1b}"] {
            assert!(!body.contains(raw), "{page}: {raw:?}");
        }
    }
    let mut live = console.live(&path).await?;
    let event = live.until("</main>", Duration::from_secs(5)).await?;
    assert!(!event.lines().any(|line| line.starts_with("event: x")) && !event.contains("<script>alert"), "{event}");
    Ok(())
}

/// Returns the kubeconfig of a user who may read Jobs, pods and events in the namespace of the scene only.
pub(super) async fn tenant(scene: &Scene, dir: &Path) -> Result<Option<std::path::PathBuf>> {
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("a given cluster issues no certificates for test users");
        return Ok(None);
    };
    let user = format!("{}-tenant", scene.namespace);
    let rules = json!([
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["get", "list"]},
    ]);
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
    grant(scene, rules, subject).await?;
    until("the permissions of the tenant", || async {
        let reviews: Api<SubjectAccessReview> = Api::all(scene.client.clone());
        let attributes = json!({"namespace": scene.namespace, "group": "", "resource": "events", "verb": "list"});
        let review = serde_json::from_value(json!({"spec": {"user": user, "resourceAttributes": attributes}}))?;
        let review = reviews.create(&PostParams::default(), &review).await?;
        Ok(if review.status.is_some_and(|status| status.allowed) { Ok(()) } else { Err(user.clone()) })
    })
    .await?;
    let kubeconfig = dir.join("tenant.kubeconfig");
    control.authority.kubeconfig(&kubeconfig, &control.server, &user, &[])?;
    Ok(Some(kubeconfig))
}

#[tokio::test(flavor = "multi_thread")]
async fn user_of_one_namespace_gets_a_page_for_it_and_a_clear_refusal_elsewhere() -> Result<()> {
    let scene = Scene::without_controller("ui-tenant", &[]).await?;
    let dir = tempfile::tempdir()?;
    let Some(kubeconfig) = tenant(&scene, dir.path()).await? else { return Ok(()) };
    scene.create("own", json!({})).await?;
    let console = Console::start(&kubeconfig, &["-n", &scene.namespace]).await?;
    let page = console.page_with("/jobs", "own</a>").await?;
    assert!(page.contains("1 Jobs"), "{page}");
    assert!(console.get("/").await?.body.contains("Jobs by state"));
    let job = console.get(&format!("/jobs/{}/own", scene.namespace)).await?.body;
    assert!(job.contains("Not read: "), "what the user may not read is named: {job}");
    let other = console.get("/jobs/kube-system/own").await?;
    assert!(other.status == 403 && other.body.contains("get jobs.batch in namespace kube-system"), "{}", other.body);
    // Without a namespace, the console is limited to that of the context, which is another one.
    let elsewhere = Console::start(&kubeconfig, &[]).await?;
    let refused = elsewhere.get("/jobs").await?;
    assert!(refused.status == 403 && refused.body.contains("list jobs.batch in namespace default"), "{}", refused.body);
    let all = Console::start(&kubeconfig, &["-A"]).await?;
    let refused = all.get("/").await?;
    assert!(refused.status == 403 && refused.body.contains("list jobs.batch in any namespace"), "{}", refused.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_cache_shows_a_user_nothing_of_another_namespace() -> Result<()> {
    let scene = Scene::without_controller("ui-shared", &[]).await?;
    let other = Scene::without_controller("ui-secret", &[]).await?;
    let dir = tempfile::tempdir()?;
    let Some(kubeconfig) = tenant(&scene, dir.path()).await? else { return Ok(()) };
    scene.create("own", json!({})).await?;
    other.create("hidden", json!({})).await?;
    let console = Shared::start(&kubeconfig, scene.client.clone()).await?;
    let browser = &console.browser;
    browser.page_with("/jobs", "own</a>").await?;
    let own = format!("/jobs/{}/own", scene.namespace);
    let pages = [
        "/",
        "/jobs",
        "/jobs?q=hidden",
        "/jobs?state=waiting",
        "/jobs?sort=-namespace",
        "/jobs?page=9",
        &own,
        "/nothing",
    ];
    for page in pages {
        let body = browser.get(page).await?.body;
        assert!(!body.contains(&other.namespace), "{page}: {body}");
        assert!(page.contains("hidden") || !body.contains("hidden</a>"), "{page}: {body}");
    }
    let (with, without) = (format!("/jobs/{}/hidden", other.namespace), format!("/jobs/{}/nothing", other.namespace));
    let (with, without) = (browser.get(&with).await?, browser.get(&without).await?);
    assert_eq!((with.status, without.status), (403, 403));
    let mut live = browser.live("/jobs?q=n").await?;
    live.until("</main>", Duration::from_secs(5)).await?;
    other.create("hidden-n", json!({})).await?;
    let silent = live.until("event: main", Duration::from_secs(2)).await;
    assert!(silent.is_err(), "{silent:?}");
    scene.create("own-n", json!({})).await?;
    let read = live.until("</main>", Duration::from_secs(2)).await?;
    assert!(read.contains("own-n") && !read.contains("hidden-n"), "{read}");
    Ok(())
}

/// A console in this process whose caches have the objects of all namespaces, for a user of one namespace.
pub(super) struct Shared {
    pub(super) browser: Console,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Shared {
    pub(super) async fn start(kubeconfig: &Path, reader: Client) -> Result<Self> {
        let config = kube::config::Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?;
        let options = jobwright::ui::Options {
            client: Client::try_from(config)?,
            reader,
            namespace: "default".to_owned(),
            all_namespaces: Some(true),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 0,
            read_only: false,
            cluster: "test".to_owned(),
            suggest: jobwright::client::suggest::Suggestions::default(),
        };
        let (started, address) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(async move {
            let started = |address: &str| _ = started.send(address.to_owned());
            let stopped = async move { _ = stopped.await };
            jobwright::ui::serve(options, started, stopped).await.expect("the console is served");
        });
        let address = address.await?;
        let (host, login) =
            address.strip_prefix("http://").and_then(|rest| rest.split_once('/')).context("an address")?;
        let dir = tempfile::tempdir()?;
        let process = Process::start("none", dir.path(), Path::new("/bin/true"), &[])?;
        let (host, login) = (host.to_owned(), format!("/{login}"));
        let mut browser = Console { process, host, login, cookie: String::new(), _dir: dir };
        let page = browser.get(&browser.login).await?;
        let cookie = page.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).context("no cookie")?;
        browser.cookie = cookie.split(';').next().context("no cookie")?.to_owned();
        Ok(Self { browser, _stop: stop })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_actions_take_effect_on_the_cluster() -> Result<()> {
    let scene = Scene::without_controller("ui-actions", &[]).await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("the user of a given cluster may have no kubeconfig file");
        return Ok(());
    };
    scene.create("a", json!({})).await?;
    let console = Console::start(&control.kubeconfig, &["-n", &scene.namespace]).await?;
    let path = |action: &str| format!("/jobs/{}/a/{action}", scene.namespace);
    for (action, suspended) in [("suspend", true), ("resume", false)] {
        let page = console.confirm(&path(action)).await?;
        assert_eq!(page.status, 303, "{}", page.body);
        assert_eq!(scene.jobs.get("a").await?.spec.and_then(|spec| spec.suspend), Some(suspended));
    }
    let ended = json!({"status": {"startTime": "2026-01-01T00:00:00Z", "conditions": [
        {"type": "FailureTarget", "status": "True", "reason": "X", "lastTransitionTime": "2026-01-01T00:00:01Z"},
        {"type": "Failed", "status": "True", "reason": "X", "lastTransitionTime": "2026-01-01T00:00:01Z"},
    ]}});
    scene.jobs.patch_status("a", &PatchParams::default(), &Patch::Merge(&ended)).await?;
    let page = console.confirm(&path("rerun")).await?;
    let new = page.head.lines().find_map(|line| line.strip_prefix("location: ")).context("no location")?.to_owned();
    let path_of_new = new.trim().split('?').next().unwrap_or_default();
    let name = path_of_new.rsplit('/').next().context("a name")?.to_owned();
    assert!(name.starts_with("a-rerun-"), "{new}");
    assert_eq!(scene.jobs.get(&name).await?.spec.and_then(|spec| spec.parallelism), Some(1));
    assert_eq!(console.confirm(&path("delete")).await?.status, 303);
    until("the Job to be gone", || async {
        Ok(match scene.jobs.get_opt("a").await? {
            None => Ok(()),
            Some(job) if job.metadata.deletion_timestamp.is_some() => Ok(()),
            Some(_) => Err("the Job exists".to_owned()),
        })
    })
    .await
}
