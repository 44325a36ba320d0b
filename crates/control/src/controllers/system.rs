//! Objects that a cluster has from its beginning and never loses.

use serde_json::Value;
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, object};

use crate::bootstrap::{AUTOUPDATE, Kept, SystemObject};
use crate::known::NAMESPACE;
use crate::plan::{Controller, Interest, Key, Plan, Write};
use crate::snapshot::{Snapshot, is_deleted};

/// Keeps the objects of [`crate::bootstrap`].
pub struct SystemObjects {
    objects: Vec<(Key, SystemObject)>,
}

impl SystemObjects {
    /// Keeps these objects.
    pub fn new(objects: Vec<SystemObject>) -> Self {
        let keyed = |system: SystemObject| (Key::of(&system.kind, &system.object), system);
        Self { objects: objects.into_iter().map(keyed).collect() }
    }
}

impl Controller for SystemObjects {
    fn name(&self) -> &'static str {
        "bootstrap-controller"
    }

    fn manager(&self) -> &'static str {
        "kube-apiserver"
    }

    fn interests(&self) -> Vec<Interest> {
        let mut kinds: Vec<&GroupVersionKind> = self.objects.iter().map(|(key, _)| &key.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds.into_iter().map(Interest::own).collect()
    }

    fn initial(&self) -> Vec<Key> {
        self.objects.iter().map(|(key, _)| key.clone()).collect()
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _: Moment) -> Plan {
        let Some((_, system)) = self.objects.iter().find(|(known, _)| known == key) else {
            return Plan::default();
        };
        let Some(known) = world.get(&key.kind, &key.namespace, &key.name) else {
            let missing = !key.namespace.is_empty() && world.get(&NAMESPACE, "", &key.namespace).is_none();
            let namespace = self
                .objects
                .iter()
                .find(|(known, _)| missing && known.kind == *NAMESPACE && known.name == key.namespace);
            let needed = namespace.into_iter().map(|(_, namespace)| namespace).chain([system]);
            let writes = needed.map(|one| Write::create(&one.kind, one.object.clone())).collect();
            return Plan { writes, ..Plan::default() };
        };
        let wanted = match system.kept {
            Kept::Existing => return Plan::default(),
            Kept::Spec if object::annotation(&known, AUTOUPDATE) == Some("false") => return Plan::default(),
            Kept::Spec => &["spec"][..],
            Kept::Fields(fields) => fields,
        };
        let same = wanted.iter().all(|field| covers(&known[field], &system.object[field]));
        if same || is_deleted(&known) {
            return Plan::default();
        }
        let mut object = Value::clone(&known);
        for field in wanted {
            object[field] = system.object[field].clone();
        }
        Plan::write(Write::update(&key.kind, object))
    }
}

/// Whether `known` says all that `wanted` says; what the server filled in besides does not count.
pub(super) fn covers(known: &Value, wanted: &Value) -> bool {
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => {
            wanted.iter().all(|(field, value)| covers(known.get(field).unwrap_or(&Value::Null), value))
        }
        (Value::Array(known), Value::Array(wanted)) => {
            known.len() == wanted.len()
                && known.iter().zip(wanted).all(|(known, wanted)| covers(known, wanted))
        }
        // Go leaves out what is empty.
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Null, Value::String(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Number(wanted)) => wanted.as_i64() == Some(0),
        (Value::Null, Value::Bool(wanted)) => !wanted,
        (known, wanted) => known == wanted,
    }
}
