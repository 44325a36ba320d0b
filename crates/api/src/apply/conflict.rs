//! What others own, and how it is told.

use std::fmt;

use serde_json::Value;

use super::Manager;
use super::managed::{Id, Operation};
use super::set::Set;
use crate::Status;
use crate::object;
use crate::status::{Cause, Details};

/// Why a configuration was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// The configuration is no configuration.
    BadRequest(String),
    /// The configuration does not fit the schema of its kind.
    Schema(String),
    /// The `managedFields` of the stored object cannot be read.
    Undecodable(String),
    /// Others own what the configuration states.
    Conflicts(Conflicts),
}

/// All conflicts of one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts(pub(super) Vec<Conflict>);

/// What one other manager owns of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub(super) id: Id,
    pub(super) fields: Set,
}

impl ApplyError {
    /// A configuration that does not fit, with what is wrong.
    pub(super) fn schema(config: &Value, errors: &[String]) -> Self {
        let text = |field: &str| config[field].as_str().unwrap_or_default();
        let errors = match errors {
            [one] => one.clone(),
            many => many.iter().fold("errors:".to_string(), |all, one| format!("{all}\n  {one}")),
        };
        Self::Schema(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): {errors}",
            object::namespace(config),
            object::name(config),
            text("apiVersion"),
            text("kind"),
        ))
    }

    /// The answer of kube-apiserver.
    pub fn to_status(&self) -> Status {
        match self {
            Self::BadRequest(words) => Status::bad_request(words.clone()),
            Self::Schema(words) => Status::new(500, "", words.clone()),
            Self::Undecodable(words) => {
                Status::new(500, "", format!("failed to decode managed fields: {words}"))
            }
            Self::Conflicts(conflicts) => {
                let causes = conflicts.each().map(|(conflict, field)| Cause {
                    reason: "FieldManagerConflict".into(),
                    message: format!("conflict with {conflict}"),
                    field,
                });
                let details = Details { causes: causes.collect(), ..Details::default() };
                Status::new(409, "Conflict", conflicts.to_string()).with_details(details)
            }
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_status().message)
    }
}

impl std::error::Error for ApplyError {}

impl Conflicts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All fields in conflict.
    pub(super) fn fields(&self) -> Set {
        self.0.iter().fold(Set::default(), |all, conflict| all.union(&conflict.fields))
    }

    fn each(&self) -> impl Iterator<Item = (&Conflict, String)> {
        self.0
            .iter()
            .flat_map(|conflict| conflict.fields.paths().into_iter().map(move |path| (conflict, path)))
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<(&Conflict, String)> = self.each().collect();
        if let [(conflict, path)] = all.as_slice() {
            return write!(f, "Apply failed with 1 conflict: conflict with {conflict}: {path}");
        }
        write!(f, "Apply failed with {} conflicts: ", all.len())?;
        for (at, conflict) in self.0.iter().enumerate() {
            let break_line = if at == 0 { "" } else { "\n" };
            write!(f, "{break_line}conflicts with {conflict}:")?;
            for path in conflict.fields.paths() {
                write!(f, "\n- {path}")?;
            }
        }
        Ok(())
    }
}

/// The manager, as messages name it.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.id.manager)?;
        if !self.id.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.id.subresource)?;
        }
        if self.id.operation == Operation::Update {
            write!(f, " using {}", self.id.api_version)?;
        }
        Ok(())
    }
}

/// Refuses what can be no configuration for this object.
pub(super) fn check_config(config: &Value, manager: &Manager<'_>) -> Result<(), ApplyError> {
    if !config.is_object() {
        return Err(ApplyError::BadRequest("error decoding YAML: the configuration is no object".into()));
    }
    let version = config["apiVersion"].as_str().unwrap_or_default();
    if version != manager.api_version {
        return Err(ApplyError::BadRequest(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            manager.api_version
        )));
    }
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".into()));
    }
    Ok(())
}
