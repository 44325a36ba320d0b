//! `guests/built/MANIFEST`: one line for each committed component, `name size digest toolchain`.

use std::path::Path;

use anyhow::{Context, Result};

const FILE: &str = "MANIFEST";
const HEADING: &str = "# Written by `cargo xtask guests`: name, size in bytes, BLAKE3, toolchain.";

/// The committed components, sorted by name.
pub(super) struct Manifest {
    entries: Vec<Entry>,
}

/// One component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The file is `<name>.wasm`.
    pub(super) name: String,
    /// Its size in bytes.
    pub(super) size_bytes: u64,
    /// Its BLAKE3 digest in hexadecimal.
    pub(super) digest: String,
    /// What it was built with, in one line.
    pub(super) toolchain: String,
}

impl Manifest {
    /// Reads the manifest of the directory; an absent one is empty.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let text = if path.exists() { std::fs::read_to_string(&path)? } else { String::new() };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let entries =
            lines.map(|line| Entry::parse(line).with_context(|| format!("{}: `{line}`", path.display())));
        Ok(Self { entries: entries.collect::<Result<_>>()? })
    }

    /// Writes the manifest of the directory.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let lines = self.entries.iter().map(Entry::line);
        let text: Vec<String> = std::iter::once(HEADING.to_owned()).chain(lines).collect();
        let path = directory.join(FILE);
        std::fs::write(&path, text.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The entry of a guest.
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// All entries.
    #[cfg(test)]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds an entry, in place of an earlier one of that name.
    pub(super) fn put(&mut self, entry: Entry) {
        self.entries.retain(|other| other.name != entry.name);
        self.entries.push(entry);
        self.entries.sort_by(|one, other| one.name.cmp(&other.name));
    }
}

impl Entry {
    /// The entry of `<directory>/<name>.wasm` as it is now.
    pub(super) fn of_file(directory: &Path, name: &str, toolchain: &str) -> Result<Self> {
        let path = directory.join(format!("{name}.wasm"));
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            name: name.into(),
            size_bytes: bytes.len() as u64,
            digest: blake3::hash(&bytes).to_hex().to_string(),
            toolchain: toolchain.into(),
        })
    }

    /// The size as the README gives it: bytes below one kilobyte, kilobytes above.
    #[cfg(test)]
    pub(super) fn size_for_people(&self) -> String {
        match self.size_bytes {
            bytes @ 0..1000 => format!("{bytes} B"),
            bytes => format!("{} kB", (bytes + 500) / 1000),
        }
    }

    fn parse(line: &str) -> Result<Self> {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().context("not `name size digest toolchain`");
        Ok(Self {
            name: word()?.into(),
            size_bytes: word()?.parse()?,
            digest: word()?.into(),
            toolchain: word()?.into(),
        })
    }

    fn line(&self) -> String {
        format!("{} {} {} {}", self.name, self.size_bytes, self.digest, self.toolchain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, size_bytes: u64) -> Entry {
        Entry { name: name.into(), size_bytes, digest: "00ff".into(), toolchain: "a tool 1.0".into() }
    }

    #[test]
    fn a_line_reads_back_as_it_was_written() -> Result<()> {
        let written = entry("hello", 45_110);
        assert_eq!(Entry::parse(&written.line())?, written);
        assert!(Entry::parse("hello many 00ff a tool").is_err());
        assert!(Entry::parse("hello 1").is_err());
        Ok(())
    }

    #[test]
    fn a_guest_has_one_entry() {
        let mut manifest = Manifest { entries: vec![entry("b", 1)] };
        manifest.put(entry("a", 1));
        manifest.put(entry("b", 2));
        assert_eq!(manifest.entries, [entry("a", 1), entry("b", 2)]);
    }

    #[test]
    fn sizes_are_bytes_below_a_kilobyte() {
        assert_eq!(entry("x", 999).size_for_people(), "999 B");
        assert_eq!(entry("x", 1499).size_for_people(), "1 kB");
        assert_eq!(entry("x", 1500).size_for_people(), "2 kB");
    }
}
