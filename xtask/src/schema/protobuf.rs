//! Field numbers of protobuf, read from the attributes of prost's messages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::{Item, Lit, Meta};

use super::types::Type;

/// Messages by `PACKAGE.NAME`, as [`plain`] makes it.
pub(crate) struct Numbers(BTreeMap<String, Vec<Member>>);

/// One field of a message.
struct Member {
    name: String,
    number: u32,
    /// The message that it is, where it is one alone, not a list.
    message: Option<String>,
}

/// Structs of Go within structs: 3 is what `NamedRuleWithOperations` has.
const INLINED_MAX: usize = 3;

/// Reads all messages below a directory.
pub(crate) fn numbers(dir: &Path) -> Result<Numbers> {
    let mut messages = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.ends_with("mod.rs") {
                read_file(&path, &mut messages).with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(Numbers(messages))
}

impl Numbers {
    /// Gives each field of a type its numbers; none to those that have no form in protobuf.
    pub(crate) fn apply(&self, ty: &mut Type) {
        let names: Vec<String> = ty.fields.iter().map(|field| plain(&field.name)).collect();
        let package = ty.short.split_once('.').map_or("", |(package, _)| package).to_owned();
        for field in &mut ty.fields {
            if let Some(numbers) = self.find(&plain(&ty.short), &plain(&field.name), &package, &names, 0) {
                field.numbers = numbers;
            }
        }
    }

    /// A field of a message, or of a message that Go inlines in it: one whose own name is no field of the type.
    fn find(
        &self,
        message: &str,
        name: &str,
        package: &str,
        names: &[String],
        depth: usize,
    ) -> Option<Vec<u32>> {
        let members = self.0.get(message)?;
        if let Some(member) = members.iter().find(|member| member.name == name) {
            return Some(vec![member.number]);
        }
        let inlined = members.iter().filter(|member| !names.contains(&member.name));
        for member in inlined.filter(|_| depth < INLINED_MAX) {
            let Some(inner) = &member.message else { continue };
            let inner = plain(&format!("{package}.{inner}"));
            if let Some(mut numbers) = self.find(&inner, name, package, names, depth + 1) {
                numbers.insert(0, member.number);
                return Some(numbers);
            }
        }
        None
    }
}

fn read_file(path: &Path, messages: &mut BTreeMap<String, Vec<Member>>) -> Result<()> {
    let file = syn::parse_file(&std::fs::read_to_string(path)?)?;
    let package = package(path);
    for item in file.items {
        let Item::Struct(item) = item else { continue };
        let mut members = Vec::new();
        for field in &item.fields {
            let Some(number) = number(field)? else { continue };
            let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
            members.push(Member {
                name: plain(name.trim_start_matches("r#")),
                number,
                message: message(&field.ty),
            });
        }
        messages.insert(plain(&format!("{package}.{}", item.ident)), members);
    }
    Ok(())
}

/// `core/v1` for `…/core/v1/mod.rs`.
fn package(path: &Path) -> String {
    let parts: PathBuf = path.components().rev().skip(1).take(2).collect();
    let words: Vec<String> = parts.iter().rev().map(|part| part.to_string_lossy().into_owned()).collect();
    words.join("/")
}

/// The number in `#[prost(…, tag = "7")]`.
fn number(field: &syn::Field) -> Result<Option<u32>> {
    let mut found = None;
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("prost")) {
        let metas = attribute
            .parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated)?;
        for meta in metas {
            let Meta::NameValue(pair) = meta else { continue };
            if !pair.path.is_ident("tag") {
                continue;
            }
            if let syn::Expr::Lit(syn::ExprLit { lit: Lit::Str(text), .. }) = &pair.value {
                found = Some(text.value().parse().context("a tag that is no number")?);
            }
        }
    }
    Ok(found)
}

/// The last name in `Option<Name>` or `Option<Box<Name>>`.
fn message(ty: &syn::Type) -> Option<String> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let wraps = last.ident == "Option" || last.ident == "Box";
    match &last.arguments {
        syn::PathArguments::AngleBracketed(inner) if wraps => match inner.args.first()? {
            syn::GenericArgument::Type(ty) => message(ty),
            _ => None,
        },
        syn::PathArguments::None => Some(last.ident.to_string()),
        _ => None,
    }
}

/// Names of the two sources differ in case and punctuation only.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric() || "./".contains(*c)).flat_map(char::to_lowercase).collect()
}
