//! Support for rotated credentials: the client reads certificates, keys and the kubeconfig again, and opens new
//! connections with them.
//!
//! Only the credentials change. The server, its name and the proxy remain as they were at the start, so that a
//! kubeconfig that switches to another cluster never moves a running controller there.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, StatusCode};
use hyper_util::client::legacy;
use kube::Config;
use kube::client::{Body, ConfigExt};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

use super::{Answer, Source, connector};

/// Interval at which the credentials are read again. A request starts the check, at the latest the renewal of the
/// Lease.
const CHECK: Duration = Duration::from_secs(30);
/// Shortest interval of checks after the API server refused the credentials or a connection failed.
const URGENT_CHECK: Duration = Duration::from_secs(1);
/// Shortest interval between two runs of a credential plugin after the API server refused its credentials.
const PLUGIN: Duration = Duration::from_secs(30);

/// Part of the client that depends on credentials.
type Stack = BoxCloneSyncService<Request<Body>, Answer, BoxError>;

/// Client that follows rotated credentials.
#[derive(Clone)]
pub(super) struct Rotating(Arc<Shared>);

struct Shared {
    /// Configuration at the start.
    config: Config,
    source: Source,
    state: Mutex<State>,
}

struct State {
    stack: Stack,
    /// Fingerprint of the credentials in `stack`.
    fingerprint: u64,
    built: Instant,
    checked: Instant,
    checking: bool,
    /// Problem that was logged last.
    problem: Option<String>,
}

impl Rotating {
    /// Builds a client with this configuration, which `source` loads again later.
    ///
    /// # Errors
    /// The credentials cannot be used.
    pub(super) fn new(config: Config, source: Source) -> kube::Result<Self> {
        let now = Instant::now();
        // The first check detects credentials that change between these two lines.
        let fingerprint = fingerprint(&config).unwrap_or_default();
        let stack = stack(&config)?;
        let state = State { stack, fingerprint, built: now, checked: now, checking: false, problem: None };
        Ok(Self(Arc::new(Shared { config, source, state: Mutex::new(state) })))
    }
}

impl Service<Request<Body>> for Rotating {
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.check(CHECK, false);
        let stack = self.0.lock().stack.clone();
        let shared = self.0.clone();
        Box::pin(async move {
            let result = stack.oneshot(request).await;
            match &result {
                Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => shared.check(URGENT_CHECK, true),
                Err(error) if is_connect(error) => shared.check(URGENT_CHECK, false),
                _ => {}
            }
            result
        })
    }
}

fn is_connect(error: &BoxError) -> bool {
    error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
}

impl Shared {
    /// Reads the credentials again in the background, unless a check is running or the last one began less than `after`
    /// ago.
    fn check(self: &Arc<Self>, after: Duration, refused: bool) {
        let fingerprint = {
            let mut state = self.lock();
            if state.checking || state.checked.elapsed() < after {
                return;
            }
            (state.checking, state.checked) = (true, Instant::now());
            // A plugin can return other credentials although no file changed.
            let plugin = self.config.auth_info.exec.is_some() && refused && state.built.elapsed() >= PLUGIN;
            (!plugin).then_some(state.fingerprint)
        };
        let shared = self.clone();
        tokio::spawn(async move {
            let loaded = (shared.source)().await;
            let config = shared.config.clone();
            // A credential plugin blocks this thread until it has ended.
            let reload = tokio::task::spawn_blocking(move || reload(config, loaded?, fingerprint));
            let reloaded = reload.await.unwrap_or_else(|error| Err(error.to_string()));
            shared.take(reloaded);
        });
    }

    fn take(&self, reloaded: Result<Option<(Stack, u64)>, String>) {
        let mut state = self.lock();
        state.checking = false;
        match reloaded {
            Ok(Some((stack, fingerprint))) => {
                tracing::info!("reloaded the credentials");
                (state.fingerprint, state.built, state.problem) = (fingerprint, Instant::now(), None);
                let before = std::mem::replace(&mut state.stack, stack);
                drop(state);
                drop(before);
            }
            Ok(None) => state.problem = None,
            Err(problem) => {
                if state.problem.as_ref() != Some(&problem) {
                    tracing::error!(error = %problem, "cannot reload the credentials; using the previous ones");
                }
                state.problem = Some(problem);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Builds a client from the configuration `first` with the credentials of `loaded`, unless their fingerprint is
/// `known`.
fn reload(first: Config, loaded: Config, known: Option<u64>) -> Result<Option<(Stack, u64)>, String> {
    if loaded.cluster_url != first.cluster_url {
        return Err(format!(
            "the server in the kubeconfig changed from {} to {}; restart jobwright to use the new server",
            first.cluster_url, loaded.cluster_url
        ));
    }
    let mut config = first;
    (config.auth_info, config.root_cert) = (loaded.auth_info, loaded.root_cert);
    let fingerprint = fingerprint(&config)?;
    if known == Some(fingerprint) {
        return Ok(None);
    }
    let stack = stack(&config).map_err(|error| crate::runtime::errors::message(&error))?;
    Ok(Some((stack, fingerprint)))
}

/// Returns a hash of the credentials. The content of a token file is not included, because kube reads that file again.
fn fingerprint(config: &Config) -> Result<u64, String> {
    let mut hasher = DefaultHasher::new();
    config.root_cert.hash(&mut hasher);
    let auth = &config.auth_info;
    serde_json::to_vec(auth).map_err(|error| error.to_string())?.hash(&mut hasher);
    let inline = auth.client_certificate_data.is_some();
    let certificate = auth.client_certificate.as_ref().filter(|_| !inline);
    let key = auth.client_key.as_ref().filter(|_| auth.client_key_data.is_none());
    for path in [certificate, key].into_iter().flatten() {
        std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn stack(config: &Config) -> kube::Result<Stack> {
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .service(connector::pools(config)?);
    Ok(BoxCloneSyncService::new(service))
}
