//! Between binary and text: WAT both ways, and WIT.

use std::borrow::Cow;

use shoal_runtime::Refusal;
use wast::core::EncodeOptions;
use wast::parser::ParseBuffer;

use super::harmless;

/// What a WebAssembly binary starts with.
const MAGIC: &[u8] = b"\0asm";

/// The artifact as a binary: as it is, or assembled from text.
///
/// # Errors
/// When the bytes are neither, or the text has an error; the message names its line and column.
pub fn to_binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    if bytes.starts_with(MAGIC) {
        return Ok(Cow::Borrowed(bytes));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if !text.trim().is_empty() => text,
        Ok(_) => return Err(Refusal::new("the file is empty").hint("build or fetch it again")),
        Err(_) => return Err(not_webassembly(bytes)),
    };
    assemble(text).map(Cow::Owned).map_err(|error| {
        let (line, column) = error.span().linecol_in(text);
        let (line, column) = (line + 1, column + 1);
        Refusal::new(format!("not valid WebAssembly text: line {line}, column {column}: {}", error.message()))
            .hint("an artifact is a WebAssembly binary (.wasm) or its text (.wat)")
    })
}

/// The public interface of a component as WIT: its world, and every package that the world uses.
///
/// # Errors
/// When the bytes are malformed, or are a core module, which has no WIT.
pub fn wit(bytes: &[u8]) -> Result<String, Refusal> {
    let (binary, scan) = harmless(bytes)?;
    if !scan.component {
        return Err(Refusal::new("a core module has no WIT").hint("`--wat` shows its imports and exports"));
    }
    print_wit(&binary).map_err(|error| invalid(&error))
}

/// The artifact as WebAssembly text. Some twenty times as large as the binary.
///
/// # Errors
/// When the bytes are malformed.
pub fn wat(bytes: &[u8]) -> Result<String, Refusal> {
    let (binary, _) = harmless(bytes)?;
    wasmprinter::print_bytes(&binary).map_err(|error| invalid(&error))
}

fn assemble(text: &str) -> Result<Vec<u8>, wast::Error> {
    let buffer = ParseBuffer::new(text)?;
    let mut parsed = wast::parser::parse::<wast::Wat<'_>>(&buffer)?;
    EncodeOptions::new().encode_wat(&mut parsed)
}

fn print_wit(binary: &[u8]) -> anyhow::Result<String> {
    let decoded = wit_component::decode(binary)?;
    let (resolve, main) = (decoded.resolve(), decoded.package());
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = wit_component::WitPrinter::default();
    printer.print(resolve, main, &others)?;
    Ok(printer.output.to_string())
}

fn invalid(error: &anyhow::Error) -> Refusal {
    Refusal::new(format!("not a valid WebAssembly binary: {error:#}"))
        .hint("the file is damaged, or newer than this version of Shoal; build or fetch it again")
}

/// Names what the bytes look like instead, where their beginning tells.
fn not_webassembly(bytes: &[u8]) -> Refusal {
    let known: [(&[u8], &str); 5] = [
        (b"\x7fELF", "a native program or a compiled artifact (ELF)"),
        (b"\x1f\x8b", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"PK\x03\x04", "a zip archive"),
        (b"!<arch>", "a library of object files"),
    ];
    let what = known.into_iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, what)| what);
    let start: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let looks =
        what.map_or_else(|| format!("it starts with {}", start.join(" ")), |what| format!("it is {what}"));
    Refusal::new(format!("not WebAssembly: {looks}")).hint(if bytes.starts_with(b"\x7fELF") {
        "name the .wasm file that it was made from; `shoal run` takes what `shoal compile` made, as .cwasm"
    } else {
        "an artifact is a WebAssembly binary (.wasm) or its text (.wat)"
    })
}
