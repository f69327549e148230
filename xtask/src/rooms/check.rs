//! Finds uses that break the declared order, and dependency cycles where no order is declared.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::order::{Declaration, Exception, Order};
use super::tree::{ModuleId, Tree};

/// Where each room uses each of its siblings; uses of an imported name are left out if the import itself is listed.
type Uses = BTreeMap<(String, String), Vec<Place>>;

/// A place where a room uses a sibling.
#[derive(Debug)]
struct Place {
    file: String,
    line: usize,
    /// The path as written in the code.
    path: String,
}

/// All violations in a crate, as messages for people. Most start with a file and line.
pub fn findings(tree: &Tree, declaration: &Declaration) -> Vec<String> {
    let file = declaration.file.display();
    let mut uses = uses(tree);
    let mut findings = Vec::new();
    for exception in &declaration.exceptions {
        findings.extend(
            take_exception(exception, declaration, tree, &mut uses).map(|problem| format!("{file}: {problem}")),
        );
    }
    for (path, order) in &declaration.orders {
        let Some(module) = tree.modules.iter().position(|module| module.path == *path) else {
            findings.push(format!("{file}: there is no module `{path}`"));
            continue;
        };
        let broken = broken(tree, module, order, &uses, declaration);
        match (declaration.later.contains(path), broken.is_empty()) {
            (false, _) => findings.extend(broken),
            (true, true) => findings.push(format!("{file}: the order of `{path}` now holds; remove it from `later`")),
            (true, false) => {}
        }
    }
    for path in declaration.later.iter().filter(|path| !declaration.orders.contains_key(*path)) {
        findings.push(format!("{file}: `{path}` is listed in `later` but has no order"));
    }
    for module in 0..tree.modules.len() {
        let path = &tree.modules[module].path;
        if !declaration.orders.contains_key(path) || declaration.later.contains(path) {
            findings.extend(cycles(tree, module, &uses));
        }
    }
    findings
}

/// Collects which rooms use which of their siblings.
///
/// A use between two nested modules counts as a use between the two siblings that contain them. Uses between a module and
/// its ancestors or descendants do not count.
fn uses(tree: &Tree) -> Uses {
    let mut uses = Uses::new();
    for (user, module) in tree.modules.iter().enumerate() {
        let from = tree.ancestry(user);
        let file = module.file.display().to_string();
        for mention in &module.mentions {
            let Some(used) = tree.resolve(user, &mention.path) else { continue };
            let to = tree.ancestry(used);
            let Some(fork) = from.iter().zip(&to).position(|(one, other)| one != other) else { continue };
            let sibling = |ancestry: &[ModuleId]| tree.modules[ancestry[fork]].path.clone();
            let places = uses.entry((sibling(&from), sibling(&to))).or_default();
            let is_imported = module.imports.iter().any(|(import, _)| Some(import) == mention.path.first());
            if !is_imported || !places.iter().any(|place| place.file == file) {
                places.push(Place { file: file.clone(), line: mention.line, path: mention.path.join("::") });
            }
        }
    }
    uses
}

/// Removes the uses that an exception permits. Returns what is wrong with the exception, if anything.
fn take_exception(exception: &Exception, declaration: &Declaration, tree: &Tree, uses: &mut Uses) -> Option<String> {
    let Exception { from, to, reason } = exception;
    if reason.trim().is_empty() {
        return Some(format!("the exception for `{from}` and `{to}` has no reason"));
    }
    let (parent, rooms) = (parent(from), (name(from), name(to)));
    let module = tree.modules.iter().position(|module| module.path == parent);
    let needed = match (declaration.orders.get(parent), module) {
        (Some(order), _) => order.layer(rooms.0) >= order.layer(rooms.1),
        (None, Some(module)) => rooms_in_cycles(tree, module, uses).contains(from),
        (None, None) => false,
    };
    if uses.remove(&(from.clone(), to.clone())).is_none() || !needed {
        return Some(format!("the exception for `{from}` and `{to}` is no longer needed; remove it"));
    }
    None
}

fn parent(path: &str) -> &str {
    path.rsplit_once("::").map_or("", |(parent, _)| parent)
}

fn name(path: &str) -> &str {
    path.rsplit_once("::").map_or(path, |(_, name)| name)
}

/// The violations of the declared order of `module`.
fn broken(tree: &Tree, module: ModuleId, order: &Order, uses: &Uses, declaration: &Declaration) -> Vec<String> {
    let path = &tree.modules[module].path;
    let file = declaration.file.display();
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for room in order.layers.iter().flatten() {
        if !seen.insert(room) {
            findings.push(format!("{file}: the order of `{path}` lists `{room}` twice"));
        }
        if !tree.modules[module].children.iter().any(|(child, _)| child == room) {
            findings.push(format!("{file}: `{path}` has no module `{room}`"));
        }
    }
    for (child, _) in &tree.modules[module].children {
        if order.layer(child).is_none() {
            findings.push(format!("{file}: `{child}` is missing from the order of `{path}`"));
        }
    }
    for ((from, to), places) in uses.iter().filter(|((from, _), _)| parent(from) == path) {
        let (Some(above), Some(below)) = (order.layer(name(from)), order.layer(name(to))) else { continue };
        let relation = match above.cmp(&below) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Equal => "is on the same layer as",
            std::cmp::Ordering::Greater => "is above",
        };
        findings.extend(places.iter().map(|Place { file: at, line, path }| {
            format!("{at}:{line}: `{from}` uses `{to}` (via `{path}`), which {relation} it in {file}")
        }));
    }
    findings
}

/// Dependency cycles among the children of `module`, one for each group of connected cycles.
fn cycles(tree: &Tree, module: ModuleId, uses: &Uses) -> Vec<String> {
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for (_, child) in &tree.modules[module].children {
        let room = &tree.modules[*child].path;
        let cycle = shortest_cycle(room, uses);
        if cycle.is_empty() || cycle.iter().any(|room| told.contains(room)) {
            continue;
        }
        told.extend(cycle.clone());
        let steps = cycle.iter().zip(cycle.iter().skip(1).chain(cycle.first()));
        let steps = steps.filter_map(|(from, to)| {
            let Place { file, line, path } = uses.get(&(from.clone(), to.clone()))?.first()?;
            Some(format!("\n    {file}:{line}: `{from}` uses `{to}` (via `{path}`)"))
        });
        let names: Vec<_> = cycle.iter().map(|room| name(room)).collect();
        let path = &tree.modules[module].path;
        findings.push(format!("`{path}`: dependency cycle: {}{}", names.join(" → "), steps.collect::<String>()));
    }
    findings
}

/// All children of `module` that are part of a cycle.
fn rooms_in_cycles(tree: &Tree, module: ModuleId, uses: &Uses) -> BTreeSet<String> {
    let rooms = tree.modules[module].children.iter().map(|&(_, child)| &tree.modules[child].path);
    rooms.filter(|room| !shortest_cycle(room, uses).is_empty()).cloned().collect()
}

/// The rooms on the shortest cycle through `room`, beginning with `room`; empty if there is none.
fn shortest_cycle(room: &str, uses: &Uses) -> Vec<String> {
    let mut queue = VecDeque::from([vec![room.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = queue.pop_front() {
        let Some(last) = way.last() else { continue };
        for (_, next) in uses.keys().filter(|(from, _)| from == last) {
            if next == room {
                return way;
            }
            if seen.insert(next.clone()) {
                queue.push_back(way.iter().cloned().chain([next.clone()]).collect());
            }
        }
    }
    Vec::new()
}
