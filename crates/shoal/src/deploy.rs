//! `shoal deploy`: files of objects or a bare artifact, applied, and watched until they serve.

mod rollout;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use serde_json::Value;
use shoal_cli::cluster::app;
use shoal_cli::cluster::deploy::{AppOptions, DeployRequest, Deployable};
use shoal_cli::{Common, Exit, exit};

use crate::cluster::{Cluster, apply, documents};
use crate::server::said;
use crate::{commands, process};

/// Deploys, and prints the URLs under which it is reached.
pub(crate) fn deploy(common: &Common, request: &DeployRequest) -> Result<u8, Exit> {
    let cluster = Cluster::reach(common, &request.cluster)?;
    let objects = match &request.what {
        Deployable::Files(files) => documents::read(files)?,
        Deployable::Artifact { path, app } => vec![artifact(&cluster, path, app)?],
    };
    process::runtime()?.block_on(async {
        let applied = apply::apply(&cluster, objects, request.force_conflicts, &mut |line| {
            said(line);
        })
        .await?;
        let Some(wait) = request.wait else { return Ok(exit::OK) };
        let served = rollout::until_served(&cluster, &applied, wait, std::io::stderr().is_terminal()).await?;
        for ingress in &served.unserved {
            said(&format!("{ingress}: no edge serves it yet"));
        }
        for url in &served.urls {
            // A reader that has gone away (`| head`) is no error.
            let _ = writeln!(anstream::stdout(), "{url}");
        }
        match (served.taken.first(), served.urls.is_empty()) {
            (Some(taken), true) => {
                let what = format!("it runs, and is not reached from outside: {taken}");
                Err(Exit::error(exit::UNAVAILABLE, what)
                    .hint("deploy it with a route of its own (--route HOST, HOST/PATH or /PATH), or delete the other"))
            }
            _ => {
                for taken in &served.taken {
                    said(taken);
                }
                Ok(exit::OK)
            }
        }
    })
}

/// The object that runs a bare artifact, which the nodes of a cluster of this machine find by its path.
fn artifact(cluster: &Cluster, path: &Path, options: &AppOptions) -> Result<Value, Exit> {
    if !cluster.is_here() {
        let what = format!(
            "{} is a file of this machine, which the nodes of {} do not have",
            path.display(),
            cluster.client.server()
        );
        let hint = format!(
            "push it with `shoal push {} REGISTRY/REPOSITORY:TAG`, and deploy an App whose component is this reference",
            path.display()
        );
        return Err(Exit::error(exit::USAGE, what).hint(hint));
    }
    let bytes = commands::read(path)?;
    let found = shoal_host::inspect(&bytes)
        .map_err(|refusal| Exit::refusal(exit::BAD_ARTIFACT, path.display(), &refusal))?;
    app::object(path, &found, Some(cluster.namespace.as_str()), options)
}
