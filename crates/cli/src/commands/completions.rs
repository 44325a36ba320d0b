//! `shoal completions`: for the shell, from the same definitions.

use clap_complete::Shell;

use super::{Document, definition};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct TypedCompletions {
    /// The shell: bash, elvish, fish, powershell or zsh
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

impl TypedCompletions {
    pub(crate) fn meaning(self) -> Document {
        let mut content = Vec::new();
        clap_complete::generate(self.shell, &mut definition(), "shoal", &mut content);
        Document { path: None, content }
    }
}
