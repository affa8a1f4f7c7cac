//! What the browser reports about a page: errors, violations of the content security policy, and requests.

use std::fmt::Display;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use chromiumoxide::cdp::IntoEventKind;
use chromiumoxide::cdp::browser_protocol::audits::{self, EventIssueAdded, InspectorIssueCode};
use chromiumoxide::cdp::browser_protocol::log::{self, EventEntryAdded, LogEntryLevel, LogEntrySource};
use chromiumoxide::cdp::browser_protocol::network::EventRequestWillBeSent;
use chromiumoxide::cdp::js_protocol::runtime::{ConsoleApiCalledType, EventConsoleApiCalled, EventExceptionThrown};
use futures::StreamExt;
use tokio::task::JoinHandle;

/// Events that are needed, by the start of their message. Chromium can be newer than the crate that reads its messages.
const NEEDED: [&str; 3] = ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"];

#[derive(Debug, Default)]
struct Reports {
    errors: Vec<String>,
    policy: Vec<String>,
    requests: Vec<String>,
}

/// Reports of the browser about one page.
pub struct Problems {
    reports: Arc<Mutex<Reports>>,
    unreadable: Arc<Mutex<Vec<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Problems {
    /// Records what the browser reports from now on. `unreadable` has the messages of the browser that could not be read.
    pub async fn watch(page: &chromiumoxide::Page, unreadable: Arc<Mutex<Vec<String>>>) -> Result<Self> {
        let mut problems = Self { reports: Arc::default(), unreadable, tasks: Vec::new() };
        problems
            .on(page, |reports, event: &EventEntryAdded| {
                let entry = &event.entry;
                let place = entry.url.as_deref().unwrap_or_default();
                match (&entry.source, &entry.level) {
                    (LogEntrySource::Security, _) => reports.policy.push(format!("{} {place}", entry.text)),
                    (_, LogEntryLevel::Error) => reports.errors.push(format!("{} {place}", entry.text)),
                    _ => {}
                }
            })
            .await?;
        problems
            .on(page, |reports, event: &EventConsoleApiCalled| {
                if matches!(event.r#type, ConsoleApiCalledType::Error | ConsoleApiCalledType::Assert) {
                    let texts = event.args.iter().map(|arg| match (&arg.value, &arg.description) {
                        (Some(value), _) => value.to_string(),
                        (None, description) => description.clone().unwrap_or_default(),
                    });
                    reports.errors.push(texts.collect::<Vec<_>>().join(" "));
                }
            })
            .await?;
        problems
            .on(page, |reports, event: &EventExceptionThrown| {
                let details = &event.exception_details;
                let description = details.exception.as_ref().and_then(|thrown| thrown.description.clone());
                reports.errors.push(format!("{} {}", details.text, description.unwrap_or_default()));
            })
            .await?;
        problems
            .on(page, |reports, event: &EventIssueAdded| {
                if matches!(event.issue.code, InspectorIssueCode::ContentSecurityPolicyIssue)
                    && let Some(details) = &event.issue.details.content_security_policy_issue_details
                {
                    let blocked = details.blocked_url.as_deref().unwrap_or("inline");
                    reports.policy.push(format!("{} forbids {blocked}", details.violated_directive));
                }
            })
            .await?;
        problems
            .on(page, |reports, event: &EventRequestWillBeSent| {
                // A `data:` URL needs no request, but the browser reports one.
                let request = &event.request;
                if !request.url.starts_with("data:") {
                    reports.requests.push(format!("{} {}", request.method, request.url));
                }
            })
            .await?;
        page.execute(log::EnableParams::default()).await?;
        page.execute(audits::EnableParams::default()).await?;
        Ok(problems)
    }

    async fn on<T: IntoEventKind + Unpin + Send + Sync + 'static>(
        &mut self,
        page: &chromiumoxide::Page,
        record: impl Fn(&mut Reports, &T) + Send + 'static,
    ) -> Result<()> {
        let mut events = page.event_listener::<T>().await?;
        let reports = Arc::clone(&self.reports);
        self.tasks.push(tokio::spawn(async move {
            while let Some(event) = events.next().await {
                record(&mut reports.lock().expect("a lock"), &event);
            }
        }));
        Ok(())
    }

    /// Returns the errors in the console of the browser.
    pub fn errors(&self) -> Vec<String> {
        let unreadable = self.unreadable.lock().expect("a lock");
        let needed = unreadable.iter().filter(|text| NEEDED.iter().any(|method| text.contains(method)));
        let unreadable = needed.map(|text| format!("an event that cannot be read: {text}"));
        self.reports.lock().expect("a lock").errors.iter().cloned().chain(unreadable).collect()
    }

    /// Removes the errors that contain a text.
    pub fn forget(&self, text: &str) {
        self.reports.lock().expect("a lock").errors.retain(|error| !error.contains(text));
    }

    /// Returns the violations of the content security policy.
    pub fn policy_violations(&self) -> Vec<String> {
        let unreadable = self.unreadable.lock().expect("a lock");
        let needed = unreadable.iter().filter(|text| text.contains("ContentSecurityPolicyIssue"));
        self.reports.lock().expect("a lock").policy.iter().chain(needed).cloned().collect()
    }

    /// Returns the requests that the page has sent: the method and the URL.
    pub fn requests(&self) -> Vec<String> {
        self.reports.lock().expect("a lock").requests.clone()
    }

    /// Returns all problems, each in one line.
    pub fn all(&self) -> Vec<String> {
        let line = |kind: &str, text: &dyn Display| format!("{kind}: {text}");
        let errors = self.errors().into_iter().map(|text| line("error", &text));
        let policy = self.policy_violations().into_iter().map(|text| line("content security policy", &text));
        errors.chain(policy).collect()
    }
}

impl Drop for Problems {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
