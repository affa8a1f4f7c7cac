//! Commands that an answer suggests. Each carries the namespace and the connection flags that the user gave, so that it
//! acts on the same object when it is pasted.

/// Flags that a suggested command repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggestions {
    /// Namespace that the user gave, or that of an object found in another namespace than the current one.
    namespace: Option<String>,
    /// Flags of the connection with their values, as the user gave them.
    flags: Vec<(&'static str, String)>,
    /// Name under which this program was called.
    program: &'static str,
}

impl Suggestions {
    /// Returns suggestions with these flags. `namespace` is the one that the user gave.
    pub fn new(program: &'static str, namespace: Option<String>, flags: Vec<(&'static str, String)>) -> Self {
        Self { namespace, flags, program }
    }

    /// Returns the same suggestions for objects of this namespace.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// Returns a kubectl command on objects of the namespace, such as `kubectl logs a -n ux --context=prod`.
    pub fn kubectl(&self, command: &str) -> String {
        self.complete("kubectl", command, true)
    }

    /// Returns a kubectl command on objects that the command line names with their namespace, or that have none.
    pub fn kubectl_elsewhere(&self, command: &str) -> String {
        self.complete("kubectl", command, false)
    }

    /// Returns a command of this program.
    pub fn jobwright(&self, command: &str) -> String {
        self.complete(if self.program.is_empty() { "jobwright" } else { self.program }, command, true)
    }

    fn complete(&self, program: &str, command: &str, with_namespace: bool) -> String {
        // Flags stand before a shell pipe and before the separator of the container's command.
        let split = [" | ", " -- "].iter().filter_map(|mark| command.find(mark)).min().unwrap_or(command.len());
        let (command, rest) = command.split_at(split);
        let mut text = format!("{program} {command}");
        if let Some(namespace) = self.namespace.as_ref().filter(|_| with_namespace) {
            text += &format!(" -n {}", quoted(namespace));
        }
        for (flag, value) in &self.flags {
            text += &format!(" {flag}={}", quoted(value));
        }
        text + rest
    }
}

/// Returns the text quoted as one argument for a shell.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_carries_the_namespace_and_the_flags_of_the_connection() {
        let none = Suggestions::default();
        assert_eq!(none.kubectl("logs a"), "kubectl logs a");
        assert_eq!(none.jobwright("explain job/a"), "jobwright explain job/a");
        let flags = vec![("--context", "my prod".to_owned()), ("--kubeconfig", "/tmp/a".to_owned())];
        let given = Suggestions::new("kubectl jobwright", Some("ux".to_owned()), flags);
        assert_eq!(given.kubectl("logs a"), "kubectl logs a -n ux --context='my prod' --kubeconfig=/tmp/a");
        assert_eq!(given.kubectl_elsewhere("get nodes"), "kubectl get nodes --context='my prod' --kubeconfig=/tmp/a");
        assert_eq!(
            given.in_namespace("b").jobwright("explain job/a"),
            "kubectl jobwright explain job/a -n b --context='my prod' --kubeconfig=/tmp/a"
        );
    }

    #[test]
    fn flags_stand_before_a_pipe() {
        let given = Suggestions::new("", Some("ux".to_owned()), Vec::new());
        assert_eq!(given.kubectl("get job a -o json | jq ."), "kubectl get job a -o json -n ux | jq .");
        assert_eq!(given.kubectl("exec a -- ls"), "kubectl exec a -n ux -- ls");
    }

    #[test]
    fn special_characters_are_quoted() {
        assert_eq!([quoted("a-b"), quoted(""), quoted("a b"), quoted("a'b")], ["a-b", "''", "'a b'", r"'a'\''b'"]);
    }
}
