//! Logs that a URL selects: pod, container, instance, number of lines, and search.

use form_urlencoded::Serializer;

use crate::client::logs::sources::Filter;

/// Number of lines of each container without a choice of the user.
const TAIL: i64 = 500;
/// Choices for the number of lines.
pub(in crate::ui) const TAILS: [i64; 4] = [100, TAIL, 2000, MAX_TAIL];
/// Largest number of lines of each container.
const MAX_TAIL: i64 = 5000;
/// Longest search in bytes.
const MAX_TEXT: usize = 200;

/// Logs that a URL selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ui) struct LogQuery {
    /// Namespace of the Job.
    pub namespace: String,
    /// Name of the Job.
    pub name: String,
    /// Only this pod.
    pub pod: Option<String>,
    /// Only this container.
    pub container: Option<String>,
    /// Whether the logs are those of the instances before the last restart.
    pub previous: bool,
    /// Text that the lines contain, in any case.
    pub text: Option<String>,
    /// Number of lines of each container.
    pub tail: i64,
}

impl LogQuery {
    /// Parses the query of a URL. A value that is not valid is ignored. The path of the page of a Job has the namespace
    /// and the name; other URLs have them in the query.
    pub(in crate::ui) fn parse(query: &str, job: Option<(&str, &str)>) -> Self {
        let (namespace, name) = job.unwrap_or_default();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let mut parsed = Self { namespace, name, pod: None, container: None, previous: false, text: None, tail: TAIL };
        for (field, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                continue;
            }
            match &*field {
                "namespace" if job.is_none() => parsed.namespace = value.into_owned(),
                "name" if job.is_none() => parsed.name = value.into_owned(),
                "pod" => parsed.pod = Some(value.into_owned()),
                "container" => parsed.container = Some(value.into_owned()),
                "previous" => parsed.previous = value == "true",
                "q" => parsed.text = Some(crate::ui::text::cut(&value, MAX_TEXT).into_owned()),
                "lines" => parsed.tail = value.parse().unwrap_or(TAIL).clamp(1, MAX_TAIL),
                _ => {}
            }
        }
        parsed
    }

    /// Returns the address of the stream or the file of these logs.
    pub(in crate::ui) fn url(&self, path: &str) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("namespace", &self.namespace).append_pair("name", &self.name);
        let values = [("pod", &self.pod), ("container", &self.container), ("q", &self.text)];
        for (field, value) in values {
            if let Some(value) = value {
                query.append_pair(field, value);
            }
        }
        if self.previous {
            query.append_pair("previous", "true");
        }
        if self.tail != TAIL {
            query.append_pair("lines", &self.tail.to_string());
        }
        format!("{path}?{}", query.finish())
    }

    /// Returns the containers that the query selects, in any pod.
    pub(super) fn filter(&self) -> Filter {
        Filter {
            previous: self.previous,
            container: self.container.clone(),
            pod: self.pod.clone(),
            ..Filter::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_parsed_and_written() {
        let query =
            LogQuery::parse("tab=logs&pod=a-1&container=main&previous=true&q=x%20y&lines=100", Some(("n", "a")));
        let url = query.url("/logs/live");
        assert_eq!(url, "/logs/live?namespace=n&name=a&pod=a-1&container=main&q=x+y&previous=true&lines=100");
        assert_eq!(LogQuery::parse(url.split_once('?').unwrap().1, None), query);
        let plain = LogQuery::parse("tab=logs&pod=&q=&lines=x&namespace=other", Some(("n", "a")));
        assert_eq!(plain.url("/l"), "/l?namespace=n&name=a");
        assert_eq!(LogQuery::parse("lines=99999999", None).tail, MAX_TAIL);
        assert_eq!(LogQuery::parse("lines=-1", None).tail, 1);
        let long = LogQuery::parse(&format!("q={}", "x".repeat(5000)), None);
        assert!(long.text.unwrap().len() <= MAX_TEXT + "…".len());
    }
}
