//! Result of a sync for the Job that was due.

/// Result of a sync for the Job that was due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Creation {
    /// No Job was due, or its creation waits for the end of a back-off.
    #[default]
    Untried,
    /// The Job exists.
    Done,
    /// Jobs of other owners have all names of the Job; the text states which.
    NameTaken(String),
    /// The API server refused the Job with this text.
    Refused(String),
}
