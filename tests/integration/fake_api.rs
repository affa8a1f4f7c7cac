//! A server with a few fixed answers in place of an API server: for answers that a cluster without nodes cannot give,
//! such as logs, and for errors.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

/// Status code and body for a path. A body that is a string is sent as text.
pub type Answer = (u16, Value);

/// A server on loopback. It runs until the test process ends.
pub struct FakeApi {
    /// Kubeconfig that names the server.
    pub kubeconfig: PathBuf,
    _dir: tempfile::TempDir,
}

impl FakeApi {
    /// Starts a server that answers each path and query with `answer`, and everything else with 404.
    pub fn start(answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let dir = tempfile::tempdir()?;
        let kubeconfig = dir.path().join("kubeconfig");
        std::fs::write(
            &kubeconfig,
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
                 clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
                 contexts: [{{name: a, context: {{cluster: a, user: a, namespace: n}}}}]\nusers: [{{name: a, user: {{}}}}]\n"
            ),
        )?;
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = answer.clone();
                std::thread::spawn(move || serve(stream, &*answer));
            }
        });
        Ok(Self { kubeconfig, _dir: dir })
    }

    /// Returns the flag that selects the server.
    pub fn flag(&self) -> String {
        format!("--kubeconfig={}", self.kubeconfig.display())
    }
}

fn serve(mut stream: TcpStream, answer: &(impl Fn(&str) -> Option<Answer> + ?Sized)) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    // The requests of the commands that the tests run have no body.
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).ok()? <= 2 {
            break;
        }
    }
    let path = request.split_whitespace().nth(1)?;
    let version = || {
        let texts = ["gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"];
        let mut version = json!({"major": "1", "minor": "37"});
        texts.iter().for_each(|field| version[field] = json!("x"));
        (200, version)
    };
    let known = if path == "/version" { Some(version()) } else { answer(path) };
    let (code, body) = known.unwrap_or_else(|| (404, json!("404 page not found\n")));
    let (type_, text) = match &body {
        Value::String(text) => ("text/plain", text.clone()),
        object => ("application/json", object.to_string()),
    };
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: {type_}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes())).ok()
}
