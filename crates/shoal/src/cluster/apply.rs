//! Objects of files, applied one after the other: server-side, so that what others have set stays theirs.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_cli::{Exit, exit};
use shoal_client::{Client, Patch, Resource};
use tokio::time::Instant;

use super::{AGENT, Cluster, failed};

/// How long a kind may take to be served once its definition is there.
const DEFINED_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An object of a file, and where it belongs.
pub(crate) struct Placed {
    pub(crate) resource: Resource,
    /// With its namespace.
    pub(crate) object: Value,
}

/// What applying has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Changed,
    Unchanged,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Placed {
    pub(crate) fn namespace(&self) -> &str {
        object::namespace(&self.object)
    }

    pub(crate) fn name(&self) -> &str {
        object::name(&self.object)
    }

    /// `deployment/shop`, for people.
    pub(crate) fn shown(&self) -> String {
        format!("{}/{}", self.resource.kind.to_lowercase(), self.name())
    }
}

/// Which kinds the API has, as far as it was asked.
#[derive(Default)]
struct Known(HashMap<(String, String), Resource>);

impl Known {
    async fn find(&mut self, client: &Client, object: &Value) -> Result<Option<Resource>, Exit> {
        let of = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let key = (of("apiVersion"), of("kind"));
        if let Some(found) = self.0.get(&key) {
            return Ok(Some(found.clone()));
        }
        let found = client.find(&key.0, &key.1).await;
        let found = found.map_err(|error| failed(format_args!("cannot ask for {}", key.1), &error))?;
        Ok(found.inspect(|found| drop(self.0.insert(key, found.clone()))))
    }
}

/// Finds where objects belong. Those of kinds that the API does not have are left out, which is said.
pub(crate) async fn place_known(
    cluster: &Cluster,
    objects: Vec<Value>,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Placed>, Exit> {
    let mut known = Known::default();
    let mut placed = Vec::new();
    for object in objects {
        match known.find(&cluster.client, &object).await? {
            Some(resource) => placed.push(place(cluster, resource, object)),
            None => {
                let kind = object["kind"].as_str().unwrap_or_default();
                let version = object["apiVersion"].as_str().unwrap_or_default();
                let name = object::name(&object);
                let kind_lower = kind.to_lowercase();
                say(&format!(
                    "{kind_lower}/{name} is not there: the cluster has no kind {kind} in {version}"
                ));
            }
        }
    }
    Ok(placed)
}

fn place(cluster: &Cluster, resource: Resource, mut object: Value) -> Placed {
    if resource.is_namespaced && object::namespace(&object).is_empty() {
        object["metadata"]["namespace"] = json!(cluster.namespace);
    }
    Placed { resource, object }
}

/// Applies objects in their order, and says of each what came of it. Nothing is applied when one of them is of a kind that
/// nobody has defined. The result has them as the API has them now.
pub(crate) async fn apply(
    cluster: &Cluster,
    objects: Vec<Value>,
    force: bool,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Placed>, Exit> {
    let mut known = Known::default();
    for object in &objects {
        if known.find(&cluster.client, object).await?.is_none() && !is_defined_by(&objects, object) {
            return Err(unknown(object));
        }
    }
    let mut applied = Vec::new();
    for object in objects {
        let resource = served(&mut known, &cluster.client, &object).await?;
        let placed = place(cluster, resource, object);
        let (object, outcome) = one(&cluster.client, &placed, force).await?;
        say(&format!("{} {}", placed.shown(), outcome.word()));
        applied.push(Placed { object, ..placed });
    }
    Ok(applied)
}

/// Where the objects of a kind are, which may have been defined a moment ago.
async fn served(known: &mut Known, client: &Client, object: &Value) -> Result<Resource, Exit> {
    let end = Instant::now() + DEFINED_WITHIN;
    loop {
        if let Some(found) = known.find(client, object).await? {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(unknown(object));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether a definition among the objects makes this kind.
fn is_defined_by(objects: &[Value], object: &Value) -> bool {
    let group =
        object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    objects.iter().any(|definition| {
        definition["kind"] == "CustomResourceDefinition"
            && definition["spec"]["names"]["kind"] == object["kind"]
            && definition["spec"]["group"].as_str() == group
    })
}

fn unknown(object: &Value) -> Exit {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let what = format!("the cluster has no kind {} in {}", text("kind"), text("apiVersion"));
    Exit::error(exit::USAGE, what)
        .hint("apply its CustomResourceDefinition first, or mend apiVersion and kind")
}

async fn one(client: &Client, placed: &Placed, force: bool) -> Result<(Value, Outcome), Exit> {
    let (of, namespace, name) = (&placed.resource, placed.namespace(), placed.name());
    let told = |error| failed(format_args!("cannot apply {}", placed.shown()), &error);
    let before = match client.get(of, namespace, name).await {
        Ok(before) => Some(before),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(told(error)),
    };
    let patch = Patch::Apply { object: placed.object.clone(), manager: AGENT.into(), force };
    let after = client.patch(of, namespace, name, "", &patch).await.map_err(|error| {
        let exit = told(error.clone());
        if error.is_conflict() {
            exit.hint("leave these fields out of the file, or take them over with --force-conflicts")
        } else {
            exit
        }
    })?;
    let outcome = match before {
        None => Outcome::Created,
        Some(before) if object::resource_version(&before) == object::resource_version(&after) => {
            Outcome::Unchanged
        }
        Some(_) => Outcome::Changed,
    };
    Ok((after, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_may_be_defined_beside_its_objects() {
        let definition = json!({
            "kind": "CustomResourceDefinition", "spec": {"group": "shop.test", "names": {"kind": "Cart"}},
        });
        let objects = [definition];
        for (version, kind, is_defined) in [
            ("shop.test/v1", "Cart", true),
            ("shop.test/v1", "Basket", false),
            ("other.test/v1", "Cart", false),
            ("v1", "Cart", false),
        ] {
            let object = json!({"apiVersion": version, "kind": kind});
            assert_eq!(is_defined_by(&objects, &object), is_defined, "{object}");
        }
    }
}
