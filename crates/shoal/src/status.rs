//! `shoal status`: a cluster on one screen.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use shoal_cli::cluster::status::StatusRequest;
use shoal_cli::render::status::{self as show, Cluster as Shown};
use shoal_cli::{Common, Exit, exit};
use shoal_client::{Resource, Select, kinds};
use tokio::time::sleep;

use crate::cluster::world::World;
use crate::cluster::{Cluster, failed};
use crate::process;

/// Between two pictures of a cluster that changes all the time: what a person can read.
const PICTURE_EVERY: Duration = Duration::from_millis(500);
/// Moves the cursor to the upper left and clears what is there (ECMA-48).
const CLEAR: &str = "\u{1b}[H\u{1b}[2J\u{1b}[3J";

/// What a status is made of.
const KINDS: [Resource; 8] = [
    kinds::NODES,
    kinds::APPS,
    kinds::DEPLOYMENTS,
    kinds::JOBS,
    kinds::PODS,
    kinds::SERVICES,
    kinds::INGRESSES,
    kinds::EVENTS,
];

/// Shows the cluster; of one namespace, when one was named.
pub(crate) fn status(common: &Common, request: &StatusRequest) -> Result<u8, Exit> {
    let cluster = Cluster::reach(common, &request.cluster)?;
    let namespace = request.cluster.namespace.as_deref().unwrap_or_default();
    process::runtime()?.block_on(async {
        if request.watch {
            return watch(&cluster, namespace).await;
        }
        let mut objects = Vec::new();
        for of in &KINDS {
            objects.push(list(&cluster, of, namespace).await?);
        }
        Ok(print(&picture(&objects, request.json)))
    })
}

/// The objects of a kind. One that the API does not have, or that may not be read, has none.
async fn list(cluster: &Cluster, of: &Resource, namespace: &str) -> Result<Vec<Value>, Exit> {
    match cluster.client.list(of, namespace, &Select::default()).await {
        Ok(list) => Ok(list.items),
        Err(error) if matches!(error.code(), 403 | 404) => Ok(Vec::new()),
        Err(error) => Err(failed(format_args!("cannot list {}", of.plural), &error)),
    }
}

async fn watch(cluster: &Cluster, namespace: &str) -> Result<u8, Exit> {
    let world = World::new(&cluster.client, namespace, &KINDS);
    let is_terminal = std::io::stdout().is_terminal();
    let work = async {
        world.read().await?;
        let mut changes = world.changes();
        loop {
            let objects: Vec<Vec<Value>> = KINDS.iter().map(|of| world.all(of)).collect();
            let clear = if is_terminal { CLEAR } else { "" };
            print(&format!("{clear}{}", picture(&objects, false)));
            sleep(PICTURE_EVERY).await;
            changes.next().await;
        }
    };
    world.run(work).await
}

/// What the objects of `KINDS` look like.
fn picture(objects: &[Vec<Value>], json: bool) -> String {
    let of = |kind: &Resource| {
        let at = KINDS.iter().position(|known| known == kind);
        at.and_then(|at| objects.get(at)).map(Vec::as_slice).unwrap_or_default()
    };
    let shown = Shown {
        nodes: of(&kinds::NODES),
        apps: of(&kinds::APPS),
        deployments: of(&kinds::DEPLOYMENTS),
        jobs: of(&kinds::JOBS),
        pods: of(&kinds::PODS),
        services: of(&kinds::SERVICES),
        ingresses: of(&kinds::INGRESSES),
        events: of(&kinds::EVENTS),
    };
    if json { show::status_json(&shown) } else { show::status(&shown, Timestamp::now().as_second()) }
}

/// Prints data. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> u8 {
    let _ = anstream::stdout().write_all(text.as_bytes());
    exit::OK
}
