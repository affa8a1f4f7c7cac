//! Changes to the pod template of a Job before the Job is created: `--env`, `--image`, `--arg` and `-- COMMAND`.
//!
//! The template is JSON, so that fields which this version does not know are kept.

use serde_json::{Value, json};
use thiserror::Error;

/// The flags that change the containers of a Job.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct OverrideArguments {
    /// Set an environment variable, as NAME=VALUE, or remove it, as NAME-; in every container without --container
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_env)]
    env: Vec<(String, Option<String>)>,
    /// Use another image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Replace the arguments; give the flag once for each argument
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    arg: Vec<String>,
    /// Container that the changes apply to; required for --image, --arg and a command if there are several
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Replace the command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Reason why the changes cannot be made.
#[derive(Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub(crate) enum OverrideError {
    #[error("there is no container {name:?}; the containers are {known}")]
    NoSuchContainer { name: String, known: String },
    #[error("there are several containers; name one of them with --container: {known}")]
    Ambiguous { known: String },
    #[error("the pod template has no containers")]
    NoContainers,
}

fn parse_env(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text.strip_suffix('-').unwrap_or_default(), None),
    };
    if name.is_empty() {
        return Err("must be NAME=VALUE, or NAME- to remove the variable".to_owned());
    }
    Ok((name.to_owned(), value))
}

impl OverrideArguments {
    /// Returns whether no flag changes anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.env.is_empty() && self.image.is_none() && self.arg.is_empty() && self.command.is_empty()
    }

    /// Changes a pod template.
    ///
    /// # Errors
    /// The template has no container of the given name, or several containers and none was named.
    pub(crate) fn apply(&self, template: &mut Value) -> Result<(), OverrideError> {
        if self.is_empty() {
            return Ok(());
        }
        let containers = template["spec"]["containers"].as_array_mut().ok_or(OverrideError::NoContainers)?;
        let names: Vec<String> =
            containers.iter().map(|container| container["name"].as_str().unwrap_or_default().to_owned()).collect();
        let known = names.join(", ");
        let one = match &self.container {
            Some(name) => Some(
                names
                    .iter()
                    .position(|known| known == name)
                    .ok_or_else(|| OverrideError::NoSuchContainer { name: name.clone(), known: known.clone() })?,
            ),
            None => (names.len() == 1).then_some(0),
        };
        let needs_one = self.image.is_some() || !self.arg.is_empty() || !self.command.is_empty();
        if names.is_empty() {
            return Err(OverrideError::NoContainers);
        }
        if one.is_none() && needs_one {
            return Err(OverrideError::Ambiguous { known });
        }
        for (place, container) in containers.iter_mut().enumerate() {
            if one.is_none_or(|one| one == place) {
                self.env.iter().for_each(|(name, value)| set_env(container, name, value.as_deref()));
            }
            if one == Some(place) {
                self.replace(container);
            }
        }
        Ok(())
    }

    fn replace(&self, container: &mut Value) {
        if let Some(image) = &self.image {
            container["image"] = json!(image);
        }
        if !self.command.is_empty() {
            container["command"] = json!(self.command);
            // The arguments of the old command do not belong to the new one.
            if let Some(fields) = container.as_object_mut() {
                fields.remove("args");
            }
        }
        if !self.arg.is_empty() {
            container["args"] = json!(self.arg);
        }
    }
}

/// Sets or removes an environment variable of a container. A variable that is set keeps its place, because later
/// variables can refer to it.
fn set_env(container: &mut Value, name: &str, value: Option<&str>) {
    if !container["env"].is_array() {
        container["env"] = json!([]);
    }
    let Some(variables) = container["env"].as_array_mut() else { return };
    let place = variables.iter().position(|variable| variable["name"] == name);
    match (value, place) {
        (Some(value), Some(place)) => variables[place] = json!({"name": name, "value": value}),
        (Some(value), None) => variables.push(json!({"name": name, "value": value})),
        (None, Some(place)) => drop(variables.remove(place)),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        overrides: OverrideArguments,
    }

    fn overrides(args: &[&str]) -> OverrideArguments {
        <Parsed as clap::Parser>::parse_from(["x"].iter().chain(args)).overrides
    }

    fn applied(args: &[&str], containers: Value) -> Result<Value, String> {
        let mut template = json!({"spec": {"containers": containers, "unknownField": 1}});
        overrides(args).apply(&mut template).map_err(|error| error.to_string())?;
        assert_eq!(template["spec"]["unknownField"], 1);
        Ok(template["spec"]["containers"].clone())
    }

    #[test]
    fn flags_change_the_only_container() {
        let before = json!([{"name": "main", "image": "a:1", "args": ["old"], "env": [
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "B", "value": "$(A)"}, {"name": "C", "value": "c"},
        ]}]);
        let args = ["--env=A=1=2", "--env=C-", "--env=D=", "--env=E-", "--image=a:2", "--", "run", "--fast"];
        let after = applied(&args, before.clone()).unwrap();
        let env = json!([{"name": "A", "value": "1=2"}, {"name": "B", "value": "$(A)"}, {"name": "D", "value": ""}]);
        assert_eq!(after, json!([{"name": "main", "image": "a:2", "command": ["run", "--fast"], "env": env}]));
        let after = applied(&["--arg=-v", "--arg", "--x=1"], before.clone()).unwrap();
        assert_eq!((&after[0]["args"], &after[0]["image"]), (&json!(["-v", "--x=1"]), &json!("a:1")));
        assert_eq!(applied(&[], before.clone()).unwrap(), before);
    }

    #[test]
    fn one_of_several_containers_has_to_be_named() {
        let two = json!([{"name": "a"}, {"name": "b"}]);
        let wrong = |args: &[&str]| applied(args, two.clone()).unwrap_err();
        assert_eq!(wrong(&["--image=x"]), "there are several containers; name one of them with --container: a, b");
        assert_eq!(wrong(&["--image=x", "--container=c"]), "there is no container \"c\"; the containers are a, b");
        assert_eq!(applied(&["--image=x", "--container=b"], two.clone()).unwrap()[1]["image"], "x");
        let both = applied(&["--env=A=1"], two.clone()).unwrap();
        assert!(both[0]["env"] == both[1]["env"] && both[0]["env"][0]["value"] == "1", "{both}");
        assert_eq!(applied(&["--env=A=1"], json!([])), Err("the pod template has no containers".to_owned()));
        for text in ["=1", "A", "-", ""] {
            assert!(parse_env(text).is_err(), "{text}");
        }
    }
}
