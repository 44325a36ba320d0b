//! `shoal push`, `shoal pull`: artifacts and registries.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use jiff::Timestamp;
use shoal_cli::progress::TransferProgress;
use shoal_cli::{Common, Exit, PullRequest, PushRequest, RegistryOptions, exit};
use shoal_node::artifact::{
    Client, ClientOptions, FetchError, Image, Keyring, Policy, Problem, Push, Reference, Store, StoreOptions,
};

use crate::commands::read;
use crate::process;

/// Where artifacts are kept in the data directory.
fn store_dir(common: &Common) -> PathBuf {
    common.data_dir.join("artifacts")
}

/// Pushes an artifact. Prints the reference by digest.
pub(crate) fn push(request: &PushRequest) -> Result<u8, Exit> {
    let image = image(&request.reference)?;
    let path = &request.artifact;
    let unreadable = |error| Exit::error(exit::NO_INPUT, format!("cannot read {}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(unreadable)?;
    let refuse =
        |refusal: shoal_runtime::Refusal| Exit::refusal(exit::BAD_ARTIFACT, path.display(), &refusal);
    let inspection = shoal_host::inspect(&bytes).map_err(refuse)?;
    let binary = shoal_host::to_binary(&bytes).map_err(refuse)?;
    // Text is pushed as the binary that it stands for.
    let mut file = tempfile::NamedTempFile::new().map_err(unreadable)?;
    file.write_all(&binary).map_err(unreadable)?;
    let push = Push {
        file: file.path(),
        image: &image,
        tags: &request.tags,
        annotations: &request.annotations,
        inspection: &inspection,
        // The same file is the same artifact whenever it is pushed.
        created: Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH),
    };
    let client = client(&request.registry)?;
    let keyring = keyring(&request.registry)?;
    let progress = progress("pushing", &request.reference);
    let tell = |done, total| progress.at(done, total);
    let pushed =
        process::runtime()?.block_on(client.push(&push, &keyring, &tell)).map_err(|error| failed(&error));
    drop(progress);
    let pushed = pushed?;
    Ok(print(&pushed.image.to_string()))
}

/// Pulls an artifact into the store of the data directory, and into a file. Prints the reference by digest.
pub(crate) fn pull(common: &Common, request: &PullRequest) -> Result<u8, Exit> {
    let reference = Reference::Image(image(&request.reference)?);
    let client = client(&request.registry)?;
    let keyring = keyring(&request.registry)?;
    let store =
        Store::open(&store_dir(common), client, StoreOptions::default()).map_err(|error| failed(&error))?;
    let progress = progress("pulling", &request.reference);
    let tell = |done, total| progress.at(done, total);
    let fetch = store.fetch_with(&reference, Policy::Always, &keyring, &tell);
    let fetched = process::runtime()?.block_on(fetch).map_err(|error| failed(&error));
    drop(progress);
    let artifact = fetched?;
    if let Some(output) = &request.output {
        let bytes = std::fs::read(&artifact.path).map_err(|error| {
            Exit::error(exit::UNAVAILABLE, format!("cannot read {}: {error}", artifact.path.display()))
        })?;
        process::write_file(output, &bytes)?;
    }
    Ok(print(&artifact.id))
}

/// The image that was typed; a file has no place in a registry.
fn image(typed: &str) -> Result<Image, Exit> {
    match typed.parse::<Reference>() {
        Ok(Reference::Image(image)) => Ok(image),
        Ok(Reference::File(path)) => {
            let what = format!("{} is a file, and no name in a registry", path.display());
            Err(Exit::error(exit::USAGE, what).hint("write registry/repository:tag"))
        }
        Err(error) => Err(Exit::error(exit::USAGE, error.to_string())
            .hint("write registry/repository:tag, as in ghcr.io/ada/shop:1.0")),
    }
}

/// The store of the data directory, which fetches as the flags say.
pub(crate) fn store(common: &Common, options: &RegistryOptions) -> Result<Store, Exit> {
    Store::open(&store_dir(common), client(options)?, StoreOptions::default()).map_err(|error| failed(&error))
}

/// A client as the flags say.
fn client(options: &RegistryOptions) -> Result<Client, Exit> {
    let authorities = options.authorities.as_deref().map(read).transpose()?;
    let options =
        ClientOptions { plain_http: options.plain_http.clone(), authorities, ..ClientOptions::default() };
    Client::new(options).map_err(|error| failed(&error))
}

/// What the files of credentials hold; those that nobody named may be missing.
fn keyring(options: &RegistryOptions) -> Result<Keyring, Exit> {
    let mut keyring = Keyring::default();
    for file in &options.credentials {
        if !file.is_named && !file.path.exists() {
            continue;
        }
        let found = Keyring::parse(&read(&file.path)?).map_err(|error| {
            Exit::error(exit::USAGE, format!("cannot use {}: {error}", file.path.display()))
                .hint("mend it, or name another with --credentials FILE")
        })?;
        keyring.extend(found);
    }
    Ok(keyring)
}

fn progress(verb: &str, name: &str) -> TransferProgress {
    TransferProgress::new(verb, name, std::io::stderr().is_terminal())
}

/// An error of a registry or of the store.
fn failed(error: &FetchError) -> Exit {
    let code = match error.problem {
        Problem::Request => exit::USAGE,
        Problem::Missing => exit::NO_INPUT,
        Problem::TooLarge | Problem::Corrupt | Problem::Unusable => exit::BAD_ARTIFACT,
        Problem::Unreachable | Problem::Denied | Problem::Registry | Problem::Disk => exit::UNAVAILABLE,
    };
    let exit = Exit::error(code, &error.what);
    match &error.hint {
        Some(hint) => exit.hint(hint),
        None => exit,
    }
}

fn print(line: &str) -> u8 {
    let _ = writeln!(anstream::stdout(), "{line}");
    exit::OK
}
