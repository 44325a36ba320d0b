//! The verbs. Each has a file: what may be typed (clap's definition), and what it means (a request).

pub(crate) mod compile;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod kubeconfig;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod registry;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod up;
pub(crate) mod usage;
pub(crate) mod version;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::data_dir::Surroundings;
use crate::exit::{self, Exit};

/// What is to be done.
#[derive(Debug)]
pub struct Invocation {
    /// What holds for every verb.
    pub common: Common,
    /// The verb with its meaning.
    pub request: Request,
}

/// What holds for every verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// Where compiled artifacts, keys and stores are kept. Need not exist yet.
    pub data_dir: PathBuf,
    /// The secret that seals compiled code; none: that of the data directory.
    pub key: Option<PathBuf>,
    /// Which log lines are shown, as `tracing`'s filter directives; none: the default of the verb.
    pub log: Option<String>,
    /// When output is coloured.
    pub color: Color,
}

/// A verb with its meaning.
#[derive(Debug)]
pub enum Request {
    /// Serve or run an artifact.
    Run(Box<RunRequest>),
    /// Say what an artifact is.
    Inspect(InspectRequest),
    /// Compile ahead of time.
    Compile(CompileRequest),
    /// Push an artifact to a registry.
    Push(PushRequest),
    /// Pull an artifact from a registry.
    Pull(PullRequest),
    /// Run the API server, or look after its store.
    Server(Box<ServerRequest>),
    /// Make this machine a cluster.
    Up(Box<UpRequest>),
    /// Make this machine a node of a cluster.
    Node(Box<NodeRequest>),
    /// Deploy what files hold, and see it come up.
    Deploy(Box<DeployRequest>),
    /// Show a cluster.
    Status(StatusRequest),
    /// Show what workloads say.
    Logs(LogsRequest),
    /// Delete what was deployed.
    Delete(DeleteRequest),
    /// Write a kubeconfig.
    Kubeconfig(KubeconfigRequest),
    /// Make a service of `shoal up`.
    Install(InstallRequest),
    /// Report on this machine.
    Doctor(DoctorRequest),
    /// Name the versions.
    Version(VersionRequest),
    /// Write texts that were made from the definitions: completions, manual pages.
    Write(Vec<Document>),
}

/// A text and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The file; none: standard output.
    pub path: Option<PathBuf>,
    /// The text.
    pub content: Vec<u8>,
}

impl Document {
    /// Writes the text where it goes.
    ///
    /// # Errors
    /// With code 69 when that is not possible.
    pub fn write(&self) -> Result<(), Exit> {
        let written = match &self.path {
            Some(path) => std::fs::write(path, &self.content),
            None => std::io::stdout().write_all(&self.content),
        };
        written.map_err(|error| {
            let place =
                self.path.as_ref().map_or("standard output".into(), |path| path.display().to_string());
            Exit::error(exit::UNAVAILABLE, format!("cannot write {place}: {error}"))
        })
    }
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// What the words say, whatever else is wrong with them.
    fn typed_in(arguments: &[OsString]) -> Self {
        let mut words = arguments.iter().map_while(|word| word.to_str().filter(|word| *word != "--"));
        let mut color = Self::default();
        while let Some(word) = words.next() {
            let value = if word == "--color" { words.next() } else { word.strip_prefix("--color=") };
            color = value.and_then(|value| Self::from_str(value, false).ok()).unwrap_or(color);
        }
        color
    }

    /// Makes it hold for everything that this process prints.
    pub fn apply(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

use crate::cluster::delete::{DeleteRequest, TypedDelete};
use crate::cluster::deploy::{DeployRequest, TypedDeploy};
use crate::cluster::logs::{LogsRequest, TypedLogs};
use crate::cluster::status::{StatusRequest, TypedStatus};
use compile::CompileRequest;
use doctor::DoctorRequest;
use inspect::InspectRequest;
use install::InstallRequest;
use kubeconfig::KubeconfigRequest;
use node::NodeRequest;
use pull::PullRequest;
use push::PushRequest;
use run::RunRequest;
use server::ServerRequest;
use up::UpRequest;
use version::VersionRequest;

/// Reads the arguments of this process, the program's name first.
///
/// # Errors
/// An [`Exit`] when there is nothing to do: help was asked for, or something is wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Before anything is found wrong: that, too, is said in the colours that were asked for.
    Color::typed_in(&arguments).apply();
    parse_in(arguments, &Surroundings::of_process())
}

/// Like [`parse`], with the surroundings given.
///
/// # Errors
/// As [`parse`].
pub fn parse_in(
    arguments: impl IntoIterator<Item = OsString>,
    around: &Surroundings,
) -> Result<Invocation, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let typed = Typed::try_parse_from(&arguments)
        .map_err(|error| usage::exit(&error, verb_in(&arguments).as_deref()))?;
    let data_dir = match around.choose_data_dir(typed.common.data_dir) {
        Err(_) if typed.verb.keeps_nothing() => PathBuf::new(),
        chosen => chosen?,
    };
    let common = Common {
        data_dir,
        key: typed.common.key,
        log: typed.common.log.or_else(|| around.log.clone()),
        color: typed.common.color,
    };
    let request = match typed.verb {
        Verb::Run(typed) => Request::Run(Box::new(typed.meaning()?)),
        Verb::Inspect(typed) => Request::Inspect(typed.meaning()?),
        Verb::Compile(typed) => Request::Compile(typed.meaning()?),
        Verb::Push(typed) => Request::Push(typed.meaning(around)?),
        Verb::Pull(typed) => Request::Pull(typed.meaning(around)?),
        Verb::Server(typed) => Request::Server(Box::new(typed.meaning()?)),
        Verb::Up(typed) => Request::Up(Box::new(typed.meaning()?)),
        Verb::Deploy(typed) => Request::Deploy(Box::new(typed.meaning(around)?)),
        Verb::Status(typed) => Request::Status(typed.meaning(around)?),
        Verb::Logs(typed) => Request::Logs(typed.meaning(around)?),
        Verb::Delete(typed) => Request::Delete(typed.meaning(around)?),
        Verb::Node(typed) => Request::Node(Box::new(typed.meaning(around)?)),
        Verb::Kubeconfig(typed) => Request::Kubeconfig(typed.meaning()),
        Verb::Install(typed) => Request::Install(typed.meaning(&common)?),
        Verb::Doctor(typed) => Request::Doctor(typed.meaning()),
        Verb::Version(typed) => Request::Version(typed.meaning()),
        Verb::Completions(typed) => Request::Write(vec![typed.meaning()]),
        Verb::Man(typed) => Request::Write(typed.meaning()),
    };
    Ok(Invocation { common, request })
}

/// The definition of the whole command line, for whoever makes texts from it.
pub fn definition() -> clap::Command {
    Typed::command()
}

/// The verb among the arguments, as far as it can be told from its name alone.
fn verb_in(arguments: &[OsString]) -> Option<String> {
    let verbs = definition();
    let names = || verbs.get_subcommands().map(clap::Command::get_name);
    arguments.iter().skip(1).find_map(|argument| names().find(|name| argument == *name)).map(String::from)
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// An edge cloud for WebAssembly, in one binary.
#[derive(Debug, Parser)]
#[command(name = "shoal", bin_name = "shoal", version, styles = STYLES, max_term_width = 110, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 well done, 64 wrong usage, 65 bad artifact, 66 no such input, \
    69 something needed is unavailable, 70 defect of Shoal, 124 guest stopped at a limit of time, \
    134 guest trapped; a command guest's own code passes through.")]
struct Typed {
    #[command(flatten)]
    common: TypedCommon,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
struct TypedCommon {
    /// Where compiled artifacts, keys and stores are kept [env: SHOAL_DATA_DIR] [default: /var/lib/shoal for
    /// root, else $XDG_DATA_HOME/shoal or ~/.local/share/shoal]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The secret that seals compiled code, where machines share one [default: installation.key in the data
    /// directory, made when it is missing]
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Which log lines are shown: a level (error, warn, info, debug, trace) or directives such as
    /// `warn,shoal_edge=debug` [env: SHOAL_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// When output is coloured
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        hide_possible_values = true
    )]
    #[arg(help = "When output is coloured: auto, always or never")]
    color: Color,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(Box<run::TypedRun>),
    Up(Box<up::TypedUp>),
    Deploy(Box<TypedDeploy>),
    Status(TypedStatus),
    Logs(TypedLogs),
    Delete(TypedDelete),
    Inspect(inspect::TypedInspect),
    Compile(compile::TypedCompile),
    Push(push::TypedPush),
    Pull(pull::TypedPull),
    Server(Box<server::TypedServer>),
    Node(Box<node::TypedNode>),
    Kubeconfig(kubeconfig::TypedKubeconfig),
    Install(install::TypedInstall),
    Doctor(doctor::TypedDoctor),
    Version(version::TypedVersion),
    Completions(completions::TypedCompletions),
    Man(man::TypedMan),
}

impl Verb {
    /// Whether it does without a data directory, and so in surroundings that name none.
    fn keeps_nothing(&self) -> bool {
        matches!(self, Self::Inspect(_) | Self::Version(_) | Self::Completions(_) | Self::Man(_))
    }
}

#[cfg(test)]
mod tests;
