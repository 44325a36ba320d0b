//! Rewriting a component so that its core modules can be saved and rewound from outside.

use std::ops::Range;

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentSection, ComponentTypeSection, ComponentValType, Encode, ExportKind,
    PrimitiveValType,
};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentType, ComponentTypeSectionReader, Encoding, ExternalKind,
    Instance, Parser, Payload, Validator,
};

use super::module::{HEAP, MEMORY, MEMORY_DONE, Module, REWIND, SAVE, Way};
use super::{EXPORT_PREFIX, MEMORY_EXPORT, NotRewindable, rewind_export, save_export};

/// A core module of the component.
struct Part<'a> {
    module: Module<'a>,
    /// The core instance made of it.
    instance: Option<u32>,
}

/// What a walk over the outermost component gathers.
#[derive(Default)]
struct Walk<'a> {
    /// Each section: its id, its content, and the number of the module that it holds.
    sections: Vec<(u8, Range<usize>, Option<usize>)>,
    parts: Vec<Part<'a>>,
    core_instances: u32,
    /// Each core function: the core instance that exports it and its name there, if that is where it is from.
    core_functions: Vec<Option<(u32, &'a str)>>,
    /// Core functions that can be called from outside.
    lifted: Vec<u32>,
    /// Components and modules around the payload at hand.
    depth: usize,
}

/// Sizes of the index spaces of a component.
struct Counts {
    types: u32,
    functions: u32,
    core_functions: u32,
    core_memories: u32,
}

/// The component with what it takes to rewind its instances.
///
/// # Errors
/// When there is something in it that cannot be brought back; it then runs as it is.
pub(super) fn rewritten(binary: &[u8]) -> Result<Vec<u8>, NotRewindable> {
    // The walk relies on what it reads: only what is valid gets there (but for function bodies, which it copies).
    let counts = Counts::of(binary)?;
    let mut walk = Walk::default();
    for payload in Parser::new(0).parse_all(binary) {
        walk.payload(binary, payload?)?;
    }
    walk.rewritten(binary, &counts)
}

impl Counts {
    /// Validates a component, all but its function bodies, and counts what it has.
    fn of(binary: &[u8]) -> Result<Self, NotRewindable> {
        let mut validator = Validator::new();
        let mut counts = None;
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(binary) {
            let payload = payload?;
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) if depth > 0 => depth -= 1,
                Payload::End(_) => {
                    counts = validator.types(0).map(|types| Self {
                        types: types.component_type_count(),
                        functions: types.component_function_count(),
                        core_functions: types.function_count(),
                        core_memories: types.memory_count(),
                    });
                }
                _ => {}
            }
            validator.payload(&payload)?;
        }
        counts.ok_or_else(|| NotRewindable("it is no component".into()))
    }
}

impl<'a> Walk<'a> {
    fn payload(&mut self, binary: &'a [u8], payload: Payload<'a>) -> Result<(), NotRewindable> {
        if self.depth > 0 {
            return self.inner(&payload);
        }
        if let Some((id, range)) = payload.as_section() {
            let module = matches!(payload, Payload::ModuleSection { .. }).then_some(self.parts.len());
            self.sections.push((id, range, module));
        }
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } => {
                return Err(NotRewindable("it is no component".into()));
            }
            Payload::ModuleSection { unchecked_range, .. } => {
                let module =
                    binary.get(unchecked_range).ok_or_else(|| NotRewindable("it is cut off".into()))?;
                self.parts.push(Part { module: Module::read(module)?, instance: None });
                self.depth += 1;
            }
            Payload::ComponentSection { .. } => {
                self.depth += 1;
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.instance(&instance?)?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    if let ComponentAlias::CoreInstanceExport {
                        kind: ExternalKind::Func,
                        instance_index,
                        name,
                    } = alias?
                    {
                        self.core_functions.push(Some((instance_index, name)));
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function? {
                        CanonicalFunction::Lift { core_func_index, .. } => self.lifted.push(core_func_index),
                        // All others make a core function.
                        _ => self.core_functions.push(None),
                    }
                }
            }
            Payload::ComponentTypeSection(section) => no_resources(section)?,
            Payload::ComponentImportSection(section) => {
                for import in section {
                    if matches!(import?.ty, wasmparser::ComponentTypeRef::Module(_)) {
                        return Err(NotRewindable("it imports a module".into()));
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    if is_ours(export?.name.name) {
                        return Err(NotRewindable(format!(
                            "it exports names that begin with `{EXPORT_PREFIX}`"
                        )));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What lies in a module, or in a component inside this one.
    fn inner(&mut self, payload: &Payload<'_>) -> Result<(), NotRewindable> {
        match payload {
            Payload::InstanceSection(_) => {
                return Err(NotRewindable("it is composed of components with instances of their own".into()));
            }
            Payload::ComponentTypeSection(section) => no_resources(section.clone())?,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => self.depth += 1,
            Payload::End(_) => self.depth -= 1,
            _ => {}
        }
        Ok(())
    }

    fn instance(&mut self, instance: &Instance<'_>) -> Result<(), NotRewindable> {
        let index = self.core_instances;
        self.core_instances += 1;
        let Instance::Instantiate { module_index, .. } = instance else { return Ok(()) };
        let part = self.parts.get_mut(*module_index as usize);
        let part = part.ok_or_else(|| NotRewindable("it takes a module from elsewhere".into()))?;
        if part.instance.replace(index).is_some() && part.module.is_stateful() {
            return Err(NotRewindable("it makes more than one instance of a module".into()));
        }
        Ok(())
    }

    fn rewritten(&self, binary: &[u8], counts: &Counts) -> Result<Vec<u8>, NotRewindable> {
        let stateful: Vec<_> = self
            .parts
            .iter()
            .filter(|part| part.module.is_stateful())
            .filter_map(|part| Some((&part.module, part.instance?)))
            .collect();
        let memories = stateful.iter().filter(|(module, _)| module.has_memory()).count();
        if memories > 1 {
            return Err(NotRewindable("more than one of its modules has a memory".into()));
        }
        let own_size = !self.parts.iter().any(|part| part.module.sizes_foreign_memory());
        // A memory without a size of its own has to be asked whether it grew.
        let at_entry = if own_size { self.only_entry(&stateful) } else { None };
        let way = Way { own_size, at_entry };
        let mut output = binary[..8].to_vec();
        for (id, range, module) in &self.sections {
            output.push(*id);
            match module.map(|module| &self.parts[module].module) {
                Some(module) if module.is_stateful() => module.rewritten(way).encode(&mut output),
                _ => binary[range.clone()].encode(&mut output),
            }
        }
        exports(&stateful, way, counts, &mut output);
        Ok(output)
    }

    /// The export of the only module with state, if nothing else can be called from outside and it can rewind the
    /// module first. Whatever its name is: a component may answer requests with any function.
    fn only_entry(&self, stateful: &[(&Module<'_>, u32)]) -> Option<&'a str> {
        let ([(module, instance)], [entry]) = (stateful, self.lifted.as_slice()) else { return None };
        let (of, export) = (*self.core_functions.get(*entry as usize)?)?;
        (of == *instance && module.rewinds_at_entry(export)).then_some(export)
    }
}

/// Whether an export may have the name of one that is added. Names that differ in case or in an annotation such as
/// `[async]` only are the same.
fn is_ours(name: &str) -> bool {
    let name = name.rsplit(']').next().unwrap_or(name);
    name.get(..EXPORT_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(EXPORT_PREFIX))
}

/// The engine keeps a table of a component's own resources, which nobody can bring back.
fn no_resources(section: ComponentTypeSectionReader<'_>) -> Result<(), NotRewindable> {
    for ty in section {
        if matches!(ty?, ComponentType::Resource { .. }) {
            return Err(NotRewindable("it defines resources of its own".into()));
        }
    }
    Ok(())
}

/// Lifts the functions that were added to the modules, and exports them.
fn exports(stateful: &[(&Module<'_>, u32)], way: Way<'_>, counts: &Counts, output: &mut Vec<u8>) {
    let mut aliases = ComponentAliasSection::new();
    let mut lifts = CanonicalFunctionSection::new();
    let mut exports = ComponentExportSection::new();
    let mut core_functions = counts.core_functions..;
    let mut functions = counts.functions..;
    let (nothing, flag, bytes) = (counts.types, counts.types + 1, counts.types + 3);
    let mut lifted = |name: &str, exports: &mut ComponentExportSection| {
        let index = functions.next().unwrap_or(u32::MAX);
        exports.export(name, ComponentExportKind::Func, index, None);
    };
    for (number, (module, instance)) in stateful.iter().enumerate() {
        let mut alias = |name| {
            aliases.alias(Alias::CoreInstanceExport { instance: *instance, kind: ExportKind::Func, name });
            core_functions.next().unwrap_or(u32::MAX)
        };
        lifts.lift(alias(SAVE), nothing, []);
        lifted(&save_export(number), &mut exports);
        if way.at_entry.is_none() {
            lifts.lift(alias(REWIND), flag, []);
            lifted(&rewind_export(number), &mut exports);
        }
        if module.has_memory() {
            let (give, done) = (alias(MEMORY), alias(MEMORY_DONE));
            aliases.alias(Alias::CoreInstanceExport {
                instance: *instance,
                kind: ExportKind::Memory,
                name: HEAP,
            });
            let options = [CanonicalOption::Memory(counts.core_memories), CanonicalOption::PostReturn(done)];
            lifts.lift(give, bytes, options);
            lifted(MEMORY_EXPORT, &mut exports);
        }
    }
    aliases.append_to_component(output);
    types(counts).append_to_component(output);
    lifts.append_to_component(output);
    exports.append_to_component(output);
}

/// The types of the functions that are lifted: `func()`, `func() -> u32`, `list<u8>`, and a function of it.
fn types(counts: &Counts) -> ComponentTypeSection {
    let none: [(&str, PrimitiveValType); 0] = [];
    let mut types = ComponentTypeSection::new();
    types.function().params(none).result(None);
    types.function().params(none).result(Some(PrimitiveValType::U32.into()));
    types.defined_type().list(PrimitiveValType::U8);
    types.function().params(none).result(Some(ComponentValType::Type(counts.types + 2)));
    types
}
