//! Logs as a text file. The lines are sent as they are read, so that their number is not limited.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::response::{Html, IntoResponse, Response};
use futures::StreamExt;
use http::Uri;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use k8s_openapi::api::core::v1::Pod;

use super::opened;
use super::query::LogQuery;
use super::read::sources;
use crate::client::logs::sources::Source;
use crate::client::logs::tail::{LogLine, Part, Tail};
use crate::runtime::errors::message;
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::layout::{Content, page};

/// Sends the logs that the query names as a file.
pub(in crate::ui) async fn download(
    State(console): State<Arc<Console>>,
    Extension(user): Extension<User>,
    uri: Uri,
) -> Response {
    let query = LogQuery::parse(uri.query().unwrap_or_default(), None);
    match file(&console, &user, &query).await {
        Ok(response) => response,
        Err(error) => {
            let content = Content::of_error(&error);
            (content.status, Html(page(&console, &content))).into_response()
        }
    }
}

async fn file(console: &Console, user: &User, query: &LogQuery) -> Result<Response, PageError> {
    let (context, job) = opened(console, user, query).await?;
    let pods = context.pods_of(&job).await;
    let pods = pods.map_err(|error| PageError::Unreadable { what: "the pods".to_owned(), error: message(&error) })?;
    let (sources, _) = sources(&pods, query, usize::MAX);
    let with_prefix = sources.len() > 1;
    let api = context.api::<Pod>();
    let part = Part { previous: query.previous, ..Part::default() };
    let lines = futures::stream::iter(sources).flat_map(move |source| {
        let tail = Tail::new(api.clone(), source, part, None);
        futures::stream::unfold(tail, move |mut tail| async move {
            let line = tail.next().await?;
            let text = text(tail.source(), &line, with_prefix);
            Some((Ok::<_, Infallible>(Bytes::from(text)), tail))
        })
    });
    let disposition = format!("attachment; filename=\"{}\"", file_name(query));
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// Returns a line of the file.
fn text(source: &Source, line: &Result<LogLine, String>, with_prefix: bool) -> String {
    let Source { pod, container, .. } = source;
    match line {
        Ok(line) if with_prefix => format!("[pod/{pod}/{container}] {}\n", line.text),
        Ok(line) => format!("{}\n", line.text),
        Err(reason) => format!("jobwright: cannot read the log of {container} in pod/{pod}: {reason}\n"),
    }
}

/// Returns the name of the file, which has no characters with a meaning in a header or in a path.
fn file_name(query: &LogQuery) -> String {
    let parts = [Some(&query.name), query.pod.as_ref(), query.container.as_ref()];
    let joined = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("_");
    let is_safe = |one: &char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.');
    let safe: String = joined.chars().filter(is_safe).take(150).collect();
    format!("{}.log", safe.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_the_file_is_safe() {
        let name = |query: &str| file_name(&LogQuery::parse(query, None));
        assert_eq!(name("namespace=n&name=etl.1&pod=etl-abc&container=main"), "etl.1_etl-abc_main.log");
        assert_eq!(name("name=../..%2Fx%22%0D%0Aa:b"), "xab.log");
        assert_eq!(name(&format!("name={}", "x".repeat(500))).len(), 154);
    }

    #[test]
    fn line_names_its_container_if_there_are_several() {
        let source = Source { pod: "a-1".to_owned(), uid: "p".to_owned(), container: "main".to_owned(), restarts: 0 };
        let line = Ok(LogLine { time: None, text: "x".to_owned() });
        assert_eq!(text(&source, &line, false), "x\n");
        assert_eq!(text(&source, &line, true), "[pod/a-1/main] x\n");
        assert!(text(&source, &Err("gone".to_owned()), false).contains("cannot read the log of main in pod/a-1: gone"));
    }
}
