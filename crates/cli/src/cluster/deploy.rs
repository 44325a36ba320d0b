//! `shoal deploy`: files into a cluster, until they serve.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_runtime::OutboundPattern;

use super::{ClusterOptions, TypedCluster, check_name};
use crate::artifact;
use crate::commands::run::each_once;
use crate::commands::run::grants::pair;
use crate::commands::run::limits::Bound;
use crate::data_dir::Surroundings;
use crate::exit::{self, Exit};

/// How long a deploy is watched when nothing is said: the progress deadline of Deployments, and then it has failed.
pub const WAIT_DEFAULT: &str = "10m";

/// Deploy files.
#[derive(Clone, Debug, PartialEq)]
pub struct DeployRequest {
    /// Which cluster.
    pub cluster: ClusterOptions,
    /// What is deployed.
    pub what: Deployable,
    /// How long it is watched; none: it is not.
    pub wait: Option<Duration>,
    /// Whether fields that others have set are taken over.
    pub force_conflicts: bool,
}

/// What can be deployed.
#[derive(Clone, Debug, PartialEq)]
pub enum Deployable {
    /// Files of Kubernetes objects, YAML or JSON; `-` is standard input.
    Files(Vec<PathBuf>),
    /// One artifact, which becomes an App.
    Artifact {
        /// The file; it exists.
        path: PathBuf,
        /// What the App is like.
        app: AppOptions,
    },
}

/// What an App that is made of a bare artifact is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppOptions {
    /// Its name.
    pub name: String,
    /// Replicas; none: as many as there are, one at first.
    pub replicas: Option<u32>,
    /// `HOST`, `HOST/PATH` or `/PATH` under which it is reached from outside.
    pub routes: Vec<Route>,
    /// The environment, name and value.
    pub env: Vec<(String, String)>,
    /// Destinations that it may reach.
    pub outbound: Vec<String>,
    /// Key-value stores.
    pub key_value: Vec<String>,
    /// Blob stores.
    pub blobs: Vec<String>,
}

/// Where an App is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host; empty: any.
    pub host: String,
    /// The path with a slash before it.
    pub path: String,
}

/// Deploy Kubernetes YAML, an App or a bare artifact, and show how it comes up until it serves
#[derive(Debug, clap::Args)]
pub struct TypedDeploy {
    /// YAML or JSON files (`-` for standard input), or one .wasm or .wat file, or a directory that holds one
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    cluster: TypedCluster,
    /// How long to watch it come up, or `none` to return at once
    #[arg(long, value_name = "TIME", default_value = WAIT_DEFAULT)]
    wait: Bound,
    /// Take over fields that others have set
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    app: TypedApp,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of a bare artifact")]
struct TypedApp {
    /// The name of the App [default: that of the file]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many replicas serve [default: as many as there are, one at first]
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Where it is reached from outside: HOST, HOST/PATH or /PATH; may be repeated [default: /]
    #[arg(long = "route", value_name = "ROUTE", value_parser = route)]
    routes: Vec<Route>,
    /// A variable of its environment; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// A destination that it may reach; may be repeated
    #[arg(long, value_name = "PATTERN")]
    allow_outbound: Vec<OutboundPattern>,
    /// A key-value store that it has; may be repeated
    #[arg(long, value_name = "NAME")]
    kv: Vec<String>,
    /// A blob store that it has; may be repeated
    #[arg(long, value_name = "NAME")]
    blobs: Vec<String>,
}

impl TypedDeploy {
    /// What was typed means.
    ///
    /// # Errors
    /// With code 64 when it means nothing, with 66 when an artifact is not there.
    pub fn meaning(self, around: &Surroundings) -> Result<DeployRequest, Exit> {
        let cluster = self.cluster.meaning(around)?;
        let (wait, force_conflicts) = (self.wait.0, self.force_conflicts);
        let what = match artifacts(&self.files)? {
            Some(path) => Deployable::Artifact { app: self.app.meaning(&path)?, path },
            None => {
                self.app.refuse_flags()?;
                Deployable::Files(self.files)
            }
        };
        Ok(DeployRequest { cluster, what, wait, force_conflicts })
    }
}

/// The artifact, when that is what the files are.
fn artifacts(files: &[PathBuf]) -> Result<Option<PathBuf>, Exit> {
    let is_artifact = |file: &&PathBuf| {
        let extension = file.extension().unwrap_or_default();
        file.is_dir() || ["wasm", "wat", "cwasm"].iter().any(|known| extension == *known)
    };
    match (files.iter().find(is_artifact), files) {
        (None, _) => Ok(None),
        (Some(_), [only]) => {
            // The node opens it by this path, wherever this command was typed.
            let found = artifact::find(only)?;
            let path = std::path::absolute(&found).unwrap_or(found);
            Ok(Some(path))
        }
        (Some(artifact), _) => {
            let what = format!("{} is an artifact, and more is to be deployed", artifact.display());
            Err(Exit::error(exit::USAGE, what).hint("deploy it alone, or write an App that names it"))
        }
    }
}

impl TypedApp {
    fn meaning(self, path: &Path) -> Result<AppOptions, Exit> {
        each_once("--env", self.env.iter().map(|(name, _)| name.as_str()))?;
        each_once("--kv", self.kv.iter().map(String::as_str))?;
        each_once("--blobs", self.blobs.iter().map(String::as_str))?;
        let name = match self.name {
            Some(name) => {
                check_name("App", &name)?;
                name
            }
            None => name_of(path)?,
        };
        let anywhere = || vec![Route { host: String::new(), path: "/".into() }];
        Ok(AppOptions {
            name,
            replicas: self.replicas,
            routes: if self.routes.is_empty() { anywhere() } else { self.routes },
            env: self.env,
            outbound: self.allow_outbound.iter().map(ToString::to_string).collect(),
            key_value: self.kv,
            blobs: self.blobs,
        })
    }

    /// What is written in files says all of this itself.
    fn refuse_flags(&self) -> Result<(), Exit> {
        let given = [
            ("--name", self.name.is_some()),
            ("--replicas", self.replicas.is_some()),
            ("--route", !self.routes.is_empty()),
            ("--env", !self.env.is_empty()),
            ("--allow-outbound", !self.allow_outbound.is_empty()),
            ("--kv", !self.kv.is_empty()),
            ("--blobs", !self.blobs.is_empty()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((flag, _)) => {
                let what =
                    format!("{flag} is for a bare artifact, and what is deployed are files of objects");
                Err(Exit::error(exit::USAGE, what).hint("write it in the file"))
            }
        }
    }
}

/// The name of a file as that of an App: `Shop_2.wasm` is `shop-2`.
fn name_of(path: &Path) -> Result<String, Exit> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = stem.chars().map(plain).collect();
    let name = name.trim_matches('-');
    check_name("App", name).map(|()| name.to_string()).map_err(|_| {
        Exit::error(exit::USAGE, format!("the name of {} cannot be that of an App", path.display()))
            .hint("give --name NAME")
    })
}

fn route(text: &str) -> Result<Route, String> {
    let (host, path) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, "/"),
    };
    let is_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-*".contains(c);
    if text.is_empty() || !host.chars().all(is_host) || path.contains(['?', '#', ' ']) || path.contains("//")
    {
        return Err("it is not HOST, HOST/PATH or /PATH".into());
    }
    Ok(Route { host: host.into(), path: path.into() })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use std::time::Duration;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        deploy: TypedDeploy,
    }

    fn read(line: &str) -> Result<DeployRequest, String> {
        let typed = Line::try_parse_from(std::iter::once("deploy").chain(line.split_whitespace()));
        let typed = typed.map_err(|error| error.to_string())?;
        typed.deploy.meaning(&Surroundings::default()).map_err(|exit| format!("{exit:?}"))
    }

    #[test]
    fn files_of_objects_are_deployed_as_they_are() {
        let request = read("shop.yaml - -n team --kubeconfig k --wait none").expect("well typed");
        assert_eq!(request.what, Deployable::Files(vec!["shop.yaml".into(), "-".into()]));
        assert_eq!((request.wait, request.cluster.namespace.as_deref()), (None, Some("team")));
        assert_eq!(read("shop.yaml").expect("well typed").wait, Some(Duration::from_secs(600)));
        for wrong in
            ["", "shop.yaml --name x", "shop.yaml --route /", "shop.yaml -n A", "shop.yaml --wait 0s"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_artifact_becomes_an_app() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("My_Shop.wasm");
        std::fs::write(&path, "").expect("a file");
        let typed = path.display().to_string();
        let app = |flags: &str| match read(&format!("{typed} {flags}")).map(|request| request.what) {
            Ok(Deployable::Artifact { path: found, app }) => {
                assert_eq!(found, path);
                Ok(app)
            }
            Ok(other) => panic!("no artifact: {other:?}"),
            Err(error) => Err(error),
        };
        let plain = app("").expect("well typed");
        assert_eq!(
            (plain.name.as_str(), plain.replicas, plain.routes[0].path.as_str()),
            ("my-shop", None, "/")
        );
        let full =
            app("--name shop --replicas 3 --route shop.example.com --route shop.example.com/api --route /x \
                        --env A=b=c --allow-outbound api.example.com --kv carts --blobs pictures")
            .expect("well typed");
        let routes: Vec<String> =
            full.routes.iter().map(|route| format!("{} {}", route.host, route.path)).collect();
        assert_eq!(routes, ["shop.example.com /", "shop.example.com /api", " /x"]);
        assert_eq!(
            (full.outbound, full.key_value),
            (vec!["https://api.example.com:443".into()], vec!["carts".into()])
        );
        assert_eq!(full.replicas, Some(3));
        assert_eq!(full.env, [("A".into(), "b=c".into())]);
        for wrong in ["--name Shop", "--route a?b", "--route A.b", "--env A", "--kv a --kv a", "other.yaml"] {
            assert!(app(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_gives_its_name_where_it_can() {
        assert_eq!(name_of(Path::new("/a/Shop_2.wasm")), Ok("shop-2".into()));
        assert_eq!(name_of(Path::new("/a/_x_.wasm")), Ok("x".into()));
        assert!(name_of(Path::new("/a/___.wasm")).is_err());
        assert!(name_of(Path::new(&format!("/a/{}.wasm", "a".repeat(64)))).is_err());
    }
}
