//! A version of a definition, ready for its objects.

use serde_json::{Map, Value};
use shoal_api::field::{Error, Path, Reason};
use shoal_api::resources::compare_versions;
use shoal_api::schema::{TypeId, builtin};
use shoal_api::{GroupVersionKind, Node, Schema, object};

use super::paths::FieldPath;
use super::rules::{self, Tree};
use super::scale::ScalePaths;
use super::structural::{self, Structural};
use super::{definition, invariants, schema, validate};
use crate::cel::Budget;

/// What the table of built-in kinds calls the type of `metadata`.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A version of a definition, ready for its objects. Made when the definition changes, used for each request.
#[derive(Debug)]
pub struct Compiled {
    /// The kind in this version.
    pub kind: GroupVersionKind,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Where its objects keep what a Scale shows; none without that subresource.
    pub scale: Option<ScalePaths>,
    /// Fields that a field selector may name, as they are written there (`spec.color`), and where they are.
    pub selectable: Vec<(String, FieldPath)>,
    /// What clients of this version are warned of; none when it is not deprecated.
    pub deprecation: Option<String>,
    has_status: bool,
    schema: Schema,
    root: TypeId,
    structural: Structural,
    /// The schema as rules see it.
    visible: Structural,
    rules: Tree,
}

/// A definition that cannot be used: it was stored without the checks of [`definition::validate_create`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// There is no such version.
    #[error("the definition has no version {0:?}: take one of spec.versions")]
    NoVersion(String),
    /// Its schema cannot be read.
    #[error("the schema of version {version:?} cannot be used: mend the definition")]
    Schema {
        /// The version.
        version: String,
        /// What is wrong.
        source: structural::Error,
    },
}

/// What was found in an object.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong: the object is refused when there is any.
    pub errors: Vec<Error>,
    /// For the client to know: what is wrong and was before.
    pub warnings: Vec<String>,
}

impl Compiled {
    /// Reads a version of a definition.
    ///
    /// # Errors
    /// When there is no such version, or its schema cannot be read.
    pub fn new(crd: &Value, version: &str) -> Result<Self, CompileError> {
        let spec = &crd["spec"];
        let entry =
            definition::version(crd, version).ok_or_else(|| CompileError::NoVersion(version.into()))?;
        let unusable = |source| CompileError::Schema { version: version.into(), source };
        let mut structural = Structural::new(&entry["schema"]["openAPIV3Schema"]).map_err(unusable)?;
        structural.preserve_unknown |= spec["preserveUnknownFields"] == true;
        let (schema, root) = schema::convert(&structural, builtin::named(OBJECT_META));
        let visible = rules::visible(&structural, true);
        let rules = Tree::new(&visible);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let selectable = entry["selectableFields"].as_array().into_iter().flatten().filter_map(|field| {
            let path = field["jsonPath"].as_str()?;
            Some((path.trim_start_matches('.').to_string(), FieldPath::new(path)?))
        });
        Ok(Self {
            kind: GroupVersionKind::new(&text(&spec["group"]), version, &text(&spec["names"]["kind"])),
            namespaced: spec["scope"] == "Namespaced",
            scale: ScalePaths::new(&entry["subresources"]),
            selectable: selectable.collect(),
            deprecation: deprecation(crd, entry),
            has_status: entry["subresources"]["status"].is_object(),
            schema,
            root,
            structural,
            visible,
            rules,
        })
    }

    /// The type of its objects, for decoding, pruning, defaulting and applying.
    pub fn node(&self) -> Node<'_> {
        self.schema.node(self.root)
    }

    /// The schema as rules and policies see it.
    pub fn visible(&self) -> &Structural {
        &self.visible
    }

    /// Whether it has the subresource `status`.
    pub fn has_status(&self) -> bool {
        self.has_status
    }

    /// The value of a selectable field; none when the definition does not name it.
    pub fn select(&self, object: &Value, field: &str) -> Option<String> {
        let (_, path) = self.selectable.iter().find(|(name, _)| name == field)?;
        Some(match path.get(object) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        })
    }

    /// What a new object looks like: without status where status is a subresource, of generation 1.
    pub fn prepare_create(&self, new: &mut Value) {
        if self.has_status
            && let Some(fields) = new.as_object_mut()
        {
            fields.remove("status");
        }
        object::metadata_mut(new).insert("generation".into(), 1.into());
    }

    /// What a changed object looks like: where status is a subresource, the status stays and the generation grows with
    /// everything but the status; without one, with everything but metadata.
    pub fn prepare_update(&self, new: &mut Value, old: &Value) {
        if self.has_status
            && let Some(fields) = new.as_object_mut()
        {
            match old.get("status") {
                Some(status) => fields.insert("status".into(), status.clone()),
                None => fields.remove("status"),
            };
        }
        let content = |object: &Value| {
            let mut fields = object.as_object().cloned().unwrap_or_default();
            fields.remove("metadata");
            fields
        };
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        let grown = generation + i64::from(content(new) != content(old));
        object::metadata_mut(new).insert("generation".into(), grown.into());
    }

    /// What an object looks like whose status was written: all but the status, the resource version and who manages
    /// it stays.
    pub fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        let mut next = old.clone();
        if let Some(fields) = next.as_object_mut() {
            match new.get("status") {
                Some(status) => fields.insert("status".into(), status.clone()),
                None => fields.remove("status"),
            };
        }
        let metadata: &mut Map<String, Value> = object::metadata_mut(&mut next);
        for field in ["managedFields", "resourceVersion"] {
            match new["metadata"].get(field) {
                Some(value) => metadata.insert(field.into(), value.clone()),
                None => metadata.remove(field),
            };
        }
        *new = next;
    }

    /// What is wrong with an object, all but its metadata, whose rules are those of every object. `old` is what it was
    /// before, for an update. `budget` pays for the rules of CEL.
    pub fn validate(&self, new: &Value, old: Option<&Value>, budget: &mut Budget<'_>) -> Verdict {
        let mut errors = validate::validate(&self.structural, new, old);
        if let Some(scale) = &self.scale {
            errors.extend(scale.validate(new));
        }
        self.judge(errors, new, old, budget)
    }

    /// As [`Self::validate`], when only the status was written.
    pub fn validate_status(&self, new: &Value, old: &Value, budget: &mut Budget<'_>) -> Verdict {
        self.validate(new, Some(old), budget)
    }

    fn judge(
        &self,
        mut errors: Vec<Error>,
        new: &Value,
        old: Option<&Value>,
        budget: &mut Budget<'_>,
    ) -> Verdict {
        errors.extend(invariants::embedded(&self.structural, new));
        errors.extend(invariants::lists(&self.structural, new, old));
        if self.rules.is_empty() {
            return Verdict { errors, warnings: Vec::new() };
        }
        if errors.iter().any(blocks) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(Error::invalid(&Path::root(), &"null".into(), detail));
            return Verdict { errors, warnings: Vec::new() };
        }
        let found = self.rules.validate(&self.visible, new, old, budget);
        errors.extend(found.errors);
        Verdict { errors, warnings: found.warnings }
    }
}

/// The warning of a deprecated version: its own, or one that names what to use instead.
fn deprecation(crd: &Value, entry: &Value) -> Option<String> {
    if entry["deprecated"] != true {
        return None;
    }
    if let Some(own) = entry["deprecationWarning"].as_str() {
        return Some(own.into());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let (group, kind) = (text(&crd["spec"]["group"]), text(&crd["spec"]["names"]["kind"]));
    let version = text(&entry["name"]);
    let better = definition::versions(crd)
        .filter(|other| other["served"] == true && other["deprecated"] != true)
        .filter_map(|other| other["name"].as_str())
        .filter(|other| compare_versions(other, &version).is_lt())
        .min_by(|a, b| compare_versions(a, b));
    let warning = format!("{group}/{version} {kind} is deprecated");
    Some(better.map_or(warning.clone(), |better| format!("{warning}; use {group}/{better} {kind}")))
}

/// Whether an error means that the rules may meet values that they do not expect.
fn blocks(error: &Error) -> bool {
    matches!(
        error.reason,
        Reason::NotSupported | Reason::Required | Reason::TooLong | Reason::TooMany | Reason::TypeInvalid
    )
}
