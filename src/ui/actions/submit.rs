//! The confirmation of an action: plans the request again, and sends the request if it is the one that was shown.

use axum::body::{Body, to_bytes};
use axum::response::{Html, IntoResponse, Response};
use http::header::LOCATION;
use http::{StatusCode, Uri};

use super::form::{DIGEST, Form};
use super::plan::{digest, prepare};
use super::send::send;
use super::{Action, DONE, Target, object_path, page};
use crate::runtime::errors::{is_ambiguous, message};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::jobs::JobQuery;
use crate::ui::layout::{self, Content};

/// Maximum length of the form in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Carries out the action that a form confirms.
pub(in crate::ui) async fn submit(console: &Console, user: &User, uri: &Uri, body: Body) -> Response {
    let content = match confirmed(console, user, uri, body).await {
        Ok(Submitted::Done(location)) => {
            return (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response();
        }
        Ok(Submitted::Refused(content)) => *content,
        Err(error) => Content::of_error(&error),
    };
    (content.status, Html(layout::page(console, &content))).into_response()
}

/// Result of a confirmation.
enum Submitted {
    /// The request was accepted. The browser opens this address.
    Done(String),
    /// The request was not sent, or was refused.
    Refused(Box<Content>),
}

async fn confirmed(console: &Console, user: &User, uri: &Uri, body: Body) -> Result<Submitted, PageError> {
    let target = Target::parse(uri.path()).ok_or(PageError::NotFound)?;
    // The guard refuses such a request too.
    if console.read_only {
        return Err(PageError::ReadOnly);
    }
    let body = to_bytes(body, MAX_BODY).await;
    let body = body.map_err(|_| PageError::Invalid("The form is too long, or did not arrive.".to_owned()))?;
    let form = Form::parse(&body);
    if !form.is_confirmation() {
        return Err(PageError::Invalid("The form is not complete. Open the page of the action again.".to_owned()));
    }
    let prepared = prepare(console, user, &target, &form).await?;
    let shown = form.get(DIGEST);
    let plan = match &prepared.plan {
        Some(Ok(plan)) if digest(&plan.request) == shown => plan,
        _ => {
            let permitted = page::permitted(console, user, &target).await;
            let content = page::changed(&target, &form, &prepared, &permitted);
            return Ok(Submitted::Refused(Box::new(content)));
        }
    };
    let sent = send(&user.client(), &plan.request).await;
    if let Err(error) = sent {
        let content = page::refused(&target, plan, &error, is_ambiguous(&error), &message(&error));
        return Ok(Submitted::Refused(Box::new(content)));
    }
    let namespace = target.namespace;
    let (path, separator) = match target.action {
        // The object may be gone.
        Action::Delete => {
            let url = JobQuery::of_namespace(namespace).url();
            let separator = if url.contains('?') { '&' } else { '?' };
            (url, separator)
        }
        _ => (object_path(plan.result.kind, namespace, &plan.result.name), '?'),
    };
    Ok(Submitted::Done(format!("{path}{separator}{DONE}={}", target.action.word())))
}
