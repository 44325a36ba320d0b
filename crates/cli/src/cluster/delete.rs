//! `shoal delete`: what was deployed, away again.

use std::path::PathBuf;
use std::time::Duration;

use super::deploy::WAIT_DEFAULT;
use super::{ClusterOptions, Named, TypedCluster};
use crate::commands::run::limits::Bound;
use crate::data_dir::Surroundings;
use crate::exit::{self, Exit};

/// Delete objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Which cluster.
    pub cluster: ClusterOptions,
    /// Which objects.
    pub what: Deletable,
    /// How long to wait until they are gone; none: not at all.
    pub wait: Option<Duration>,
}

/// What can be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletable {
    /// Whatever stands in these files; `-` is standard input.
    Files(Vec<PathBuf>),
    /// Objects by name; without a kind, an App, else a Deployment or Job of this name.
    Named(Vec<Named>),
}

/// Delete what was deployed, and wait until it is gone
#[derive(Debug, clap::Args)]
pub struct TypedDelete {
    /// NAME of an App, Deployment or Job, or KIND/NAME as in service/shop; files that end in .yaml, .yml or .json, too
    #[arg(value_name = "NAME|FILE", required_unless_present = "file")]
    what: Vec<String>,
    /// Whatever stands in this file, `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    #[command(flatten)]
    cluster: TypedCluster,
    /// How long to wait until it is gone, or `none` to return at once
    #[arg(long, value_name = "TIME", default_value = WAIT_DEFAULT)]
    wait: Bound,
}

impl TypedDelete {
    /// What was typed means.
    ///
    /// # Errors
    /// With code 64 when it means nothing.
    pub fn meaning(self, around: &Surroundings) -> Result<DeleteRequest, Exit> {
        let cluster = self.cluster.meaning(around)?;
        // A name has no extension of a file: names of Apps, Deployments and Jobs have no need of dots.
        let is_file = |text: &String| {
            let extension = std::path::Path::new(text).extension().unwrap_or_default();
            text == "-" || ["yaml", "yml", "json"].iter().any(|known| extension == *known)
        };
        let (files, names): (Vec<String>, Vec<String>) = self.what.into_iter().partition(is_file);
        let files: Vec<PathBuf> = files.into_iter().map(PathBuf::from).chain(self.file).collect();
        let what = match (files.is_empty(), names.is_empty()) {
            (true, _) => {
                Deletable::Named(names.iter().map(|text| Named::parse(text)).collect::<Result<_, _>>()?)
            }
            (false, true) => Deletable::Files(files),
            (false, false) => {
                return Err(Exit::error(exit::USAGE, "files and names at once")
                    .hint("delete what files say, or what has names, one after the other"));
            }
        };
        Ok(DeleteRequest { cluster, what, wait: self.wait.0 })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        delete: TypedDelete,
    }

    fn read(line: &str) -> Result<Deletable, String> {
        let typed = Line::try_parse_from(std::iter::once("delete").chain(line.split_whitespace()));
        let typed = typed.map_err(|error| error.to_string())?;
        typed
            .delete
            .meaning(&Surroundings::default())
            .map(|request| request.what)
            .map_err(|exit| format!("{exit:?}"))
    }

    #[test]
    fn files_and_names_are_told_apart() {
        let named =
            |kind: Option<&str>, name: &str| Named { kind: kind.map(String::from), name: name.into() };
        assert_eq!(
            read("a.yaml b.json -"),
            Ok(Deletable::Files(vec!["a.yaml".into(), "b.json".into(), "-".into()]))
        );
        let both = Deletable::Files(vec!["a.yaml".into(), "b".into()]);
        assert_eq!((read("-f a.yaml -f b"), read("a.yaml -f b")), (Ok(both.clone()), Ok(both)));
        let names = vec![named(None, "shop"), named(Some("deployment"), "cart")];
        assert_eq!(read("shop deployment/cart"), Ok(Deletable::Named(names)));
        for wrong in ["", "shop a.yaml", "shop -f a", "a/b/c"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
