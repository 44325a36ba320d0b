//! Whose words are meant: from a name to pods and their containers.

use serde_json::Value;
use shoal_api::object;
use shoal_api::selector::label::Selector;
use shoal_cli::cluster::Named;
use shoal_cli::{Exit, exit};
use shoal_client::{Resource, Select, kinds};

use crate::cluster::Cluster;
use crate::cluster::find::find;

/// Label of the pods of an App: its name.
const APP_LABEL: &str = "shoal.dev/app";

/// Whose words are meant.
pub(super) struct Whose {
    /// `app/shop`.
    pub(super) shown: String,
    pub(super) namespace: String,
    /// Its pods.
    pub(super) select: Select,
    /// Whether it may have several.
    pub(super) is_many: bool,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Speaker {
    pub(super) pod: String,
    pub(super) container: String,
    /// Whether its pod has others.
    is_one_of_several: bool,
}

impl Speaker {
    /// `POD`, or `POD/CONTAINER` where that says more.
    pub(super) fn shown(&self) -> String {
        if self.is_one_of_several { format!("{}/{}", self.pod, self.container) } else { self.pod.clone() }
    }
}

/// Kinds that a name may be of when it is said without one, in this order.
const TRIED: [Resource; 4] = [kinds::APPS, kinds::DEPLOYMENTS, kinds::JOBS, kinds::PODS];

/// Finds what is named.
pub(super) async fn whose(cluster: &Cluster, named: &Named) -> Result<Whose, Exit> {
    let (of, found) = find(cluster, named, &TRIED).await?;
    of_object(cluster, &of, &found)
}

fn of_object(cluster: &Cluster, of: &Resource, found: &Value) -> Result<Whose, Exit> {
    let name = object::name(found);
    let shown = format!("{}/{name}", of.kind.to_lowercase());
    let select = if *of == kinds::PODS {
        Select::named(name)
    } else if *of == kinds::APPS {
        Select::labels(format!("{APP_LABEL}={name}"))
    } else {
        let selector = &found["spec"]["selector"];
        let labels = Selector::from_object(selector)
            .ok()
            .filter(|labels| !labels.is_everything() && !labels.is_nothing());
        let Some(labels) = labels.filter(|_| selector.is_object()) else {
            return Err(Exit::error(exit::USAGE, format!("{shown} has no pods of its own"))
                .hint("name an App, a Deployment, a Job or a pod"));
        };
        Select::labels(labels.to_string())
    };
    Ok(Whose { shown, namespace: cluster.namespace.clone(), select, is_many: *of != kinds::PODS })
}

/// The containers of a pod, in the order in which they run.
pub(super) fn speakers(pod: &Value) -> Vec<Speaker> {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    let names: Vec<&str> =
        lists.into_iter().flatten().flatten().filter_map(|container| container["name"].as_str()).collect();
    let speaker = |container: &&str| Speaker {
        pod: object::name(pod).into(),
        container: (*container).into(),
        is_one_of_several: names.len() > 1,
    };
    names.iter().map(speaker).collect()
}

/// A run of a container: the uid of its pod, and the number of the run, from 0.
pub(super) type Run = (String, u64);

/// The number of a container's run that has begun, from 0; none: it has yet to begin.
pub(super) fn run_of(pod: &Value, container: &str) -> Option<u64> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|list| pod["status"][list].as_array());
    let status = lists.into_iter().flatten().flatten().find(|status| status["name"] == container)?;
    let has_run = ["running", "terminated"].iter().any(|state| status["state"][state].is_object());
    let number = status["restartCount"].as_u64().unwrap_or_default();
    // One that waits to be restarted has run; what it said then belongs to the run before.
    has_run.then_some(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_are_named_where_there_are_several() {
        let pod = |containers: Value| {
            let pod = json!({"metadata": {"name": "shop-1"}, "spec": containers});
            speakers(&pod).iter().map(Speaker::shown).collect::<Vec<_>>()
        };
        assert_eq!(pod(json!({"containers": [{"name": "app"}]})), ["shop-1"]);
        let several = json!({"containers": [{"name": "app"}], "initContainers": [{"name": "first"}]});
        assert_eq!(pod(several), ["shop-1/first", "shop-1/app"]);
        assert!(pod(json!({})).is_empty());
    }

    #[test]
    fn a_run_is_there_once_it_has_begun() {
        let pod = |state: Value| {
            let status = json!({"name": "app", "restartCount": 2, "state": state});
            run_of(&json!({"status": {"containerStatuses": [status]}}), "app")
        };
        assert_eq!(pod(json!({"running": {}})), Some(2));
        assert_eq!(pod(json!({"terminated": {"exitCode": 1}})), Some(2));
        assert_eq!(pod(json!({"waiting": {"reason": "CrashLoopBackOff"}})), None);
        assert_eq!(run_of(&json!({}), "app"), None);
    }
}
