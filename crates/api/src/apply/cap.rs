//! Few managers that update: the oldest are put together.

use std::collections::BTreeMap;

use super::managed::{Id, Managed, Operation};
use crate::time::Moment;

/// Managers that update one object, as kube-apiserver allows; each costs room in every read of the object.
pub const UPDATE_MANAGERS_MAX: usize = 10;

/// Who owns what the oldest managers owned.
const ANCIENT_CHANGES: &str = "ancient-changes";

/// Puts the oldest managers that update together, those of one version with each other, until few enough are left.
pub(super) fn cap(managed: &mut Managed) {
    let mut updaters: Vec<Id> =
        managed.0.keys().filter(|id| id.operation == Operation::Update).cloned().collect();
    if updaters.len() <= UPDATE_MANAGERS_MAX {
        return;
    }
    let seconds = |id: &Id| {
        let time = managed.0.get(id).and_then(|owned| owned.time.as_ref()?.parse::<Moment>().ok());
        time.map_or(0, Moment::seconds)
    };
    updaters.sort_by_cached_key(|id| (seconds(id), id.clone()));
    let mut left = updaters.len();
    let mut first_of_version: BTreeMap<String, Id> = BTreeMap::new();
    for id in updaters {
        if left <= UPDATE_MANAGERS_MAX {
            break;
        }
        let Some(version) = managed.0.get(&id).map(|owned| owned.api_version.clone()) else { continue };
        let bucket = Id {
            manager: ANCIENT_CHANGES.into(),
            operation: Operation::Update,
            api_version: version.clone(),
            subresource: String::new(),
        };
        let Some(first) = first_of_version.get(&version) else {
            first_of_version.insert(version, id);
            continue;
        };
        if !managed.0.contains_key(&bucket)
            && let Some(owned) = managed.0.remove(first)
        {
            managed.0.insert(bucket.clone(), owned);
        }
        if let Some(owned) = managed.0.remove(&id)
            && let Some(ancient) = managed.0.get_mut(&bucket)
        {
            ancient.set.add(&owned.set);
            ancient.time = owned.time;
            left -= 1;
        }
    }
}
