//! `shoal delete`: what was deployed, away again.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::Value;
use shoal_api::object;
use shoal_cli::cluster::Named;
use shoal_cli::cluster::delete::{Deletable, DeleteRequest};
use shoal_cli::progress::LinesProgress;
use shoal_cli::{Common, Exit, exit};
use shoal_client::{Deletion, Resource, Select, kinds};
use tokio::time::{Instant, timeout_at};

use crate::cluster::world::World;
use crate::cluster::{Cluster, apply, documents, failed, kinds as words};
use crate::process;

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

/// What stands in files, in the opposite order: what came last may need what came before it.
async fn in_files(cluster: &Cluster, objects: Vec<Value>) -> Result<Vec<Going>, Exit> {
    let placed = apply::place_known(cluster, objects).await?;
    let going = placed.into_iter().rev().map(|placed| Going {
        namespace: placed.namespace().into(),
        name: placed.name().into(),
        resource: placed.resource,
        uid: String::new(),
    });
    Ok(going.collect())
}

async fn named(cluster: &Cluster, names: &[Named]) -> Result<Vec<Going>, Exit> {
    let mut going = Vec::new();
    for Named { kind, name } in names {
        let resource = match kind {
            Some(word) => words::of_word(word)?,
            None => kind_of(cluster, name).await?,
        };
        let namespace = if resource.is_namespaced { cluster.namespace.clone() } else { String::new() };
        going.push(Going { resource, namespace, name: name.clone(), uid: String::new() });
    }
    Ok(going)
}

async fn kind_of(cluster: &Cluster, name: &str) -> Result<Resource, Exit> {
    for of in TRIED {
        match cluster.client.get(&of, &cluster.namespace, name).await {
            Ok(_) => return Ok(of),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(failed(format_args!("cannot look at {name}"), &error)),
        }
    }
    let what = format!("there is no App, Deployment or Job {name} in the namespace {}", cluster.namespace);
    Err(Exit::error(exit::NO_INPUT, what).hint(
        "`shoal status` shows what there is; name another kind as KIND/NAME, another namespace with -n NAME",
    ))
}

/// Deletes one object; none: it was not there.
async fn remove(cluster: &Cluster, one: Going, is_waited_for: bool) -> Result<Option<Going>, Exit> {
    // What is waited for goes last, after all that it has made: when it is gone, its pods are.
    let propagation = if is_waited_for { "Foreground" } else { "Background" };
    let deletion = Deletion { propagation, ..Deletion::default() };
    let told = |error| failed(format_args!("cannot delete {}", one.shown()), &error);
    let before = match cluster.client.get(&one.resource, &one.namespace, &one.name).await {
        Ok(before) => before,
        Err(error) if error.is_not_found() => return Ok(absent(&one)),
        Err(error) => return Err(told(error)),
    };
    match cluster.client.delete(&one.resource, &one.namespace, &one.name, &deletion).await {
        Ok(_) if is_waited_for => {}
        Ok(_) => say(&format!("{} is to be deleted", one.shown())),
        Err(error) if error.is_not_found() => return Ok(absent(&one)),
        Err(error) => return Err(told(error)),
    }
    Ok(Some(Going { uid: object::uid(&before).into(), ..one }))
}

fn absent(one: &Going) -> Option<Going> {
    say(&format!("{} is not there", one.shown()));
    None
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
                return Err(Exit::error(exit::UNAVAILABLE, what)
                    .hint(format!("`kubectl get {} -o yaml` shows them under metadata", one.shown())));
            }
        }
    }
    Ok(())
}

/// Talk, for people.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
