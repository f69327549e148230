//! Resolves paths to modules.
//!
//! A path is followed up to the first module that is not an ancestor of the module using it; anything that module
//! re-exports counts as its own. Imports and re-exports of ancestors are followed to their source, so that a module
//! cannot hide the use of a sibling behind their common parent.

use super::tree::{ModuleId, Tree};

/// Imports can only be cyclic in code that does not compile.
const MAX_DEPTH: usize = 16;

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A module.
    Module(ModuleId),
    /// An item defined in a module.
    Item(ModuleId),
}

impl Tree {
    /// The module in which the item at `path`, as seen from module `user`, is defined or re-exported; `None` if that is
    /// another crate or a local variable.
    pub fn resolve(&self, user: ModuleId, path: &[String]) -> Option<ModuleId> {
        let resolver = Resolver { tree: self, own: self.ancestry(user) };
        match resolver.path(user, path, MAX_DEPTH)? {
            Meaning::Item(module) => Some(module),
            // A module is not a value: this is a local variable of the same name.
            Meaning::Module(_) if path.len() == 1 => None,
            Meaning::Module(module) => Some(module),
        }
    }
}

/// Resolves paths as seen from one module.
struct Resolver<'a> {
    tree: &'a Tree,
    /// The module and its ancestors.
    own: Vec<ModuleId>,
}

impl Resolver<'_> {
    /// Resolves `path` relative to module `at`.
    fn path(&self, at: ModuleId, path: &[String], depth: usize) -> Option<Meaning> {
        let (first, mut rest) = path.split_first()?;
        let mut meaning = match first.as_str() {
            "crate" => Meaning::Module(0),
            "self" => Meaning::Module(at),
            "super" => Meaning::Module(self.tree.modules[at].parent?),
            // Names not declared here are external crates or in the prelude.
            name => self.name(at, name, depth)?,
        };
        while let (Meaning::Module(module), Some((segment, after))) = (meaning, rest.split_first()) {
            rest = after;
            meaning = match segment.as_str() {
                "super" => Meaning::Module(self.tree.modules[module].parent?),
                "self" => meaning,
                name if self.own.contains(&module) => self.name(module, name, depth).unwrap_or(Meaning::Item(module)),
                name => match self.child(module, name) {
                    Some(child) => Meaning::Module(child),
                    None => Meaning::Item(module),
                },
            };
        }
        Some(meaning)
    }

    /// Resolves `name` in module `at`.
    fn name(&self, at: ModuleId, name: &str, depth: usize) -> Option<Meaning> {
        let depth = depth.checked_sub(1)?;
        if let Some(child) = self.child(at, name) {
            return Some(Meaning::Module(child));
        }
        let module = &self.tree.modules[at];
        if module.items.contains(name) {
            return Some(Meaning::Item(at));
        }
        if let Some((_, path)) = module.imports.iter().find(|(import, _)| import == name) {
            return if self.own.contains(&at) { self.path(at, path, depth) } else { Some(Meaning::Item(at)) };
        }
        module.globs.iter().find_map(|glob| match self.path(at, glob, depth)? {
            Meaning::Module(module) => self.name(module, name, depth),
            Meaning::Item(_) => None,
        })
    }

    fn child(&self, of: ModuleId, name: &str) -> Option<ModuleId> {
        self.tree.modules[of].children.iter().find(|(child, _)| child == name).map(|&(_, id)| id)
    }
}
