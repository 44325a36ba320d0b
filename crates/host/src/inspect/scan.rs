//! One walk over the sections of a binary, without recursion.
//!
//! Function bodies, data and other bulk are stepped over. Component types are walked here, with a stack of
//! our own, because the usual readers call themselves for every level of nesting: a file of a few kilobytes
//! could exhaust their stack and end the process. [`scan`] refuses it first.

use std::ops::Range;

use shoal_runtime::Refusal;
use wasmparser::{
    BinaryReader, BinaryReaderError, CanonicalFunction, CanonicalOption, Chunk, ComponentAlias,
    ComponentDefinedType, ComponentExternName, ComponentExternalKind, ComponentImport, ComponentName,
    ComponentType, ComponentTypeRef, CoreType, Encoding, ExternalKind, KnownCustom, Parser, Payload,
    PrimitiveValType,
};

/// Component types nested in one another. The validator of the engine allows 100; toolchains emit five.
pub(super) const TYPE_DEPTH_MAX: usize = 100;

/// Components nested in one another. Composition tools emit one level for each composition.
pub(super) const COMPONENT_DEPTH_MAX: usize = 100;

/// Imports, exports or core modules. The largest real artifacts have a few thousand, and each that is kept
/// costs far more than its bytes in the file.
pub(super) const NAMES_MAX: usize = 100_000;

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Whether the outermost binary is a component.
    pub(super) component: bool,
    /// Whether anything in it is declared or called asynchronously.
    pub(super) is_async: bool,
    /// Imports of the outermost binary; `module::name` for a core module.
    pub(super) imports: Vec<String>,
    /// Exports of the outermost binary.
    pub(super) exports: Vec<Export>,
    /// Producers of the whole artifact, each once: field, name, version.
    pub(super) producers: Vec<(String, String, String)>,
    /// Custom sections of the whole artifact by name, with the sum of their sizes in bytes.
    pub(super) custom_sections: Vec<(String, u64)>,
    /// Sizes in bytes of the core modules inside.
    pub(super) modules: Vec<u64>,
    /// Names of core modules inside, where a name section gives them.
    pub(super) module_names: Vec<String>,
}

/// One export.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) name: String,
    pub(super) is_instance: bool,
    pub(super) is_function: bool,
}

impl Scan {
    /// Names of imports and exports.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().map(String::as_str).chain(self.exports.iter().map(|e| e.name.as_str()))
    }
}

/// Why the walk stopped.
enum Stop {
    Malformed { why: String, offset: usize },
    Truncated(usize),
    Limit { what: &'static str, max: usize },
}

impl From<BinaryReaderError> for Stop {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed { why: error.message().into(), offset: error.offset() }
    }
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Malformed { why, offset } => {
                Self::new(format!("not a valid WebAssembly binary: {why} (at offset {offset:#x})"))
                    .hint("the file is damaged or was cut off; build or fetch it again")
            }
            Stop::Truncated(offset) => Self::new(format!(
                "not a valid WebAssembly binary: the section at offset {offset:#x} goes past the end of the file"
            ))
            .hint("the file was cut off; build or fetch it again"),
            Stop::Limit { what, max } => Self::new(format!("the artifact has more than {max} {what}"))
                .hint("no toolchain makes such a file; Shoal does not run it"),
        }
    }
}

/// Walks the binary.
///
/// # Errors
/// When it is malformed or cut off where it was read, or passes a limit of this module.
pub(super) fn scan(binary: &[u8]) -> Result<Scan, Refusal> {
    Ok(Walk { binary, scan: Scan::default(), outer: Vec::new() }.run()?)
}

struct Walk<'a> {
    binary: &'a [u8],
    scan: Scan,
    /// The parsers around the one at work.
    outer: Vec<Parser>,
}

impl<'a> Walk<'a> {
    fn run(mut self) -> Result<Scan, Stop> {
        let mut parser = Parser::new(0);
        let mut offset = 0;
        loop {
            let rest = self.binary.get(offset..).ok_or(Stop::Truncated(offset))?;
            let payload = match parser.parse(rest, true)? {
                Chunk::Parsed { consumed, payload } => {
                    offset += consumed;
                    payload
                }
                Chunk::NeedMoreData(_) => return Err(Stop::Truncated(offset)),
            };
            match payload {
                Payload::CodeSectionStart { size, .. } => {
                    if size as usize > self.binary.len() - offset {
                        return Err(Stop::Truncated(offset));
                    }
                    parser.skip_section();
                    offset += size as usize;
                }
                Payload::ModuleSection { parser: inner, unchecked_range } => {
                    self.enter(std::mem::replace(&mut parser, inner), &unchecked_range)?;
                    keep(&mut self.scan.modules, unchecked_range.len() as u64, "core modules")?;
                }
                Payload::ComponentSection { parser: inner, unchecked_range } => {
                    self.enter(std::mem::replace(&mut parser, inner), &unchecked_range)?;
                }
                Payload::End(_) => match self.outer.pop() {
                    Some(outer) => parser = outer,
                    None => return Ok(self.scan),
                },
                payload => self.section(payload)?,
            }
        }
    }

    /// Steps into a nested binary.
    fn enter(&mut self, outer: Parser, range: &Range<usize>) -> Result<(), Stop> {
        if range.end > self.binary.len() {
            return Err(Stop::Truncated(range.start));
        }
        if self.outer.len() >= COMPONENT_DEPTH_MAX {
            return Err(Stop::Limit { what: "levels of nested components", max: COMPONENT_DEPTH_MAX });
        }
        self.outer.push(outer);
        Ok(())
    }

    fn section(&mut self, payload: Payload<'a>) -> Result<(), Stop> {
        let outermost = self.outer.is_empty();
        let scan = &mut self.scan;
        match payload {
            Payload::Version { encoding, .. } if outermost => {
                scan.component = encoding == Encoding::Component;
            }
            Payload::ImportSection(section) if outermost => {
                for import in section.into_imports() {
                    let import = import?;
                    keep(&mut scan.imports, format!("{}::{}", import.module, import.name), "imports")?;
                }
            }
            Payload::ExportSection(section) if outermost => {
                for export in section {
                    let export = export?;
                    let is_function = matches!(export.kind, ExternalKind::Func | ExternalKind::FuncExact);
                    let export = Export { name: export.name.into(), is_instance: false, is_function };
                    keep(&mut scan.exports, export, "exports")?;
                }
            }
            Payload::ComponentImportSection(section) if outermost => {
                for import in section {
                    keep(&mut scan.imports, import?.name.name.to_string(), "imports")?;
                }
            }
            Payload::ComponentExportSection(section) if outermost => {
                for export in section {
                    let export = export?;
                    let export = Export {
                        name: export.name.name.into(),
                        is_instance: export.kind == ComponentExternalKind::Instance,
                        is_function: export.kind == ComponentExternalKind::Func,
                    };
                    keep(&mut scan.exports, export, "exports")?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    scan.is_async |= is_async_function(&function?);
                }
            }
            Payload::ComponentTypeSection(section) => {
                let range = section.range();
                let bytes = self.binary.get(range.clone()).ok_or(Stop::Truncated(range.start))?;
                scan.is_async |= walk_types(&mut BinaryReader::new(bytes, range.start))?;
            }
            Payload::CustomSection(section) => {
                scan.custom_section(section.name(), section.data().len() as u64);
                match section.as_known() {
                    KnownCustom::Producers(fields) => scan.producers(fields),
                    KnownCustom::ComponentName(names) => scan.module_names(names),
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Scan {
    /// Adds to the size of the custom sections of this name.
    fn custom_section(&mut self, name: &str, size_bytes: u64) {
        if let Some((_, sum)) = self.custom_sections.iter_mut().find(|(known, _)| known == name) {
            *sum += size_bytes;
        } else if self.custom_sections.len() < CUSTOM_NAMES_MAX {
            self.custom_sections.push((name.into(), size_bytes));
        }
    }

    /// Adds the producers that are not known yet. Custom sections have no meaning for the engine, so a
    /// malformed one ends the reading of producers and nothing more.
    fn producers(&mut self, fields: wasmparser::ProducersSectionReader<'_>) {
        for field in fields.into_iter().map_while(Result::ok) {
            for value in field.values.into_iter().map_while(Result::ok) {
                let producer = (field.name.into(), value.name.into(), value.version.into());
                if self.producers.len() < PRODUCERS_MAX && !self.producers.contains(&producer) {
                    self.producers.push(producer);
                }
            }
        }
    }

    /// Adds the names of core modules. As with producers, a malformed section ends the reading.
    fn module_names(&mut self, sections: wasmparser::ComponentNameSectionReader<'_>) {
        for section in sections.into_iter().map_while(Result::ok) {
            if let ComponentName::CoreModules(names) = section {
                let left = MODULE_NAMES_MAX.saturating_sub(self.module_names.len());
                let names = names.into_iter().map_while(Result::ok).take(left);
                self.module_names.extend(names.map(|naming| naming.name.to_string()));
            }
        }
    }
}

/// Names of core modules that are kept; further ones are left out. They serve to guess the language, and
/// the largest real components, of shared libraries, have a hundred.
const MODULE_NAMES_MAX: usize = 1_000;

/// Names of custom sections that are kept; further ones are left out. Each is compared with all, and real
/// artifacts have about twenty, most of them of debug information.
const CUSTOM_NAMES_MAX: usize = 1_000;

/// Producers that are kept; further ones are left out. Each is compared with all, and real artifacts have
/// about ten.
const PRODUCERS_MAX: usize = 100;

fn keep<T>(list: &mut Vec<T>, item: T, what: &'static str) -> Result<(), Stop> {
    if list.len() >= NAMES_MAX {
        return Err(Stop::Limit { what, max: NAMES_MAX });
    }
    list.push(item);
    Ok(())
}

/// Whether a canonical function belongs to the asynchronous half of the component model: everything but
/// plain lifts, lowers and resources does.
fn is_async_function(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options.iter().any(|o| matches!(o, CanonicalOption::Async | CanonicalOption::Callback(_)))
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => false,
        _ => true,
    }
}

/// Walks a section of component types and says whether any of them is asynchronous.
///
/// The grammar is the binary format of the component model: `deftype`, `componentdecl`, `instancedecl`.
fn walk_types(reader: &mut BinaryReader<'_>) -> Result<bool, Stop> {
    let mut is_async = false;
    // Items left to read at each level. The outermost level lists types, all others declarations.
    let mut levels = vec![reader.read_var_u32()?];
    while let Some(left) = levels.last_mut() {
        let Some(fewer) = left.checked_sub(1) else {
            levels.pop();
            continue;
        };
        *left = fewer;
        let is_type = levels.len() == 1 || read_declaration(reader)?;
        if !is_type {
            continue;
        }
        match reader.clone().read_u8()? {
            0x41 | 0x42 => {
                reader.read_u8()?;
                if levels.len() > TYPE_DEPTH_MAX {
                    return Err(Stop::Limit { what: "levels of nested types", max: TYPE_DEPTH_MAX });
                }
                levels.push(reader.read_var_u32()?);
            }
            _ => is_async |= is_async_type(&reader.read::<ComponentType<'_>>()?),
        }
    }
    Ok(is_async)
}

/// Reads one declaration of a component or instance type; true when it is a type, which is still to be read.
fn read_declaration(reader: &mut BinaryReader<'_>) -> Result<bool, Stop> {
    let offset = reader.original_position();
    match reader.read_u8()? {
        0x00 => {
            reader.read::<CoreType<'_>>()?;
        }
        0x01 => return Ok(true),
        0x02 => {
            reader.read::<ComponentAlias<'_>>()?;
        }
        0x03 => {
            reader.read::<ComponentImport<'_>>()?;
        }
        0x04 => {
            reader.read::<ComponentExternName<'_>>()?;
            reader.read::<ComponentTypeRef>()?;
        }
        byte => {
            return Err(Stop::Malformed { why: format!("no declaration starts with {byte:#04x}"), offset });
        }
    }
    Ok(false)
}

fn is_async_type(ty: &ComponentType<'_>) -> bool {
    match ty {
        ComponentType::Func(function) => function.async_,
        ComponentType::Defined(defined) => matches!(
            defined,
            ComponentDefinedType::Future(_)
                | ComponentDefinedType::Stream(_)
                | ComponentDefinedType::Primitive(PrimitiveValType::ErrorContext)
        ),
        ComponentType::Component(_) | ComponentType::Instance(_) | ComponentType::Resource { .. } => false,
    }
}
