//! `cargo xtask guests [NAME…]` rebuilds the guests and their manifest; `--check` rebuilds them elsewhere and compares.
//!
//! Each language has a `guests/<language>/build.sh`, whose contract is in `guests/common.sh`. A language whose tools are
//! absent is skipped with a line that says so, and never fails the task.

mod behaviour;
mod manifest;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

use self::manifest::{Entry, Manifest};

/// What a build script exits with when a tool is absent.
const EXIT_MISSING: i32 = 77;

/// Languages whose components carry an engine or a runtime: large, so neither committed nor built unless named.
const LARGE: [&str; 3] = ["go", "javascript", "python"];

/// One language's build script.
struct Language {
    name: String,
    script: PathBuf,
    guests: Vec<String>,
}

/// What became of one language's build.
enum Build {
    /// The components are in the output directory.
    Done {
        /// The toolchain, in one line.
        toolchain: String,
    },
    /// A tool is absent; what the script said of it.
    Missing(String),
}

/// Runs the task with its arguments.
///
/// # Errors
/// A name is unknown, or a build failed. A difference found by `--check` is a failing exit code.
#[expect(clippy::print_stdout, reason = "a command for people")]
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let check = arguments.iter().any(|word| word == "--check");
    let names: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "--check").collect();
    let root = root();
    let wanted = choose(languages(&root.join("guests"))?, &names)?;
    let built = root.join("guests/built");
    let elsewhere = root.join("target/guests-check");
    let out = if check { &elsewhere } else { &built };

    let mut differences = 0;
    for (language, guests) in &wanted {
        match build(language, guests, out)? {
            Build::Missing(what) => println!("{}: skipped: {what}", guests.join(", ")),
            Build::Done { toolchain } if check => differences += compare(&root, guests, out, &toolchain)?,
            Build::Done { toolchain } => {
                let large = LARGE.contains(&language.name.as_str());
                record(&built, guests, &toolchain, large)?;
            }
        }
    }
    if differences > 0 {
        println!("{differences} guests differ from what is committed: `cargo xtask guests` rebuilds them");
    }
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The repository: this crate's parent.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .expect("xtask lies in the repository")
}

fn languages(guests: &Path) -> Result<Vec<Language>> {
    let mut found = Vec::new();
    for entry in guests.read_dir().with_context(|| format!("cannot list {}", guests.display()))? {
        let entry = entry?;
        let script = entry.path().join("build.sh");
        if script.is_file() {
            let names = run_script(&script, &["--list"])?.expect("a list needs no tools");
            let guests = names.lines().map(str::to_owned).collect();
            found.push(Language { name: entry.file_name().to_string_lossy().into_owned(), script, guests });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The languages to build, each with those of its guests that were asked for: by name, or all that are not large.
fn choose(languages: Vec<Language>, names: &[&str]) -> Result<Vec<(Language, Vec<String>)>> {
    let known: Vec<String> = languages.iter().flat_map(|language| language.guests.clone()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.iter().any(|guest| guest == *name)) {
        bail!("there is no guest `{unknown}`; there are: {}", known.join(" "));
    }
    let asked = |language: &Language| -> Vec<String> {
        let all = names.is_empty() && !LARGE.contains(&language.name.as_str());
        language.guests.iter().filter(|guest| all || names.contains(&guest.as_str())).cloned().collect()
    };
    let chosen = languages.into_iter().map(|language| {
        let guests = asked(&language);
        (language, guests)
    });
    Ok(chosen.filter(|(_, guests)| !guests.is_empty()).collect())
}

fn build(language: &Language, guests: &[String], out: &Path) -> Result<Build> {
    let toolchain = match run_script(&language.script, &["--toolchain"])? {
        Ok(line) => line.trim().to_owned(),
        Err(missing) => return Ok(Build::Missing(missing)),
    };
    let out = out.to_str().context("the repository's path is not UTF-8")?;
    let words: Vec<&str> = std::iter::once(out).chain(guests.iter().map(String::as_str)).collect();
    match run_script(&language.script, &words)? {
        Ok(_) => Ok(Build::Done { toolchain }),
        Err(missing) => Ok(Build::Missing(missing)),
    }
}

/// Runs a build script: what it printed, or what it says is missing.
fn run_script(script: &Path, arguments: &[&str]) -> Result<Result<String, String>> {
    // Cargo tells the programs it runs which toolchain they belong to; the guests have their own.
    let output = Command::new(script)
        .args(arguments)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.code() == Some(EXIT_MISSING) {
        return Ok(Err(said));
    }
    ensure!(output.status.success(), "{} {} failed:\n{said}", script.display(), arguments.join(" "));
    Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Writes the guests that were built into the manifest, except the large ones, which are not committed.
#[expect(clippy::print_stdout, reason = "a command for people")]
fn record(built: &Path, guests: &[String], toolchain: &str, large: bool) -> Result<()> {
    let mut manifest = Manifest::read(built)?;
    for guest in guests {
        let entry = Entry::of_file(built, guest, toolchain)?;
        println!("{guest}: {} bytes", entry.size_bytes);
        if !large {
            manifest.put(entry);
        }
    }
    manifest.write(built)
}

/// Compares what was rebuilt with what is committed; how many guests differ.
#[expect(clippy::print_stdout, reason = "a command for people")]
fn compare(root: &Path, guests: &[String], rebuilt: &Path, toolchain: &str) -> Result<usize> {
    let built = root.join("guests/built");
    let manifest = Manifest::read(&built)?;
    let mut differences = 0;
    for guest in guests {
        let now = Entry::of_file(rebuilt, guest, toolchain)?;
        let verdict = match manifest.get(guest) {
            None => "built; not committed, so not compared".to_owned(),
            Some(committed) if committed.digest == now.digest => "the same bytes".to_owned(),
            Some(committed) => match behaviour::difference(root, &built, rebuilt, guest)? {
                None => {
                    format!("other bytes ({} then, {toolchain} now), the same answers", committed.toolchain)
                }
                Some(difference) => {
                    differences += 1;
                    format!("DIFFERENT: {difference}")
                }
            },
        };
        println!("{guest}: {verdict}");
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_guest_is_in_the_manifest_as_it_is() -> Result<()> {
        let built = root().join("guests/built");
        let manifest = Manifest::read(&built)?;
        for entry in manifest.entries() {
            let now = Entry::of_file(&built, &entry.name, &entry.toolchain)?;
            assert_eq!(*entry, now, "`cargo xtask guests {}` rebuilds it with its line", entry.name);
        }
        for language in languages(&root().join("guests"))? {
            let large = LARGE.contains(&language.name.as_str());
            for guest in language.guests {
                assert_eq!(
                    manifest.get(&guest).is_none(),
                    large,
                    "{guest} in {}",
                    built.join("MANIFEST").display()
                );
            }
        }
        Ok(())
    }

    #[test]
    fn the_readme_has_a_row_for_every_guest_with_its_size() -> Result<()> {
        let root = root();
        let readme = std::fs::read_to_string(root.join("guests/README.md"))?;
        let manifest = Manifest::read(&root.join("guests/built"))?;
        for guest in languages(&root.join("guests"))?.iter().flat_map(|language| &language.guests) {
            let row = readme.lines().find(|line| line.starts_with(&format!("| `{guest}` |")));
            let row = row.with_context(|| format!("guests/README.md has no row for `{guest}`"))?;
            if let Some(entry) = manifest.get(guest) {
                let size = format!("| {} |", entry.size_for_people());
                assert!(row.contains(&size), "guests/README.md: the row of `{guest}` should say `{size}`");
            }
        }
        Ok(())
    }

    #[test]
    fn names_are_chosen_by_language_and_large_ones_only_by_name() -> Result<()> {
        let languages = || {
            let language = |name: &str, guests: &[&str]| Language {
                name: name.into(),
                script: PathBuf::new(),
                guests: guests.iter().map(|guest| (*guest).to_owned()).collect(),
            };
            vec![language("c", &["hello-c", "cli-c"]), language("go", &["hello-go"])]
        };
        let chosen = |names: &[&str]| -> Result<Vec<String>> {
            Ok(choose(languages(), names)?.into_iter().flat_map(|(_, guests)| guests).collect())
        };
        assert_eq!(chosen(&[])?, ["hello-c", "cli-c"]);
        assert_eq!(chosen(&["hello-go", "cli-c"])?, ["cli-c", "hello-go"]);
        let refusal = chosen(&["hello-basic"]).expect_err("no such guest").to_string();
        assert_eq!(refusal, "there is no guest `hello-basic`; there are: hello-c cli-c hello-go");
        Ok(())
    }
}
