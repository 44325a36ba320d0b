//! `shoal delete`: what was deployed, away again.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::Value;
use shoal_api::object;
use shoal_cli::cluster::Named;
use shoal_cli::cluster::delete::{Deletable, DeleteRequest};
use shoal_cli::progress::LinesProgress;
use shoal_cli::{Common, Exit, exit};
use shoal_client::{Deletion, Resource, Select, kinds};
use tokio::time::{Instant, timeout_at};

use crate::cluster::find::{find, with_namespace};
use crate::cluster::world::World;
use crate::cluster::{Cluster, apply, documents, failed};
use crate::process;
use crate::server::said;

/// An object that is to go.
struct Going {
    resource: Resource,
    namespace: String,
    name: String,
    /// The one that has been deleted; another of its name may come.
    uid: String,
}

/// Kinds that a name is of when it is said without one, in this order.
const TRIED: [Resource; 3] = [kinds::APPS, kinds::DEPLOYMENTS, kinds::JOBS];

impl Going {
    fn of(resource: Resource, found: &Value) -> Self {
        let [namespace, name, uid] =
            [object::namespace(found), object::name(found), object::uid(found)].map(String::from);
        Self { resource, namespace, name, uid }
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.resource.kind.to_lowercase(), self.name)
    }
}

/// Deletes, and waits until all of it is gone.
pub(crate) fn delete(common: &Common, request: &DeleteRequest) -> Result<u8, Exit> {
    let cluster = Cluster::reach(common, &request.cluster)?;
    process::runtime()?.block_on(async {
        let meant = match &request.what {
            Deletable::Files(files) => in_files(&cluster, documents::read(files)?).await?,
            Deletable::Named(names) => named(&cluster, names).await?,
        };
        let mut going = Vec::new();
        for one in meant {
            going.extend(remove(&cluster, one, request.wait.is_some()).await?);
        }
        if let Some(wait) = request.wait {
            until_gone(&cluster, &going, wait).await?;
        }
        Ok(exit::OK)
    })
}

/// What stands in files, in the opposite order: what came last may need what came before it. What is not there is said.
async fn in_files(cluster: &Cluster, objects: Vec<Value>) -> Result<Vec<Going>, Exit> {
    let placed = apply::place_known(cluster, objects, &mut |line| {
        said(line);
    })
    .await?;
    let mut going = Vec::new();
    for placed in placed.into_iter().rev() {
        let shown = placed.shown();
        match cluster.client.get(&placed.resource, placed.namespace(), placed.name()).await {
            Ok(found) => going.push(Going::of(placed.resource, &found)),
            Err(error) if error.is_not_found() => {
                said(&format!("{shown} is not there"));
            }
            Err(error) => return Err(failed(format_args!("cannot look at {shown}"), &error)),
        }
    }
    Ok(going)
}

async fn named(cluster: &Cluster, names: &[Named]) -> Result<Vec<Going>, Exit> {
    let mut going = Vec::new();
    for named in names {
        let (resource, found) = find(cluster, named, &TRIED).await?;
        going.push(Going::of(resource, &found));
    }
    Ok(going)
}

/// Deletes one object, and no other of its name; none: it is not there any more.
async fn remove(cluster: &Cluster, one: Going, is_waited_for: bool) -> Result<Option<Going>, Exit> {
    // What is waited for goes last, after all that it has made: when it is gone, its pods are.
    let propagation = if is_waited_for { "Foreground" } else { "Background" };
    let deletion = Deletion { propagation, uid: one.uid.clone(), ..Deletion::default() };
    match cluster.client.delete(&one.resource, &one.namespace, &one.name, &deletion).await {
        Ok(_) if is_waited_for => Ok(Some(one)),
        Ok(_) => {
            said(&format!("{} is to be deleted", one.shown()));
            Ok(Some(one))
        }
        Err(error) if error.is_not_found() => {
            said(&format!("{} is not there", one.shown()));
            Ok(None)
        }
        Err(error) if error.is_conflict() => {
            let what = format!("{} was deleted by somebody else, and another has its name now", one.shown());
            Err(Exit::error(exit::UNAVAILABLE, what).hint("look at it, and delete it again if it is meant"))
        }
        Err(error) => Err(failed(format_args!("cannot delete {}", one.shown()), &error)),
    }
}

async fn until_gone(cluster: &Cluster, going: &[Going], wait: Duration) -> Result<(), Exit> {
    let end = Instant::now() + wait;
    let mut progress = LinesProgress::new(std::io::stderr().is_terminal());
    for one in going {
        let select = Select::named(&one.name);
        let world = World::selected(&cluster.client, &one.namespace, one.resource.clone(), select);
        let gone = world.run(async {
            world.read().await?;
            let mut changes = world.changes();
            while world
                .get(&one.resource, &one.namespace, &one.name)
                .is_some_and(|left| object::uid(&left) == one.uid)
            {
                progress.set(&one.shown(), &format!("{}: going", one.shown()), false);
                changes.next().await;
            }
            progress.set(&one.shown(), &format!("{}: deleted", one.shown()), true);
            Ok::<_, Exit>(())
        });
        match timeout_at(end, gone).await {
            Ok(result) => result?,
            Err(_) => {
                let what = format!(
                    "{} is still there: it waits for what belongs to it, or has finalizers",
                    one.shown()
                );
                let place = with_namespace(&one.namespace);
                return Err(Exit::error(exit::UNAVAILABLE, what).hint(format!(
                    "`kubectl get {}{place} -o yaml` shows them under metadata",
                    one.shown()
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::{Api, refused};

    async fn app(cluster: &Cluster) -> Going {
        let app = json!({"metadata": {"name": "shop", "namespace": "default"}});
        Going::of(kinds::APPS, &cluster.client.create(&kinds::APPS, &app).await.expect("an App"))
    }

    #[tokio::test]
    async fn another_of_the_same_name_stays() {
        let cluster = Cluster::of_client(Api::new(|_| None).client());
        let known = app(&cluster).await;
        let now = Deletion::confirmed(&known.uid);
        cluster.client.delete(&kinds::APPS, "default", "shop", &now).await.expect("gone");
        let other = app(&cluster).await;
        let ended = remove(&cluster, known, true).await;
        let Err(Exit::Error(complaint)) = ended else { panic!("another is there") };
        assert_eq!(
            (complaint.code, complaint.what.as_str()),
            (exit::UNAVAILABLE, "app/shop was deleted by somebody else, and another has its name now")
        );
        let left = cluster.client.get(&kinds::APPS, "default", "shop").await.expect("it stays");
        assert_eq!(object::uid(&left), other.uid);
        assert!(remove(&cluster, other, true).await.is_ok_and(|going| going.is_some()));
    }

    #[tokio::test]
    async fn whoever_may_not_look_is_not_told_that_it_is_gone() {
        let api = Api::new(|request| (*request.method() == "GET").then(|| refused(403)));
        let cluster = Cluster::of_client(api.client());
        let going = app(&cluster).await;
        let ended = until_gone(&cluster, &[going], Duration::from_secs(30)).await;
        assert_eq!(ended.map_err(|exit| exit.code()), Err(exit::UNAVAILABLE));
    }

    #[tokio::test]
    async fn what_takes_long_is_looked_at_where_it_is() {
        let cluster = Cluster::of_client(Api::new(|_| None).client());
        let going = app(&cluster).await;
        let Err(Exit::Error(complaint)) = until_gone(&cluster, &[going], Duration::from_millis(1)).await
        else {
            panic!("it stays")
        };
        assert_eq!(complaint.hints, ["`kubectl get app/shop -n default -o yaml` shows them under metadata"]);
    }
}
