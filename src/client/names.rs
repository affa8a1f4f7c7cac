//! Names of objects on the command line, in every form that kubectl accepts or prints: `job/a`, `jobs.batch/a`,
//! `cj a b`, and selections by labels.

use std::fmt::{self, Display};

use kube::api::ListParams;
use thiserror::Error;

/// A kind of object that the commands read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `batch/v1` Job.
    Job,
    /// `batch/v1` CronJob.
    CronJob,
    /// `jobwright.dev` JobSchedule.
    JobSchedule,
    /// `jobwright.dev` JobLimit.
    JobLimit,
}

impl Kind {
    /// All kinds.
    pub const ALL: &'static [Self] = &[Self::Job, Self::CronJob, Self::JobSchedule, Self::JobLimit];

    /// Returns the kind as manifests spell it, such as `CronJob`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::JobSchedule => "JobSchedule",
            Self::JobLimit => "JobLimit",
        }
    }

    /// Returns the name of one object, such as `cronjob`.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::CronJob => "cronjob",
            Self::JobSchedule => "jobschedule",
            Self::JobLimit => "joblimit",
        }
    }

    /// Returns the name of the resource, such as `cronjobs`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Job => "jobs",
            Self::CronJob => "cronjobs",
            Self::JobSchedule => "jobschedules",
            Self::JobLimit => "joblimits",
        }
    }

    /// Returns the API group of the resource.
    pub fn group(self) -> &'static str {
        match self {
            Self::Job | Self::CronJob => "batch",
            Self::JobSchedule | Self::JobLimit => "jobwright.dev",
        }
    }

    /// Returns TYPE.GROUP/NAME of an object of this kind, as kubectl prints it.
    pub fn qualified(self, name: &str) -> String {
        format!("{}.{}/{name}", self.singular(), self.group())
    }

    /// Returns the short name of the resource, if it has one.
    pub fn short_name(self) -> Option<&'static str> {
        match self {
            Self::Job => None,
            Self::CronJob => Some("cj"),
            Self::JobSchedule => Some("jsched"),
            Self::JobLimit => Some("jlimit"),
        }
    }

    /// Parses a type as kubectl does: the singular, plural or short name, or the kind, in any case, alone or followed by
    /// the group or by version and group, such as `jobs.batch` and `jobs.v1.batch`. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (name, rest) = text.split_once('.').map_or((text.as_str(), None), |(name, rest)| (name, Some(rest)));
        let has_name = |kind: &&Self| {
            [Some(kind.singular()), Some(kind.plural()), kind.short_name()].into_iter().flatten().any(|one| one == name)
        };
        let kind = *Self::ALL.iter().find(has_name)?;
        let Some(rest) = rest else { return Some(kind) };
        let is_version =
            |text: &str| text.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let group = match rest.split_once('.') {
            Some((version, group)) if is_version(version) => group,
            _ => rest,
        };
        (group == kind.group()).then_some(kind)
    }
}

/// Kinds that start Jobs at times.
pub const SCHEDULES: &[Kind] = &[Kind::CronJob, Kind::JobSchedule];

/// Kind and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object.
    pub name: String,
}

impl Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.singular(), self.name)
    }
}

/// Error that the arguments select no objects.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NameError(String);

/// The objects that the arguments select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These objects, in the order of the arguments.
    Named(Vec<ObjectName>),
    /// All objects of these kinds that the selectors match.
    Matching(Vec<Kind>),
}

/// The arguments that select objects.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SelectionArguments {
    /// Objects, as kubectl names them: TYPE/NAME, several of them, or TYPE NAME
    #[arg(value_name = "TYPE/NAME")]
    pub objects: Vec<String>,
    /// The flags that select objects without names.
    #[command(flatten)]
    pub selectors: SelectorArguments,
}

/// The arguments that select objects without names.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SelectorArguments {
    /// Select objects by labels, such as app=etl,tier!=test
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Select objects by fields, such as status.successful=0
    #[arg(long, value_name = "SELECTOR")]
    pub field_selector: Option<String>,
    /// Select objects of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

impl SelectorArguments {
    /// Returns the parameters of the list request.
    pub fn list_params(&self) -> ListParams {
        ListParams {
            label_selector: self.selector.clone().filter(|text| !text.is_empty()),
            field_selector: self.field_selector.clone().filter(|text| !text.is_empty()),
            ..ListParams::default()
        }
    }

    /// Returns whether one of the flags is given.
    pub fn is_given(&self) -> bool {
        self.selector.is_some() || self.field_selector.is_some() || self.all_namespaces
    }
}

impl SelectionArguments {
    /// Returns what the arguments select among objects of the kinds `accepted`. Without any object, all kinds match.
    /// Where only one kind is accepted, a name may stand alone.
    ///
    /// # Errors
    /// A type is unknown or not accepted, a name is missing, or names and selectors are mixed.
    pub fn resolve(&self, accepted: &[Kind]) -> Result<Selection, NameError> {
        let selection = parse(&self.objects, accepted)?;
        let Selection::Named(_) = &selection else { return Ok(selection) };
        if self.selectors.all_namespaces {
            return Err(NameError("objects cannot be named with --all-namespaces; give --namespace".to_owned()));
        }
        if self.selectors.is_given() {
            return Err(NameError("names and selectors cannot be combined; give one of them".to_owned()));
        }
        Ok(selection)
    }
}

/// Parses words of the command line: any number of TYPE/NAME, or one TYPE followed by names. `TYPE,TYPE` without names
/// selects all objects of these kinds, as does the absence of words.
///
/// # Errors
/// A type is unknown or not accepted, or a name is missing or not a name.
pub fn parse(words: &[String], accepted: &[Kind]) -> Result<Selection, NameError> {
    let Some((first, rest)) = words.split_first() else { return Ok(Selection::Matching(accepted.to_vec())) };
    if words.iter().any(|word| word.contains('/')) {
        let named = words.iter().map(|word| parse_one(word, accepted));
        return Ok(Selection::Named(named.collect::<Result<_, _>>()?));
    }
    let types: Option<Vec<Kind>> = first.split(',').map(Kind::parse).collect();
    match (types, accepted) {
        (Some(types), _) => {
            let types = types.into_iter().map(|kind| allowed(kind, accepted)).collect::<Result<Vec<_>, _>>()?;
            if rest.is_empty() {
                return Ok(Selection::Matching(types));
            }
            let names = rest.iter().flat_map(|name| types.iter().map(move |kind| named(*kind, name)));
            Ok(Selection::Named(names.collect::<Result<_, _>>()?))
        }
        (None, [kind]) => Ok(Selection::Named(words.iter().map(|word| named(*kind, word)).collect::<Result<_, _>>()?)),
        (None, _) => Err(NameError(format!("{first:?} is no type; write {}", forms(accepted)))),
    }
}

/// Parses words that have to name one object.
///
/// # Errors
/// The words name no object or several, or one that is not accepted.
pub fn one(words: &[String], accepted: &[Kind]) -> Result<ObjectName, NameError> {
    let one = || NameError(format!("name one object: {}", forms(accepted)));
    let Selection::Named(mut names) = parse(words, accepted)? else { return Err(one()) };
    names.pop().filter(|_| names.is_empty()).ok_or_else(one)
}

/// Parses TYPE/NAME.
///
/// # Errors
/// The type is unknown or not accepted, or the name is missing or not a name.
pub fn parse_one(word: &str, accepted: &[Kind]) -> Result<ObjectName, NameError> {
    let Some((type_, name)) = word.split_once('/') else {
        return Err(NameError(format!("{word:?} has no name; write {}", forms(accepted))));
    };
    let kind = Kind::parse(type_).ok_or_else(|| {
        NameError(format!("{type_:?} in {word:?} is not a type that is accepted here; write {}", forms(accepted)))
    })?;
    named(allowed(kind, accepted)?, name)
}

fn allowed(kind: Kind, accepted: &[Kind]) -> Result<Kind, NameError> {
    if accepted.contains(&kind) {
        return Ok(kind);
    }
    Err(NameError(format!("{} are not accepted here; write {}", kind.plural(), forms(accepted))))
}

fn named(kind: Kind, name: &str) -> Result<ObjectName, NameError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) {
        return Err(NameError(format!(
            "{name:?} is not the name of a {}; names have lower-case letters, digits, - and .",
            kind.kind()
        )));
    }
    Ok(ObjectName { kind, name: name.to_owned() })
}

/// Returns the accepted forms, such as `job/NAME or cronjob/NAME`.
fn forms(accepted: &[Kind]) -> String {
    let forms: Vec<String> = accepted.iter().map(|kind| format!("{}/NAME", kind.singular())).collect();
    match forms.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn names(text: &str) -> Result<Vec<String>, String> {
        match parse(&words(text), Kind::ALL) {
            Ok(Selection::Named(names)) => Ok(names.iter().map(ToString::to_string).collect()),
            Ok(Selection::Matching(kinds)) => Err(format!("{kinds:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_form_that_kubectl_prints_or_accepts_is_a_name() {
        for text in [
            "job/a",
            "jobs/a",
            "Job/a",
            "job.batch/a",
            "jobs.batch/a",
            "job.v1.batch/a",
            "jobs.v1.batch/a",
            "job a",
            "jobs a",
        ] {
            assert_eq!(names(text), Ok(vec!["job/a".to_owned()]), "{text}");
        }
        for text in ["cronjob/a", "cronjobs/a", "cj/a", "CronJob/a", "cronjob.batch/a", "cronjob.v1.batch/a", "cj a"] {
            assert_eq!(names(text), Ok(vec!["cronjob/a".to_owned()]), "{text}");
        }
        for text in ["jobschedule/a", "jsched/a", "jobschedule.jobwright.dev/a", "jobschedules.v1beta1.jobwright.dev/a"]
        {
            assert_eq!(names(text), Ok(vec!["jobschedule/a".to_owned()]), "{text}");
        }
        for text in ["joblimit/a", "joblimits/a", "jlimit/a", "joblimit.jobwright.dev/a"] {
            assert_eq!(names(text), Ok(vec!["joblimit/a".to_owned()]), "{text}");
        }
        assert_eq!(names("job/a cj/b"), Ok(vec!["job/a".to_owned(), "cronjob/b".to_owned()]));
        assert_eq!(names("job a b"), Ok(vec!["job/a".to_owned(), "job/b".to_owned()]));
        assert_eq!(names("job,cj a"), Ok(vec!["job/a".to_owned(), "cronjob/a".to_owned()]));
        assert_eq!(names("jobs"), Err("[Job]".to_owned()));
        assert_eq!(names("jobs,cj"), Err("[Job, CronJob]".to_owned()));
    }

    #[test]
    fn wrong_name_is_reported_with_the_accepted_forms() {
        let accepted = [Kind::Job, Kind::CronJob];
        let error = |text: &str| parse(&words(text), &accepted).unwrap_err().to_string();
        for text in ["pod/a", "job.apps/a", "a", "joblimit/a", "jobs.v1.jobwright.dev/a", "job/a b"] {
            let error = error(text);
            assert!(error.contains("job/NAME or cronjob/NAME"), "{text}: {error}");
        }
        assert!(error("job/").contains("\"\" is not the name of a Job"));
        assert!(error("job/a/b").contains("\"a/b\" is not the name of a Job"));
        assert!(error("job A").contains("\"A\" is not the name of a Job"));
    }

    #[test]
    fn name_stands_alone_where_one_kind_is_accepted() {
        let only = parse(&words("a b"), &[Kind::Job]).unwrap();
        let name = |name: &str| ObjectName { kind: Kind::Job, name: name.to_owned() };
        assert_eq!(only, Selection::Named(vec![name("a"), name("b")]));
        assert_eq!(parse(&[], &[Kind::Job]), Ok(Selection::Matching(vec![Kind::Job])));
    }

    #[test]
    fn names_exclude_selectors_and_all_namespaces() {
        let given = |selectors| SelectionArguments { objects: words("job/a"), selectors }.resolve(Kind::ALL);
        assert!(given(SelectorArguments::default()).is_ok());
        let all = SelectorArguments { all_namespaces: true, ..SelectorArguments::default() };
        assert!(given(all).unwrap_err().to_string().contains("--all-namespaces"));
        let labels = SelectorArguments { selector: Some("a=b".to_owned()), ..SelectorArguments::default() };
        assert!(given(labels).unwrap_err().to_string().contains("selectors"));
    }
}
