//! Rewriting a core module so that an instance of it can be brought back to its first state.
//!
//! A module gets functions that save its mutable globals in globals of their own, and bring them back. What
//! cannot be brought back (its tables, its dropped segments) is watched: a flag is set where it changes.
//!
//! The memory gets some pages more than it asks for, and `memory.size` and `memory.grow` work on a count of
//! pages of their own, so that a heap that grows a little costs no system call and can be shrunk again. A
//! guest that reads beyond its own size then finds zeros, where it would trap, as far as the real memory goes:
//! [`HEADROOM_PAGES`], or what an earlier request grew it to.
//!
//! Everything is added at the end of its index space, so the rest of the module stays as it is, byte by byte.

use std::ops::Range;

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, Encode, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, InstructionSink, MemArg, MemorySection, TypeSection, ValType,
};
use wasmparser::{
    BinaryReader, CompositeInnerType, ExportSectionReader, ExternalKind, FunctionBody, MemoryType, Operator,
    Parser, Payload, TypeRef,
};

use super::NotRewindable;

/// Pages of 64 KiB that a memory has beyond what it asks for: what a request of an ordinary guest needs. Where it
/// is not enough the memory grows, once for all the requests of an instance.
pub(super) const HEADROOM_PAGES: u64 = 2;

/// Names of what is added; no toolchain makes such names.
pub(super) const SAVE: &str = "shoal:save";
pub(super) const REWIND: &str = "shoal:rewind";
pub(super) const MEMORY: &str = "shoal:memory";
pub(super) const MEMORY_DONE: &str = "shoal:memory-done";
pub(super) const HEAP: &str = "shoal:heap";

/// Pages of a memory with 32-bit addresses.
const PAGES_MAX: u64 = 1 << 16;

/// Sections by id.
const CUSTOM: u8 = 0;
const TYPE: u8 = 1;
const FUNCTION: u8 = 3;
const MEMORY_SECTION: u8 = 5;
const GLOBAL: u8 = 6;
const EXPORT: u8 = 7;
const CODE: u8 = 10;

/// The order of sections in a module.
const ORDER: [u8; 13] = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];

/// Sections that get more entries, in their order.
const EXTENDED: [u8; 5] = [TYPE, FUNCTION, GLOBAL, EXPORT, CODE];

/// What of a module can change while an instance of it lives.
pub(super) struct Module<'a> {
    binary: &'a [u8],
    sections: Vec<(u8, Range<usize>)>,
    types: u32,
    /// Types of functions that take two numbers and give nothing.
    handler_types: Vec<u32>,
    functions: u32,
    /// The type of each function that is defined here, and the number of the first.
    defined: Vec<u32>,
    functions_imported: u32,
    /// Functions that are exported: name and number.
    exported: Vec<(&'a str, u32)>,
    globals: u32,
    mutable: Vec<(u32, ValType)>,
    memory: Option<MemoryType>,
    memories_imported: u32,
    bodies: Vec<Range<usize>>,
    edits: Vec<(Range<usize>, Edit)>,
}

/// The function that answers requests takes a request and where its answer goes.
const HANDLER_TYPE: (&[wasmparser::ValType], &[wasmparser::ValType]) =
    (&[wasmparser::ValType::I32, wasmparser::ValType::I32], &[]);

/// How a module is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way<'a> {
    /// The guest sees a memory size of its own.
    pub(super) own_size: bool,
    /// The export that answers requests, where nothing else of the component is called from outside: it rewinds
    /// the module first.
    pub(super) at_entry: Option<&'a str>,
}

/// A change of the code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// `memory.size` of the first memory.
    Size,
    /// `memory.grow` of the first memory.
    Grow,
    /// What follows cannot be brought back.
    Taint,
}

/// Indices of what is added to a module.
struct Added<'a> {
    types: u32,
    functions: u32,
    /// A saved value for each mutable global, in their order.
    saved: u32,
    taint: u32,
    /// Pages of the memory as the guest sees them, and their saved count.
    pages: u32,
    /// Two words of the guest's memory, kept while they carry a result.
    words: u32,
    /// Whether a state was saved.
    marked: u32,
    /// Whether the guest sees a size of its own.
    own_size: bool,
    /// The function that answers requests, by name and number, where it is called through one that rewinds first.
    handler: Option<(&'a str, u32)>,
}

impl<'a> Module<'a> {
    /// Looks at a module.
    pub(super) fn read(binary: &'a [u8]) -> Result<Self, NotRewindable> {
        let mut module = Self {
            binary,
            sections: Vec::new(),
            types: 0,
            handler_types: Vec::new(),
            functions: 0,
            defined: Vec::new(),
            functions_imported: 0,
            exported: Vec::new(),
            globals: 0,
            mutable: Vec::new(),
            memory: None,
            memories_imported: 0,
            bodies: Vec::new(),
            edits: Vec::new(),
        };
        for payload in Parser::new(0).parse_all(binary) {
            let payload = payload?;
            if let Some((id, range)) = payload.as_section() {
                module.sections.push((id, range));
            }
            module.section(payload)?;
        }
        Ok(module)
    }

    /// Whether an instance of it has anything to save, or to watch.
    pub(super) fn is_stateful(&self) -> bool {
        self.memory.is_some()
            || !self.mutable.is_empty()
            || self.edits.iter().any(|(_, edit)| *edit == Edit::Taint)
    }

    /// Whether the memory of the component is this module's.
    pub(super) fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether it asks for the size of a memory that is another module's, or grows it.
    pub(super) fn sizes_foreign_memory(&self) -> bool {
        self.memories_imported > 0 && self.edits.iter().any(|(_, edit)| *edit != Edit::Taint)
    }

    /// Whether nothing of it changes but its memory and its globals, so that `export`, if it is a function like
    /// one that answers requests, can bring them back itself when it is called.
    pub(super) fn rewinds_at_entry(&self, export: &str) -> bool {
        let function = self.function(export).and_then(|number| number.checked_sub(self.functions_imported));
        let ty = function.and_then(|function| self.defined.get(function as usize));
        ty.is_some_and(|ty| self.handler_types.contains(ty))
            && self.edits.iter().all(|(_, edit)| *edit != Edit::Taint)
    }

    /// The number of the function that is exported under this name.
    fn function(&self, export: &str) -> Option<u32> {
        self.exported.iter().find(|(name, _)| *name == export).map(|(_, number)| *number)
    }

    fn section(&mut self, payload: Payload<'a>) -> Result<(), NotRewindable> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    let group = group?;
                    let single = group.types().len() == 1;
                    for ty in group.into_types() {
                        let CompositeInnerType::Func(function) = &ty.composite_type.inner else {
                            return Err(NotRewindable("a module of it has garbage-collected types".into()));
                        };
                        // The function that is put in its place has this very type, not one with the same look.
                        let plain = single && ty.is_final && ty.supertype_idx.is_none();
                        if plain && (function.params(), function.results()) == HANDLER_TYPE {
                            self.handler_types.push(self.types);
                        }
                        self.types += 1;
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.import(import?.ty);
                }
            }
            Payload::FunctionSection(section) => {
                self.functions_imported = self.functions;
                self.functions += section.count();
                self.defined = section.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.define_memory(memory?)?;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    self.define_global(global?.ty)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        self.exported.push((export.name, export.index));
                    }
                    if export.name.starts_with("shoal:") {
                        return Err(NotRewindable(
                            "a module of it exports names that begin with `shoal:`".into(),
                        ));
                    }
                }
            }
            Payload::CodeSectionEntry(body) => self.body(&body)?,
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, ty: TypeRef) {
        match ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => self.functions += 1,
            TypeRef::Global(_) => self.globals += 1,
            TypeRef::Memory(_) => self.memories_imported += 1,
            TypeRef::Table(_) | TypeRef::Tag(_) => {}
        }
    }

    fn define_memory(&mut self, memory: MemoryType) -> Result<(), NotRewindable> {
        let plain = !memory.memory64 && !memory.shared && memory.page_size_log2.is_none();
        if !plain || self.memory.is_some() || self.memories_imported > 0 {
            return Err(NotRewindable("a module of it has more than one plain 32-bit memory".into()));
        }
        self.memory = Some(memory);
        Ok(())
    }

    fn define_global(&mut self, ty: wasmparser::GlobalType) -> Result<(), NotRewindable> {
        let index = self.globals;
        self.globals += 1;
        if !ty.mutable {
            return Ok(());
        }
        let value = match ty.content_type {
            wasmparser::ValType::I32 => ValType::I32,
            wasmparser::ValType::I64 => ValType::I64,
            wasmparser::ValType::F32 => ValType::F32,
            wasmparser::ValType::F64 => ValType::F64,
            wasmparser::ValType::V128 => ValType::V128,
            wasmparser::ValType::Ref(_) => {
                return Err(NotRewindable(
                    "a module of it has a mutable global that holds a reference".into(),
                ));
            }
        };
        self.mutable.push((index, value));
        Ok(())
    }

    fn body(&mut self, body: &FunctionBody<'a>) -> Result<(), NotRewindable> {
        self.bodies.push(body.range());
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let start = operators.original_position();
            let edit = match operators.read()? {
                Operator::MemorySize { .. } => Edit::Size,
                Operator::MemoryGrow { .. } => Edit::Grow,
                Operator::TableSet { .. }
                | Operator::TableGrow { .. }
                | Operator::TableFill { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. }
                | Operator::ElemDrop { .. }
                | Operator::DataDrop { .. } => Edit::Taint,
                _ => continue,
            };
            self.edits.push((start..operators.original_position(), edit));
        }
        Ok(())
    }

    /// The module with what is added.
    pub(super) fn rewritten(&self, way: Way<'_>) -> Vec<u8> {
        let saved = self.globals;
        let taint = saved + u32::try_from(self.mutable.len()).unwrap_or(u32::MAX);
        let added = Added {
            types: self.types,
            functions: self.functions,
            saved,
            taint,
            pages: taint + 1,
            words: taint + 3,
            marked: taint + 5,
            own_size: way.own_size && self.memory.is_some(),
            handler: way.at_entry.and_then(|export| Some((export, self.function(export)?))),
        };
        let mut output = self.binary[..8].to_vec();
        let mut due = EXTENDED.into_iter().peekable();
        for (id, range) in &self.sections {
            if *id != CUSTOM {
                while let Some(missing) = due.next_if(|due| rank(*due) < rank(*id)) {
                    section(&mut output, missing, &self.content(missing, &[0], &added));
                }
                due.next_if_eq(id);
            }
            section(&mut output, *id, &self.content(*id, &self.binary[range.clone()], &added));
        }
        for missing in due {
            section(&mut output, missing, &self.content(missing, &[0], &added));
        }
        output
    }

    /// The new content of a section.
    fn content(&self, id: u8, old: &[u8], added: &Added<'_>) -> Vec<u8> {
        match id {
            TYPE => joined(old, &types()),
            FUNCTION => joined(old, &self.function_types(added)),
            MEMORY_SECTION => match self.memory.filter(|_| added.own_size) {
                Some(memory) => roomier(memory),
                None => old.to_vec(),
            },
            GLOBAL => joined(old, &self.added_globals()),
            EXPORT => joined(&self.turned_exports(old, added), &self.exports(added)),
            CODE => joined(&self.edited_code(added), &self.code(added)),
            _ => old.to_vec(),
        }
    }

    fn function_types(&self, added: &Added<'_>) -> FunctionSection {
        let mut functions = FunctionSection::new();
        functions.function(added.types).function(added.types + 1);
        if self.has_memory() {
            functions.function(added.types + 1).function(added.types + 3).function(added.types + 2);
        }
        if added.handler.is_some() {
            functions.function(added.types + 4);
        }
        functions
    }

    fn added_globals(&self) -> GlobalSection {
        let mut globals = GlobalSection::new();
        let variable = |val_type| GlobalType { val_type, mutable: true, shared: false };
        for (_, ty) in &self.mutable {
            let zero = match ty {
                ValType::I64 => ConstExpr::i64_const(0),
                ValType::F32 => ConstExpr::f32_const(0.0.into()),
                ValType::F64 => ConstExpr::f64_const(0.0.into()),
                ValType::V128 => ConstExpr::v128_const(0),
                ValType::I32 | ValType::Ref(_) => ConstExpr::i32_const(0),
            };
            globals.global(variable(*ty), &zero);
        }
        let pages = self.memory.map_or(0, |memory| i32::try_from(memory.initial).unwrap_or(i32::MAX));
        for first in [0, pages, pages, 0, 0, 0] {
            globals.global(variable(ValType::I32), &ConstExpr::i32_const(first));
        }
        globals
    }

    /// The exports, with the function that answers requests behind the one that rewinds first.
    fn turned_exports(&self, old: &[u8], added: &Added<'_>) -> Vec<u8> {
        let Some((handler, _)) = added.handler else { return old.to_vec() };
        let Ok(section) = ExportSectionReader::new(BinaryReader::new(old, 0)) else { return old.to_vec() };
        let mut exports = ExportSection::new();
        for export in section.into_iter().flatten() {
            let index = if export.name == handler { self.entry(added) } else { export.index };
            let kind = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                ExternalKind::Table => ExportKind::Table,
                ExternalKind::Memory => ExportKind::Memory,
                ExternalKind::Global => ExportKind::Global,
                ExternalKind::Tag => ExportKind::Tag,
            };
            exports.export(export.name, kind, index);
        }
        content(&exports)
    }

    /// The number of the function that rewinds and then answers: the last one.
    fn entry(&self, added: &Added<'_>) -> u32 {
        added.functions + if self.has_memory() { 5 } else { 2 }
    }

    fn exports(&self, added: &Added<'_>) -> ExportSection {
        let mut exports = ExportSection::new();
        exports.export(SAVE, ExportKind::Func, added.functions);
        exports.export(REWIND, ExportKind::Func, added.functions + 1);
        if self.has_memory() {
            exports.export(MEMORY, ExportKind::Func, added.functions + 2);
            exports.export(MEMORY_DONE, ExportKind::Func, added.functions + 3);
            exports.export(HEAP, ExportKind::Memory, 0);
        }
        exports
    }

    /// The code of the guest, with its edits.
    fn edited_code(&self, added: &Added<'_>) -> Vec<u8> {
        let mut content = Vec::new();
        u32::try_from(self.bodies.len()).unwrap_or(u32::MAX).encode(&mut content);
        let mut edits = self.edits.iter().peekable();
        let mut edited = Vec::new();
        for body in &self.bodies {
            edited.clear();
            let mut copied = body.start;
            while let Some((at, edit)) = edits.next_if(|(at, _)| at.end <= body.end) {
                edited.extend_from_slice(&self.binary[copied..at.start]);
                let mut code = InstructionSink::new(&mut edited);
                copied = at.start;
                match edit {
                    Edit::Taint => {
                        code.i32_const(1).global_set(added.taint);
                    }
                    Edit::Size if added.own_size => {
                        code.global_get(added.pages);
                        copied = at.end;
                    }
                    Edit::Grow if added.own_size => {
                        code.call(added.functions + 4);
                        copied = at.end;
                    }
                    Edit::Size | Edit::Grow => {}
                }
            }
            edited.extend_from_slice(&self.binary[copied..body.end]);
            edited.len().encode(&mut content);
            content.extend_from_slice(&edited);
        }
        content
    }

    /// The functions that are added.
    fn code(&self, added: &Added<'_>) -> CodeSection {
        let mut code = CodeSection::new();
        code.function(&self.save(added)).function(&self.rewind(added));
        if let Some(memory) = &self.memory {
            code.function(&give_memory(added));
            code.function(&take_back_memory(added));
            code.function(&grow(added, memory));
        }
        if let Some((_, handler)) = added.handler {
            code.function(&rewind_and_answer(added, handler));
        }
        code
    }

    /// `save()`: this is the state to come back to.
    fn save(&self, added: &Added<'_>) -> Function {
        let mut function = Function::new([]);
        let mut code = function.instructions();
        for (saved, (global, _)) in (added.saved..).zip(&self.mutable) {
            code.global_get(*global).global_set(saved);
        }
        match (&self.memory, added.own_size) {
            (Some(_), true) => drop(code.global_get(added.pages).global_set(added.pages + 1)),
            (Some(_), false) => drop(code.memory_size(0).global_set(added.pages + 1)),
            (None, _) => {}
        }
        code.i32_const(0).global_set(added.taint).i32_const(1).global_set(added.marked).end();
        function
    }

    /// `rewind() -> i32`: back to the saved state; 1 when that is not to be had.
    fn rewind(&self, added: &Added<'_>) -> Function {
        let mut function = Function::new([]);
        let mut code = function.instructions();
        for (saved, (global, _)) in (added.saved..).zip(&self.mutable) {
            code.global_get(saved).global_set(*global);
        }
        code.global_get(added.taint);
        match (&self.memory, added.own_size) {
            (Some(_), true) => drop(code.global_get(added.pages + 1).global_set(added.pages)),
            // A memory that is really larger than it was cannot be brought back.
            (Some(_), false) => drop(code.memory_size(0).global_get(added.pages + 1).i32_ne().i32_or()),
            (None, _) => {}
        }
        code.end();
        function
    }
}

/// `handle(i32, i32)`: back to the saved state, if there is one, and then what the guest does.
fn rewind_and_answer(added: &Added<'_>, handler: u32) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.global_get(added.marked).if_(BlockType::Empty).call(added.functions + 1).drop().end();
    code.local_get(0).local_get(1).call(handler).end();
    function
}

/// Types of the functions that are added.
fn types() -> TypeSection {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([], [ValType::I32]);
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function([ValType::I32], []);
    types.ty().function([ValType::I32, ValType::I32], []);
    types
}

/// The memory section with room to grow.
fn roomier(memory: MemoryType) -> Vec<u8> {
    let most = memory.maximum.unwrap_or(PAGES_MAX).min(PAGES_MAX);
    let mut section = MemorySection::new();
    section.memory(wasm_encoder::MemoryType {
        minimum: (memory.initial + HEADROOM_PAGES).min(most).max(memory.initial),
        maximum: memory.maximum,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    content(&section)
}

fn at(offset: u64) -> MemArg {
    MemArg { offset, align: 2, memory_index: 0 }
}

/// `memory() -> i32`: all of the memory as a `list<u8>`, whose address and length lie in its first words.
fn give_memory(added: &Added<'_>) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.i32_const(0).i32_load(at(0)).global_set(added.words);
    code.i32_const(0).i32_load(at(4)).global_set(added.words + 1);
    code.i32_const(0).i32_const(0).i32_store(at(0));
    code.i32_const(0).memory_size(0).i32_const(16).i32_shl().i32_store(at(4));
    code.i32_const(0).end();
    function
}

/// `memory-done(i32)`: puts back the words that `memory` used.
fn take_back_memory(added: &Added<'_>) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.i32_const(0).global_get(added.words).i32_store(at(0));
    code.i32_const(0).global_get(added.words + 1).i32_store(at(4)).end();
    function
}

/// `memory.grow` on the count of pages that the guest sees.
fn grow(added: &Added<'_>, memory: &MemoryType) -> Function {
    const PAGES: u32 = 0;
    const OLD: u32 = 1;
    const NEW: u32 = 2;
    let most = memory.maximum.unwrap_or(PAGES_MAX).min(PAGES_MAX);
    let mut function = Function::new([(1, ValType::I32), (1, ValType::I64)]);
    let mut code = function.instructions();
    code.global_get(added.pages).local_tee(OLD).i64_extend_i32_u();
    code.local_get(PAGES).i64_extend_i32_u().i64_add().local_tee(NEW);
    code.i64_const(i64::try_from(most).unwrap_or(i64::MAX)).i64_gt_u();
    code.if_(BlockType::Empty).i32_const(-1).return_().end();
    code.local_get(NEW).memory_size(0).i64_extend_i32_u().i64_gt_u().if_(BlockType::Empty);
    code.local_get(NEW).i32_wrap_i64().memory_size(0).i32_sub().memory_grow(0).i32_const(-1).i32_eq();
    code.if_(BlockType::Empty).i32_const(-1).return_().end().end();
    code.local_get(NEW).i32_wrap_i64().global_set(added.pages).local_get(OLD).end();
    function
}

fn rank(id: u8) -> usize {
    ORDER.iter().position(|other| *other == id).unwrap_or(ORDER.len())
}

/// Writes a section.
fn section(output: &mut Vec<u8>, id: u8, content: &[u8]) {
    output.push(id);
    content.encode(output);
}

/// The content of a section that the encoder made, without its length.
fn content(section: &impl Encode) -> Vec<u8> {
    let mut whole = Vec::new();
    section.encode(&mut whole);
    let (_, length_bytes) = leb(&whole);
    whole.split_off(length_bytes)
}

/// The entries of a section and those of another behind them.
fn joined(old: &[u8], added: &impl Encode) -> Vec<u8> {
    let added = content(added);
    let ((before, before_bytes), (more, more_bytes)) = (leb(old), leb(&added));
    let mut all = Vec::with_capacity(old.len() + added.len() + 1);
    (before + more).encode(&mut all);
    all.extend_from_slice(&old[before_bytes..]);
    all.extend_from_slice(&added[more_bytes..]);
    all
}

/// A number in LEB128, of bytes that were parsed already, and its length in bytes.
fn leb(bytes: &[u8]) -> (u32, usize) {
    let mut value = 0;
    for (length, byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * length);
        if byte & 0x80 == 0 {
            return (value, length + 1);
        }
    }
    (value, bytes.len().min(5))
}
