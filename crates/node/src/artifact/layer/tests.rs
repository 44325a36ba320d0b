//! Archives as tools write them, and broken ones.

use super::*;

/// An archive in the making.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, kind: u8, name: &str, content: &[u8]) -> Self {
        let mut block = [0; BLOCK_BYTES];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        self.push(block, content);
        self
    }

    fn push(&mut self, mut block: [u8; BLOCK_BYTES], content: &[u8]) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK_BYTES), 0);
    }

    fn ended(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 2 * BLOCK_BYTES]);
        self.0
    }
}

fn read(archive: &[u8], bytes_max: u64) -> Result<Vec<String>, String> {
    let mut seen = Vec::new();
    let result = read_layer(archive, bytes_max, |entry, content| {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        seen.push(match entry {
            Entry::File { path, size_bytes } => format!("{path} ({size_bytes}): {text}"),
            Entry::Removed { path } => format!("{path} removed"),
            Entry::Emptied { path } => format!("{path} emptied"),
        });
        Ok(())
    });
    result.map(|()| seen).map_err(|error| error.to_string())
}

#[test]
fn files_and_marks_are_seen_in_their_order() {
    let long = format!("{}/app.wasm", "d".repeat(150));
    let record = format!("path={long}\n");
    let record = format!("{} {record}", record.len() + 4);
    let archive = Tar::default()
        .entry(b'5', "./", b"")
        .entry(b'0', "./app.wasm", b"one")
        .entry(b'\0', "/etc/passwd", &[b'x'; BLOCK_BYTES + 1])
        .entry(b'2', "link", b"")
        .entry(b'g', "pax_global_header", b"19 comment=nothing\n")
        .entry(b'x', "PaxHeaders/0", record.as_bytes())
        .entry(b'0', "short", b"two")
        .entry(b'L', "././@LongLink", format!("{long}\0").as_bytes())
        .entry(b'0', "short", b"three")
        .entry(b'0', "etc/.wh.shadow", b"")
        .entry(b'0', ".wh.top", b"")
        .entry(b'0', "usr/.wh..wh..opq", b"")
        .entry(b'0', "../out", b"no")
        .entry(b'0', "dir/", b"")
        .ended();
    let expected = [
        "app.wasm (3): one".to_string(),
        format!("etc/passwd (513): {}", "x".repeat(513)),
        format!("{long} (3): two"),
        format!("{long} (5): three"),
        "etc/shadow removed".into(),
        "top removed".into(),
        "usr emptied".into(),
    ];
    assert_eq!(read(&archive, u64::MAX), Ok(expected.into()));
    assert_eq!(read(&archive[..archive.len() - 2 * BLOCK_BYTES], u64::MAX).map(|seen| seen.len()), Ok(7));
}

#[test]
fn content_may_be_left_unread() {
    let archive = Tar::default().entry(b'0', "a", &[1; 1000]).entry(b'0', "b", b"b").ended();
    let mut names = Vec::new();
    let visit = |entry, _: &mut dyn Read| {
        names.push(entry);
        Ok(())
    };
    read_layer(archive.as_slice(), u64::MAX, visit).expect("an archive");
    assert_eq!(names.len(), 2);
}

#[test]
fn a_prefix_comes_before_the_name() {
    let mut block = [0; BLOCK_BYTES];
    block[..8].copy_from_slice(b"app.wasm");
    block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    block[156] = b'0';
    block[257..263].copy_from_slice(b"ustar\0");
    block[345..350].copy_from_slice(b"a/dir");
    let mut tar = Tar::default();
    tar.push(block, b"ab");
    assert_eq!(read(&tar.ended(), u64::MAX), Ok(vec!["a/dir/app.wasm (2): ab".into()]));
}

#[test]
fn the_limit_holds_at_its_edge() {
    let archive = Tar::default().entry(b'0', "a", b"a").ended();
    // The second block of zeros is not read.
    let read_bytes = archive.len() as u64 - BLOCK_BYTES as u64;
    assert!(read(&archive, read_bytes).is_ok());
    let error = read(&archive, read_bytes - 1).expect_err("too large");
    assert_eq!(error, format!("a layer unpacks to more than {} bytes", read_bytes - 1));
}

#[test]
fn a_header_that_is_too_long_is_refused() {
    let most = usize::try_from(HEADER_BYTES_MAX).expect("it fits");
    let with = |length: usize| Tar::default().entry(b'L', "x", &vec![b'a'; length]).ended();
    assert_eq!(read(&with(most), u64::MAX), Ok(vec![]));
    assert!(read(&with(most + 1), u64::MAX).expect_err("too long").contains("too long"));
}

#[test]
fn what_is_broken_is_refused() {
    let archive = Tar::default().entry(b'0', "a", &[1; 600]).ended();
    assert!(read(b"not an archive", u64::MAX).expect_err("short").contains("cut off"));
    assert!(read(&[b'x'; BLOCK_BYTES], u64::MAX).expect_err("text").contains("checksum"));
    assert!(read(&archive[..BLOCK_BYTES + 600], u64::MAX).expect_err("cut").contains("cut off"));
    let mut changed = archive.clone();
    changed[0] ^= 1;
    assert!(read(&changed, u64::MAX).expect_err("changed").contains("checksum"));
    assert_eq!(read(b"", u64::MAX), Ok(vec![]));
}
