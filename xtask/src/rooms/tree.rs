//! Parses a crate into modules, with every path that their code mentions. Test code is ignored.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::visit::{self, Visit};

/// Reads a file of the repository.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Why a crate could not be parsed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A module's file could not be read.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A module's file is not valid Rust.
    #[error("{path}:{line}: {source}", path = .path.display(), line = .source.span().start().line)]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: syn::Error,
    },
}

/// An index into [`Tree::modules`].
pub type ModuleId = usize;

/// All modules of a crate; the first one is the root.
#[derive(Debug)]
pub struct Tree {
    /// The modules, parents before children.
    pub modules: Vec<Module>,
}

/// A module: a file or an inline module.
#[derive(Debug)]
pub struct Module {
    /// Its path from `crate`.
    pub path: String,
    /// The parent module; `None` for the root.
    pub parent: Option<ModuleId>,
    /// The file that contains its code.
    pub file: PathBuf,
    /// Child modules by name.
    pub children: Vec<(String, ModuleId)>,
    /// Names of the items it defines.
    pub items: BTreeSet<String>,
    /// Imported names with the paths they are imported from.
    pub imports: Vec<(String, Vec<String>)>,
    /// Paths of glob imports.
    pub globs: Vec<Vec<String>>,
    /// Every path mentioned in its code.
    pub mentions: Vec<Mention>,
}

/// A path mentioned in a module's code.
#[derive(Debug)]
pub struct Mention {
    /// Its segments, without generic arguments.
    pub path: Vec<String>,
    /// The line in the module's file, from 1.
    pub line: usize,
}

impl Tree {
    /// Reads the crate whose root is the file `root`.
    pub fn read(root: &Path, read: ReadFile<'_>) -> Result<Self, ReadError> {
        let mut tree = Self { modules: Vec::new() };
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        let id = tree.add("crate".to_owned(), None, root.to_owned());
        tree.read_module(id, &folder, read)?;
        Ok(tree)
    }

    /// The modules from the root to `id`, inclusive.
    pub fn ancestry(&self, id: ModuleId) -> Vec<ModuleId> {
        let mut ancestry: Vec<_> =
            std::iter::successors(Some(id), |&id| self.modules.get(id).and_then(|module| module.parent)).collect();
        ancestry.reverse();
        ancestry
    }

    fn add(&mut self, path: String, parent: Option<ModuleId>, file: PathBuf) -> ModuleId {
        self.modules.push(Module {
            path,
            parent,
            file,
            children: Vec::new(),
            items: BTreeSet::new(),
            imports: Vec::new(),
            globs: Vec::new(),
            mentions: Vec::new(),
        });
        self.modules.len() - 1
    }

    /// Reads the file of module `id`; its child modules' files are in `folder`.
    fn read_module(&mut self, id: ModuleId, folder: &Path, read: ReadFile<'_>) -> Result<(), ReadError> {
        let path = self.modules[id].file.clone();
        let text = read(&path).map_err(|source| ReadError::File { path: path.clone(), source })?;
        let file = syn::parse_file(&text).map_err(|source| ReadError::Syntax { path, source })?;
        self.take(id, folder, &file.items, read)
    }

    /// Adds `items` to module `id`.
    fn take(&mut self, id: ModuleId, folder: &Path, items: &[syn::Item], read: ReadFile<'_>) -> Result<(), ReadError> {
        let mut collector = Collector { module: &mut self.modules[id] };
        for item in items {
            collector.define(item);
            collector.visit_item(item);
        }
        for item in items {
            let syn::Item::Mod(item) = item else { continue };
            if for_tests(&item.attrs) {
                continue;
            }
            let name = name(&item.ident);
            let path = format!("{}::{name}", self.modules[id].path);
            let inner = folder.join(&name);
            let file = match item.content {
                Some(_) => self.modules[id].file.clone(),
                None => folder.join(format!("{name}.rs")),
            };
            let child = self.add(path, Some(id), file);
            self.modules[id].children.push((name, child));
            match &item.content {
                Some((_, items)) => self.take(child, &inner, items, read)?,
                None => self.read_module(child, &inner, read)?,
            }
        }
        Ok(())
    }
}

fn name(ident: &syn::Ident) -> String {
    ident.unraw().to_string()
}

/// The 1-based line of an identifier.
fn line_of(ident: &syn::Ident) -> usize {
    ident.span().start().line
}

/// True if an item is compiled in tests only.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Meta>().is_ok_and(|condition| needs_test(&condition))
    })
}

/// True if a `cfg` condition is false outside tests: `test`, or `all(…)` containing such a condition.
fn needs_test(condition: &syn::Meta) -> bool {
    let syn::Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let parser = syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated;
    list.path.is_ident("all") && list.parse_args_with(parser).is_ok_and(|conditions| conditions.iter().any(needs_test))
}

/// Collects the definitions, imports and mentioned paths of one module.
struct Collector<'a> {
    module: &'a mut Module,
}

impl Collector<'_> {
    /// Records the name of a top-level item.
    fn define(&mut self, item: &syn::Item) {
        let ident = match item {
            syn::Item::Const(item) => &item.ident,
            syn::Item::Enum(item) => &item.ident,
            syn::Item::Fn(item) => &item.sig.ident,
            syn::Item::Static(item) => &item.ident,
            syn::Item::Struct(item) => &item.ident,
            syn::Item::Trait(item) => &item.ident,
            syn::Item::TraitAlias(item) => &item.ident,
            syn::Item::Type(item) => &item.ident,
            syn::Item::Union(item) => &item.ident,
            syn::Item::Macro(syn::ItemMacro { ident: Some(ident), .. }) => ident,
            _ => return,
        };
        self.module.items.insert(name(ident));
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        if !path.is_empty() {
            self.module.mentions.push(Mention { path, line });
        }
    }

    /// Records an import; `prefix` is the path before `tree`, and `line` is where it ends.
    fn import(&mut self, prefix: &[String], tree: &syn::UseTree, line: usize) {
        let joined = |ident: &syn::Ident| {
            let mut path = prefix.to_vec();
            // `use cell::{self}` is `use cell`.
            if path.is_empty() || ident != "self" {
                path.push(name(ident));
            }
            path
        };
        let (ident, as_ident) = match tree {
            syn::UseTree::Path(tree) => return self.import(&joined(&tree.ident), &tree.tree, line_of(&tree.ident)),
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(prefix, tree, line));
            }
            syn::UseTree::Glob(_) => {
                self.module.globs.push(prefix.to_vec());
                return self.mention(prefix.to_vec(), line);
            }
            syn::UseTree::Name(tree) => (&tree.ident, None),
            syn::UseTree::Rename(tree) => (&tree.ident, Some(&tree.rename)),
        };
        let path = joined(ident);
        let as_name = as_ident.map(name).or_else(|| path.last().cloned());
        self.module.imports.extend(as_name.map(|as_name| (as_name, path.clone())));
        self.mention(path, line_of(ident));
    }

    /// Records the paths in a macro's arguments, which need not be valid Rust.
    fn tokens(&mut self, tokens: TokenStream) {
        /// What precedes a token.
        #[derive(PartialEq)]
        enum Before {
            /// A path segment.
            Segment,
            /// `:` after a segment; `::` after one.
            Colon,
            Colons,
            /// A dot, or a leading `::`: the next identifier is a field or an external crate.
            Foreign,
            Other,
        }
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut before = Before::Other;
        let mut leading_colons = 0;
        for token in tokens {
            before = match token {
                TokenTree::Ident(ident) => {
                    let segment = name(&ident);
                    match before {
                        Before::Colons => path.push(segment),
                        Before::Foreign => path.clear(),
                        _ => {
                            self.mention(std::mem::replace(&mut path, vec![segment]), line);
                            line = ident.span().start().line;
                        }
                    }
                    if path.is_empty() { Before::Foreign } else { Before::Segment }
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => match before {
                    Before::Segment => Before::Colon,
                    Before::Colon => Before::Colons,
                    Before::Foreign => Before::Foreign,
                    _ => {
                        leading_colons += 1;
                        if leading_colons % 2 == 0 { Before::Foreign } else { Before::Other }
                    }
                },
                TokenTree::Punct(punct) if punct.as_char() == '.' => Before::Foreign,
                TokenTree::Punct(_) | TokenTree::Literal(_) => Before::Other,
                TokenTree::Group(group) => {
                    self.tokens(group.stream());
                    Before::Other
                }
            };
            if before == Before::Other && !path.is_empty() {
                self.mention(std::mem::take(&mut path), line);
            }
        }
        self.mention(path, line);
    }
}

/// Visits a node unless it is compiled in tests only.
macro_rules! outside_tests {
    ($($visit:ident: $node:ty),* $(,)?) => {
        $(fn $visit(&mut self, node: &'ast $node) {
            if !for_tests(&node.attrs) {
                visit::$visit(self, node);
            }
        })*
    };
}

impl<'ast> Visit<'ast> for Collector<'_> {
    outside_tests! {
        visit_item_const: syn::ItemConst,
        visit_item_enum: syn::ItemEnum,
        visit_item_fn: syn::ItemFn,
        visit_item_impl: syn::ItemImpl,
        visit_item_macro: syn::ItemMacro,
        visit_item_static: syn::ItemStatic,
        visit_item_struct: syn::ItemStruct,
        visit_item_trait: syn::ItemTrait,
        visit_item_type: syn::ItemType,
        visit_impl_item_const: syn::ImplItemConst,
        visit_impl_item_fn: syn::ImplItemFn,
        visit_trait_item_fn: syn::TraitItemFn,
        visit_field: syn::Field,
        visit_variant: syn::Variant,
        visit_local: syn::Local,
        visit_stmt_macro: syn::StmtMacro,
        visit_arm: syn::Arm,
        visit_field_value: syn::FieldValue,
        visit_expr_block: syn::ExprBlock,
    }

    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {
        // A separate module.
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {
        // Doc links may point anywhere.
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(in crate::room)` is not a use.
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !for_tests(&item.attrs) && item.leading_colon.is_none() {
            self.import(&[], &item.tree, 0);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter().map(|segment| name(&segment.ident)).collect();
            self.mention(segments, path.segments.first().map_or(0, |first| line_of(&first.ident)));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        visit::visit_macro(self, invocation);
        self.tokens(invocation.tokens.clone());
    }
}
