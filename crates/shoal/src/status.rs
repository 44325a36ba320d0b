//! `shoal status`: a cluster on one screen.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::Value;
use shoal_cli::cluster::status::StatusRequest;
use shoal_cli::render::status::{self as show, Cluster as Shown};
use shoal_cli::{Common, Exit, exit, render};
use shoal_client::{Client, Error, Resource, Select, kinds};
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::world::{World, unlisted};
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
        let lists = try_join_all(KINDS.iter().map(|of| list(&cluster.client, of, namespace))).await?;
        let left_out: Vec<Resource> =
            KINDS.iter().zip(&lists).filter(|(_, list)| list.is_none()).map(|(of, _)| of.clone()).collect();
        let _ = anstream::stderr().write_all(not_listed(&left_out).as_bytes());
        let objects: Vec<Vec<Value>> = lists.into_iter().map(Option::unwrap_or_default).collect();
        // A reader that has gone away (`| head`) is no error.
        let _ = print(&picture(&objects, request.json));
        Ok(exit::OK)
    })
}

/// The objects of a kind; none: they may not be read. One that the API does not have has no objects.
async fn list(client: &Client, of: &Resource, namespace: &str) -> Result<Option<Vec<Value>>, Exit> {
    match client.list(of, namespace, &Select::default()).await {
        Ok(list) => Ok(Some(list.items)),
        Err(error) if error.is_not_found() => Ok(Some(Vec::new())),
        Err(error) if error.code() == 403 => Ok(None),
        Err(error) => Err(unlisted(of, &error)),
    }
}

/// What the picture lacks, for people.
fn not_listed(kinds: &[Resource]) -> String {
    let line = |of: &Resource| {
        render::error::warning(&format!("may not list {}; they are left out", of.plural), None)
    };
    kinds.iter().map(line).collect()
}

async fn watch(cluster: &Cluster, namespace: &str) -> Result<u8, Exit> {
    let world = World::new(&cluster.client, &[namespace], &[], &KINDS);
    let is_terminal = std::io::stdout().is_terminal();
    let work = async {
        let left_out = not_listed(&world.read().await?);
        let mut changes = world.changes();
        loop {
            let copied = |of: &Resource| world.all(of).iter().map(|object| (**object).clone()).collect();
            let objects: Vec<Vec<Value>> = KINDS.iter().map(copied).collect();
            let clear = if is_terminal { CLEAR } else { "" };
            let lost = world.lost().map(|error| lost(&error)).unwrap_or_default();
            let shown = print(&format!("{clear}{lost}{left_out}{}", picture(&objects, false)));
            if shown.is_err() {
                // Nobody reads it any more.
                return Ok(exit::OK);
            }
            sleep(PICTURE_EVERY).await;
            changes.next().await;
        }
    };
    world.run(work).await
}

/// Says that what is shown may not be so any more.
fn lost(error: &Error) -> String {
    render::error::warning(&format!("this is how it was: {error}"), None)
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

/// Prints data.
fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = anstream::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::{Api, refused};

    #[tokio::test]
    async fn what_may_not_be_listed_is_told_from_what_is_not_there() {
        for (code, expected) in [(403, Some(None)), (404, Some(Some(0))), (401, None), (500, None)] {
            let api = Api::new(move |_| Some(refused(code)));
            let listed = list(&api.client(), &kinds::PODS, "").await;
            assert_eq!(listed.ok().map(|items| items.map(|items| items.len())), expected, "{code}");
        }
        assert_eq!(not_listed(&[]), "");
        let said = anstream::adapter::strip_str(&not_listed(&[kinds::EVENTS])).to_string();
        assert_eq!(said, "warning: may not list events; they are left out\n");
    }
}
