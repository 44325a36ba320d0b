//! What each namespace has from its beginning: the account `default` and the certificates of the API server.

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;

use crate::known::{CONFIG_MAP, NAMESPACE, SERVICE_ACCOUNT};
use crate::plan::{Controller, Interest, Key, Plan, Write};
use crate::snapshot::{Snapshot, is_deleted};

/// Name of the ConfigMap with the API server's certificates.
pub const ROOT_CA: &str = "kube-root-ca.crt";

const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

/// Keeps a ServiceAccount `default` in each namespace.
pub struct DefaultAccounts;

/// Keeps the ConfigMap `kube-root-ca.crt` in each namespace.
pub struct RootCa {
    /// Certificates that a client of the API server trusts, PEM.
    pub bundle: String,
}

impl Controller for DefaultAccounts {
    fn name(&self) -> &'static str {
        "service-account-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::own(&NAMESPACE),
            Interest::of(&SERVICE_ACCOUNT, |_, _, account| of("default", account)),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _: Moment) -> Plan {
        let missing = world.get(&SERVICE_ACCOUNT, &key.name, "default").is_none();
        if !(missing && is_active(world, &key.name)) {
            return Plan::default();
        }
        let account = json!({"metadata": {"name": "default", "namespace": key.name}});
        Plan::write(Write::create(&SERVICE_ACCOUNT, account))
    }
}

impl Controller for RootCa {
    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        let maps = Interest::of(&CONFIG_MAP, |_, _, map| of(ROOT_CA, map));
        vec![Interest::own(&NAMESPACE), maps.when(|_, _, map| map.name == ROOT_CA)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _: Moment) -> Plan {
        if !is_active(world, &key.name) {
            return Plan::default();
        }
        let data = json!({"ca.crt": self.bundle});
        let annotations = json!({"kubernetes.io/description": DESCRIPTION});
        let Some(map) = world.get(&CONFIG_MAP, &key.name, ROOT_CA) else {
            let metadata = json!({"name": ROOT_CA, "namespace": key.name, "annotations": annotations});
            return Plan::write(Write::create(&CONFIG_MAP, json!({"metadata": metadata, "data": data})));
        };
        let described = object::annotation(&map, "kubernetes.io/description") == Some(DESCRIPTION);
        if described && map["data"] == data {
            return Plan::default();
        }
        let mut map = Value::clone(&map);
        map["data"] = data;
        object::metadata_mut(&mut map).insert("annotations".into(), annotations);
        Plan::write(Write::update(&CONFIG_MAP, map))
    }
}

/// The namespace of an object of this name.
fn of(name: &str, object: &Value) -> Vec<Key> {
    let is_it = object::name(object) == name;
    is_it.then(|| Key::new(&NAMESPACE, "", object::namespace(object))).into_iter().collect()
}

fn is_active(world: &dyn Snapshot, namespace: &str) -> bool {
    world.get(&NAMESPACE, "", namespace).is_some_and(|found| {
        !is_deleted(&found) && matches!(found["status"]["phase"].as_str(), None | Some("" | "Active"))
    })
}
