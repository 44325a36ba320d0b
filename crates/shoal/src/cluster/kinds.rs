//! Kinds by the words that people type for them: `deployment`, `deploy`, `deployments.apps`.

use shoal_api::resources::{self, BUILT_IN};
use shoal_cli::{Exit, exit};
use shoal_client::Resource;

/// The kind that a word in lower case means.
pub(crate) fn of_word(word: &str) -> Result<Resource, Exit> {
    let found = BUILT_IN.iter().find(|resource| is_called(resource, word));
    let found = found.ok_or_else(|| {
        Exit::error(exit::USAGE, format!("`{word}` is no kind that is known here"))
            .hint("use kubectl for objects of kinds that were added to the cluster, or name the file that they are in")
    })?;
    Ok(Resource {
        api_version: found.group_version.to_string().into(),
        kind: found.kind.clone().into(),
        plural: found.plural.clone().into(),
        is_namespaced: found.namespaced,
    })
}

fn is_called(resource: &resources::Resource, word: &str) -> bool {
    let (bare, group) = word.split_once('.').unwrap_or((word, ""));
    let is_group = group.is_empty() || resource.group_version.group == group;
    is_group
        && !bare.is_empty()
        && (resource.plural == bare
            || resource.singular == bare
            || resource.kind.to_lowercase() == bare
            || resource.short_names.iter().any(|short| short == bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_that_kubectl_knows() {
        for (word, expected) in [
            ("deployment", "apps/v1 deployments true"),
            ("deploy", "apps/v1 deployments true"),
            ("deployments.apps", "apps/v1 deployments true"),
            ("app", "shoal.dev/v1 apps true"),
            ("apps.shoal.dev", "shoal.dev/v1 apps true"),
            ("po", "v1 pods true"),
            ("no", "v1 nodes false"),
            ("ingress", "networking.k8s.io/v1 ingresses true"),
        ] {
            let found = of_word(word)
                .map(|found| format!("{} {} {}", found.api_version, found.plural, found.is_namespaced));
            assert_eq!(found, Ok(expected.to_owned()), "{word}");
        }
        for wrong in ["", ".", "shops", "deployments.batch", "Deployment"] {
            assert!(of_word(wrong).is_err(), "{wrong}");
        }
    }
}
