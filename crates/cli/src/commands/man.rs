//! `shoal man`: manual pages, from the same definitions.

use std::path::PathBuf;

use super::{Document, definition};

/// Print the manual page, or write one for every command into a directory
#[derive(Debug, clap::Args)]
pub(crate) struct TypedMan {
    /// An existing directory for shoal.1, shoal-run.1 and so on [default: shoal.1 to standard output]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl TypedMan {
    pub(crate) fn meaning(self) -> Vec<Document> {
        let mut root = definition();
        root.build();
        let Some(directory) = self.directory else {
            return vec![Document { path: None, content: page(root) }];
        };
        let verbs: Vec<clap::Command> = root.get_subcommands().cloned().collect();
        std::iter::once(root)
            .chain(verbs)
            .map(|command| {
                let name = command.get_display_name().unwrap_or("shoal").replace(' ', "-");
                Document { path: Some(directory.join(format!("{name}.1"))), content: page(command) }
            })
            .collect()
    }
}

fn page(command: clap::Command) -> Vec<u8> {
    let name = command.get_display_name().unwrap_or("shoal").replace(' ', "-");
    let mut content = Vec::new();
    clap_mangen::Man::new(command).title(name).render(&mut content).expect("a vector takes every write");
    content
}
