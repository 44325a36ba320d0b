//! A bare artifact as an object that runs it: an App of what answers requests, a Job of what runs to its end.

use std::path::Path;

use serde_json::{Map, Value, json};
use shoal_runtime::{Inspection, Kind};

use super::deploy::{AppOptions, Route};
use crate::exit::{self, Exit};

/// The label by which pods of another content are others: what a Deployment sees of a file that has changed.
const CONTENT_LABEL: &str = "shoal.dev/content";
/// Digits of the digest in that label: what is compared are the contents of one file over time.
const CONTENT_DIGITS: usize = 16;
/// The namespace where none is said.
const NAMESPACE_DEFAULT: &str = "default";

/// The object that runs the artifact at `path`, which is absolute.
///
/// # Errors
/// With code 65 when it is none that runs, with 64 when something is asked of a command that only Apps can have.
pub fn object(
    path: &Path,
    found: &Inspection,
    namespace: Option<&str>,
    options: &AppOptions,
) -> Result<Value, Exit> {
    let namespace = namespace.unwrap_or(NAMESPACE_DEFAULT);
    let image = image(path)?;
    match found.kind {
        Some(Kind::Http(_)) => Ok(app(&image, found, namespace, options)),
        Some(Kind::Command(_) | Kind::CommandModule) => job(&image, found, namespace, options),
        None => Err(Exit::error(
            exit::BAD_ARTIFACT,
            format!("{} has no entry point that Shoal runs", path.display()),
        )
        .hint(format!("`shoal inspect {}` shows what it exports", path.display()))),
    }
}

fn image(path: &Path) -> Result<String, Exit> {
    path.to_str().filter(|path| path.starts_with('/')).map(String::from).ok_or_else(|| {
        Exit::error(exit::USAGE, format!("{} cannot be the image of a container", path.display()))
            .hint("an image is an absolute path in UTF-8, or a reference to a registry (`shoal push`)")
    })
}

fn metadata(found: &Inspection, namespace: &str, options: &AppOptions) -> Value {
    let hex = found.digest.rsplit(':').next().unwrap_or_default();
    let content: String = hex.chars().take(CONTENT_DIGITS).collect();
    json!({"name": options.name, "namespace": namespace, "labels": {CONTENT_LABEL: content}})
}

fn app(image: &str, found: &Inspection, namespace: &str, options: &AppOptions) -> Value {
    let route = |route: &Route| match route.host.as_str() {
        "" => json!({"path": route.path}),
        host => json!({"host": host, "path": route.path}),
    };
    let mut spec = json!({
        "component": image,
        "routes": options.routes.iter().map(route).collect::<Vec<_>>(),
    });
    if let Some(replicas) = options.replicas {
        spec["replicas"] = json!(replicas);
    }
    if !options.env.is_empty() {
        let env = options.env.iter().map(|(name, value)| (name.clone(), json!(value)));
        spec["env"] = Value::Object(env.collect());
    }
    let grants = grants(options, ["outbound", "keyvalue", "blobstore"]);
    let grants: Map<String, Value> = grants.map(|(name, list)| (name.into(), json!(list))).collect();
    if !grants.is_empty() {
        spec["grants"] = Value::Object(grants);
    }
    json!({
        "apiVersion": "shoal.dev/v1",
        "kind": "App",
        "metadata": metadata(found, namespace, options),
        "spec": spec,
    })
}

/// What is granted, under three names.
fn grants<'a>(
    options: &'a AppOptions,
    names: [&'static str; 3],
) -> impl Iterator<Item = (&'static str, &'a Vec<String>)> {
    let lists = [&options.outbound, &options.key_value, &options.blobs];
    names.into_iter().zip(lists).filter(|(_, list)| !list.is_empty())
}

fn job(image: &str, found: &Inspection, namespace: &str, options: &AppOptions) -> Result<Value, Exit> {
    let is_reached = options.routes.iter().any(|route| !route.host.is_empty() || route.path != "/");
    if options.replicas.is_some() || is_reached {
        return Err(Exit::error(exit::USAGE, format!("{image} runs to its end, and answers no requests"))
            .hint("leave --replicas and --route out"));
    }
    let mut container = json!({"name": "app", "image": image});
    if !options.env.is_empty() {
        let env = options.env.iter().map(|(name, value)| json!({"name": name, "value": value}));
        container["env"] = env.collect();
    }
    let names = ["shoal.dev/allow-outbound", "shoal.dev/keyvalue", "shoal.dev/blobstore"];
    let annotations: Map<String, Value> =
        grants(options, names).map(|(name, list)| (name.into(), json!(list.join(",")))).collect();
    let metadata = metadata(found, namespace, options);
    let mut template = json!({
        "metadata": {"labels": metadata["labels"]},
        "spec": {"containers": [container], "restartPolicy": "Never"},
    });
    if !annotations.is_empty() {
        template["metadata"]["annotations"] = Value::Object(annotations);
    }
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        // It says what it has to say the first time.
        "spec": {"backoffLimit": 0, "template": template},
    }))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use shoal_runtime::Wasi;

    use super::*;
    use crate::render::inspect::testing::nothing;

    fn options() -> AppOptions {
        let route = Route { host: String::new(), path: "/".into() };
        AppOptions { name: "shop".into(), routes: vec![route], ..AppOptions::default() }
    }

    fn of(kind: Option<Kind>, options: &AppOptions) -> Result<Value, Exit> {
        let digest = format!("blake3:{}", "0123456789abcdef".repeat(4));
        object(Path::new("/srv/shop.wasm"), &Inspection { kind, digest, ..nothing() }, None, options)
    }

    fn check(kind: Kind, options: &AppOptions, expected: &Expect) {
        let object = of(Some(kind), options).expect("an object");
        expected.assert_eq(&serde_json::to_string_pretty(&object).expect("JSON"));
    }

    #[test]
    fn what_answers_requests_is_an_app() {
        check(
            Kind::Http(Wasi::P2),
            &options(),
            &expect![[r#"
                {
                  "apiVersion": "shoal.dev/v1",
                  "kind": "App",
                  "metadata": {
                    "labels": {
                      "shoal.dev/content": "0123456789abcdef"
                    },
                    "name": "shop",
                    "namespace": "default"
                  },
                  "spec": {
                    "component": "/srv/shop.wasm",
                    "routes": [
                      {
                        "path": "/"
                      }
                    ]
                  }
                }"#]],
        );
    }

    fn granted() -> AppOptions {
        AppOptions {
            env: vec![("A".into(), "b".into())],
            outbound: vec!["https://a:443".into(), "tcp://b:1".into()],
            key_value: vec!["carts".into()],
            ..options()
        }
    }

    #[test]
    fn what_is_granted_is_in_it() {
        let routes = vec![Route { host: "a.example.com".into(), path: "/api".into() }];
        let object = of(Some(Kind::Http(Wasi::P3)), &AppOptions { routes, replicas: Some(3), ..granted() });
        let object = object.expect("an object");
        assert_eq!(object["spec"]["routes"], json!([{"host": "a.example.com", "path": "/api"}]));
        assert_eq!(object["spec"]["env"], json!({"A": "b"}));
        let grants = json!({"outbound": ["https://a:443", "tcp://b:1"], "keyvalue": ["carts"]});
        assert_eq!((&object["spec"]["grants"], &object["spec"]["replicas"]), (&grants, &json!(3)));
    }

    #[test]
    fn what_runs_to_its_end_is_a_job() {
        check(
            Kind::CommandModule,
            &granted(),
            &expect![[r#"
                {
                  "apiVersion": "batch/v1",
                  "kind": "Job",
                  "metadata": {
                    "labels": {
                      "shoal.dev/content": "0123456789abcdef"
                    },
                    "name": "shop",
                    "namespace": "default"
                  },
                  "spec": {
                    "backoffLimit": 0,
                    "template": {
                      "metadata": {
                        "annotations": {
                          "shoal.dev/allow-outbound": "https://a:443,tcp://b:1",
                          "shoal.dev/keyvalue": "carts"
                        },
                        "labels": {
                          "shoal.dev/content": "0123456789abcdef"
                        }
                      },
                      "spec": {
                        "containers": [
                          {
                            "env": [
                              {
                                "name": "A",
                                "value": "b"
                              }
                            ],
                            "image": "/srv/shop.wasm",
                            "name": "app"
                          }
                        ],
                        "restartPolicy": "Never"
                      }
                    }
                  }
                }"#]],
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let code = |kind, options: &AppOptions| of(kind, options).map_err(|exit| exit.code());
        assert_eq!(code(None, &options()), Err(65));
        let command = Some(Kind::Command(Wasi::P2));
        assert_eq!(code(command, &AppOptions { replicas: Some(2), ..options() }), Err(64));
        let routes = vec![Route { host: "a".into(), path: "/".into() }];
        assert_eq!(code(command, &AppOptions { routes, ..options() }), Err(64));
        let relative = object(Path::new("shop.wasm"), &nothing(), None, &options());
        assert_eq!(relative.map_err(|exit| exit.code()), Err(64));
    }
}
