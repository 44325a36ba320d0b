//! From what somebody names to the object.

use serde_json::Value;
use shoal_cli::cluster::Named;
use shoal_cli::{Exit, exit};
use shoal_client::Resource;

use super::{Cluster, failed, kinds};

/// The object that is named, with its kind: the one that was said, else the first of `tried` that has such an object.
///
/// # Errors
/// With code 66 when there is none.
pub(crate) async fn find(
    cluster: &Cluster,
    named: &Named,
    tried: &[Resource],
) -> Result<(Resource, Value), Exit> {
    let kinds = match &named.kind {
        Some(word) => vec![kinds::of_word(word)?],
        None => tried.to_vec(),
    };
    for of in &kinds {
        match cluster.client.get(of, &cluster.namespace, &named.name).await {
            Ok(found) => return Ok((of.clone(), found)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(failed(format_args!("cannot look at {}", named.name), &error)),
        }
    }
    let shown = match &named.kind {
        Some(kind) => format!("{kind}/{}", named.name),
        None => format!("{} {}", any_of(tried), named.name),
    };
    let place = if kinds.iter().any(|of| of.is_namespaced) {
        format!(" in the namespace {}", cluster.namespace)
    } else {
        String::new()
    };
    Err(Exit::error(exit::NO_INPUT, format!("there is no {shown}{place}")).hint(
        "`shoal status` shows what there is; name another kind as KIND/NAME, another namespace with -n NAME",
    ))
}

/// `App, Deployment or Job`.
fn any_of(tried: &[Resource]) -> String {
    let names: Vec<&str> = tried.iter().map(|of| &*of.kind).collect();
    match names.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => names.concat(),
    }
}

/// Says to a verb of the command line in which namespace an object is.
pub(crate) fn with_namespace(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(" -n {namespace}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shoal_client::kinds::{APPS, JOBS, NODES};

    use super::*;
    use crate::cluster::testing::Api;

    #[tokio::test]
    async fn a_name_leads_to_the_first_that_has_it() {
        let cluster = Cluster::of_client(Api::new(|_| None).client());
        for (of, name) in [(&JOBS, "move"), (&JOBS, "both"), (&APPS, "both")] {
            let object = json!({"metadata": {"name": name, "namespace": "default"}});
            cluster.client.create(of, &object).await.expect("an object");
        }
        for (kind, name, expected) in [
            (None, "move", Ok("Job")),
            (None, "both", Ok("App")),
            (Some("job"), "both", Ok("Job")),
            (None, "none", Err("there is no App or Job none in the namespace default")),
            (Some("app"), "move", Err("there is no app/move in the namespace default")),
            (Some("node"), "one", Err("there is no node/one")),
        ] {
            let named = Named { kind: kind.map(String::from), name: name.into() };
            let found = find(&cluster, &named, &[APPS, JOBS]).await;
            let found = found.map(|(of, _)| of.kind.to_string()).map_err(|exit| match exit {
                Exit::Error(complaint) if complaint.code == exit::NO_INPUT => complaint.what,
                other => format!("{other:?}"),
            });
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{name}");
        }
        assert_eq!((any_of(&[NODES]), with_namespace("team")), ("Node".into(), " -n team".into()));
    }
}
