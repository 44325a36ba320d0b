//! Server-side apply: who owns which field.
//!
//! Each writer of an object is a *manager*; `metadata.managedFields` says which fields each of them owns. A manager that
//! *applies* states all that it wants to own: what it does not state any more is removed, and what others own in another
//! way is a conflict. Any other write moves what it changes to its manager.
//!
//! Source: `sigs.k8s.io/structured-merge-diff/v4` and `k8s.io/apimachinery/pkg/util/managedfields`, as of 1.32. One thing
//! is simpler: an entry of another version of the kind is read as if its fields had the same paths in this one.
//!
//! The order on each write: decode and default the object, [`track`] (or [`apply`], then default), admission, [`settle`].

mod cap;
mod compare;
mod conflict;
mod extract;
mod last_applied;
mod list;
mod managed;
mod merge;
mod prune;
mod scale;
mod set;
mod settle;
mod track;

use serde_json::Value;

use crate::schema::Node;

pub use cap::UPDATE_MANAGERS_MAX;
pub use conflict::{ApplyError, Conflict};
pub use managed::validate;
pub use scale::{ReplicasPaths, scale_to_parent, scale_to_subresource};
pub use set::{Element, Set, SetError};
pub use settle::settle;
pub use track::track;

use compare::compare;
use conflict::Conflicts;
use managed::{Id, Managed, Operation, Owned};

/// Who writes, and through what.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// `?fieldManager=`, or what stands before the first `/` of the user agent.
    pub name: &'a str,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: &'a str,
    /// Of the object as it was sent: `apps/v1`.
    pub api_version: &'a str,
    /// What time it is, as RFC 3339 in whole seconds; empty where entries of this manager have no time.
    pub now: &'a str,
    /// Fields that this way of writing does not change, whatever is sent, each with all below it: `["status"]` for the
    /// object of a kind with that subresource. They are never owned through it.
    pub resets: &'a [&'a [&'a str]],
}

impl Manager<'_> {
    fn time(&self) -> Option<String> {
        (!self.now.is_empty()).then(|| self.now.to_owned())
    }

    fn id(&self, operation: Operation) -> Id {
        // One that applies is the same whatever version it applies.
        let api_version = if operation == Operation::Apply { "" } else { self.api_version };
        Id {
            manager: self.name.into(),
            operation,
            api_version: api_version.into(),
            subresource: self.subresource.into(),
        }
    }

    fn reset_set(&self) -> Set {
        let mut set = Set::default();
        for path in self.resets {
            set.insert(&path.iter().map(|name| Element::field(name)).collect::<Vec<_>>());
        }
        set
    }
}

/// The manager that owns what was there before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Applies `config` to an object, or makes one of it: merges it in, removes what the manager owned and states no more,
/// and gives it what it states. The result is not defaulted yet; its `managedFields` are up to date.
///
/// # Errors
/// What is wrong with `config`, or who else owns what it states, unless `force` takes it from them.
pub fn apply(
    node: Node<'_>,
    live: Option<&Value>,
    config: &Value,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    conflict::check_config(config, manager)?;
    let set = extract::set_of_config(node, config).map_err(|errors| ApplyError::schema(config, &errors))?;
    let mut object = live.cloned().unwrap_or_else(track::nothing);
    let encoded = track::take_managed(&mut object);
    let mut managed = Managed::decode(&encoded).map_err(ApplyError::Undecodable)?;
    managed.fit(node);
    if managed.is_empty() && live.is_some() {
        let before = Manager { name: BEFORE_FIRST_APPLY, ..*manager };
        track::take_over(node, &track::nothing(), &object, &mut managed, &before);
    }
    let attempt = Attempt { node, object: &object, config, set: &set, manager };
    let merged = match attempt.run(&mut managed, force) {
        Err(conflicts) if last_applied::allows(node, &object, manager, &conflicts) => {
            attempt.run(&mut managed, true).map_err(ApplyError::Conflicts)?
        }
        other => other.map_err(|conflicts| {
            ApplyError::Conflicts(last_applied::remaining(node, &object, manager, conflicts))
        })?,
    };
    let mut object = merged.unwrap_or(object);
    last_applied::refresh(&mut object, config, manager);
    track::put_managed(&mut object, managed.encode());
    Ok(object)
}

/// Whether all of one set is in another.
fn is_within(one: &Set, other: &Set) -> bool {
    let mut left = one.clone();
    left.difference(other);
    left.is_empty()
}

/// One try to apply.
struct Attempt<'a> {
    node: Node<'a>,
    /// Without `managedFields`.
    object: &'a Value,
    config: &'a Value,
    /// What `config` states.
    set: &'a Set,
    manager: &'a Manager<'a>,
}

impl Attempt<'_> {
    /// The object with `config` in it, or none when it is the same; `managed` changes only when it succeeds.
    fn run(&self, managed: &mut Managed, force: bool) -> Result<Option<Value>, Conflicts> {
        let id = self.manager.id(Operation::Apply);
        let resets = self.manager.reset_set();
        let mut stated = self.set.clone();
        stated.difference_below(&resets);
        let mut after = managed.clone();
        let last = after.remove(&id);
        let mut own = Owned {
            api_version: self.manager.api_version.into(),
            time: last.as_ref().and_then(|last| last.time.clone()),
            set: stated,
        };
        let merged = merge::merge(Some(self.node), self.object.clone(), self.config);
        let merged = match &last {
            // Who states all that it stated before has nothing to remove.
            Some(last) if !is_within(&last.set, &own.set) => {
                let owned = after.union().union(&own.set);
                prune::prune(self.node, merged, &last.set, &owned)
            }
            _ => merged,
        };
        let mut delta = compare(self.node, self.object, &merged);
        delta.without(&resets);
        let conflicts = after.conflicts(&delta);
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        after.give_up(&delta);
        own.set.difference(track::stripped());
        let same = delta.is_empty();
        if !same {
            own.time = self.manager.time();
        }
        if !own.set.is_empty() {
            after.insert(id, own);
        }
        *managed = after;
        Ok((!same).then_some(merged))
    }
}
