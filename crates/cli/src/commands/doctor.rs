//! `shoal doctor`: what was found on this machine, what was chosen for it, and why.

/// Report on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoctorRequest {
    /// Whether the report goes to a program.
    pub json: bool,
}

/// Report what Shoal found on this machine, what it chose, and what would make it better
#[derive(Debug, clap::Args)]
pub(crate) struct TypedDoctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl TypedDoctor {
    pub(crate) fn meaning(self) -> DoctorRequest {
        DoctorRequest { json: self.json }
    }
}
