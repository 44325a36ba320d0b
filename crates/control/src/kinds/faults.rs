//! A list of what is wrong, in the order in which it was found.

use serde_json::Value;
use shoal_api::field::{Error, Path, Reason};

/// What `field is immutable` says.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// What is said of a negative number.
pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";

/// What is wrong so far.
#[derive(Default)]
pub(crate) struct Faults(Vec<Error>);

impl Faults {
    /// All of it.
    pub(crate) fn into_errors(self) -> Vec<Error> {
        self.0
    }

    /// One more.
    pub(crate) fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    /// Whether something is said of a field.
    pub(crate) fn names(&self, path: &Path) -> bool {
        let path = path.to_string();
        self.0.iter().any(|error| error.path.to_string() == path)
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Something must be there.
    pub(crate) fn required(&mut self, path: &Path, detail: &str) {
        self.0.push(Error::required(path, detail));
    }

    /// A value that cannot be.
    pub(crate) fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        self.0.push(Error::invalid(path, &value.into(), detail));
    }

    /// A value that cannot be, shown as Go prints it.
    pub(crate) fn invalid_shown(&mut self, path: &Path, shown: &str, detail: &str) {
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        let message = format!("Invalid value: {shown}{detail}");
        self.0.push(Error { reason: Reason::Invalid, path: path.clone(), message });
    }

    /// One complaint for each message about a text.
    pub(crate) fn words(&mut self, path: &Path, value: &str, messages: Vec<String>) {
        for message in messages {
            self.invalid(path, value, &message);
        }
    }

    /// One complaint for each message about a number.
    pub(crate) fn numbers(&mut self, path: &Path, value: i64, messages: Vec<String>) {
        for message in messages {
            self.invalid(path, value, &message);
        }
    }

    /// Must not be set, or not be changed.
    pub(crate) fn forbidden(&mut self, path: &Path, detail: &str) {
        self.0.push(Error::forbidden(path, detail));
    }

    /// The same again.
    pub(crate) fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.0.push(Error::duplicate(path, &value.into()));
    }

    /// Names something that is not there.
    pub(crate) fn not_found(&mut self, path: &Path, value: &str) {
        self.0.push(Error::not_found(path, &Value::from(value)));
    }

    /// Too many bytes.
    pub(crate) fn too_long(&mut self, path: &Path, max: usize) {
        self.0.push(Error::too_long(path, max));
    }

    /// Too many items.
    pub(crate) fn too_many(&mut self, path: &Path, count: usize, max: usize) {
        self.0.push(Error::too_many(path, count, max));
    }

    /// None of the values that can be.
    pub(crate) fn not_supported(&mut self, path: &Path, value: impl Into<Value>, allowed: &[&str]) {
        self.0.push(Error::not_supported(path, &value.into(), allowed));
    }

    /// One of these, or a complaint.
    pub(crate) fn one_of(&mut self, path: &Path, value: &str, allowed: &[&str]) {
        if !allowed.contains(&value) {
            self.not_supported(path, value, allowed);
        }
    }

    /// One of these; its absence is a complaint of its own.
    pub(crate) fn chosen(&mut self, path: &Path, value: &str, allowed: &[&str]) {
        if value.is_empty() { self.required(path, "") } else { self.one_of(path, value, allowed) }
    }

    /// Not below 0; nothing is said of what is absent.
    pub(crate) fn not_negative(&mut self, path: &Path, value: Option<i64>) {
        if let Some(value) = value.filter(|value| *value < 0) {
            self.invalid(path, value, NEGATIVE);
        }
    }

    /// Unchanged, or a complaint that shows the new value as Go prints it.
    pub(crate) fn immutable(&mut self, path: &Path, new: &Value, old: &Value) {
        if !super::look::same(new, old) {
            self.invalid_shown(path, &super::golang::shown(new), IMMUTABLE);
        }
    }
}
