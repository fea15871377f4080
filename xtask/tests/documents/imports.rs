//! Data flows one way: modules of a crate do not import each other in a circle, however long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fs_err as fs;

use super::{root, rust_files};

/// Modules by their paths in the crate, with the paths that each imports.
type Imports = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

#[test]
fn no_module_imports_in_a_circle() {
    for name in ["baseten-auth", "baseten-cli", "baseten-sandbox", "baseten-testing"] {
        let source = root().join("crates").join(name).join("src");
        let mut imports = imports(&source);
        assert!(imports.len() > 5, "{name}");
        // Repeatedly remove modules that import nothing that is left. What remains is in a circle,
        // or leads to one.
        loop {
            let modules: BTreeSet<_> = imports.keys().cloned().collect();
            imports.retain(|_, imported| !imported.is_disjoint(&modules));
            if imports.len() == modules.len() {
                break;
            }
        }
        assert!(imports.is_empty(), "{name}: {imports:#?}");
    }
}

fn imports(source: &Path) -> Imports {
    let files: Vec<_> = rust_files(source).iter().filter_map(|file| module(source, file)).collect();
    let modules: BTreeSet<_> = files.iter().map(|(module, _)| module.clone()).collect();
    let imported = |(module, text): &(Vec<String>, String)| {
        let paths = uses(text).into_iter().filter_map(|path| {
            let path = absolute(module, &path)?;
            let mut lengths = (1..=path.len()).rev();
            lengths.find_map(|length| modules.get(&path[..length]).cloned())
        });
        (module.clone(), paths.filter(|path| path != module).collect())
    };
    files.iter().map(imported).collect()
}

/// A file's module and its text up to its tests; `None` for a crate's root and for tests.
fn module(source: &Path, file: &Path) -> Option<(Vec<String>, String)> {
    let path = file.strip_prefix(source).unwrap().with_extension("");
    let mut module: Vec<String> =
        path.iter().map(|word| word.to_str().unwrap().to_owned()).collect();
    if module.last()? == "mod" {
        module.pop();
    }
    let is_root = module.len() == 1 && ["lib", "main"].contains(&module[0].as_str());
    let is_test = module.last()? == "tests";
    let text = fs::read_to_string(file).unwrap();
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    (!is_root && !is_test).then(|| (module, text[..end].to_owned()))
}

/// The paths of all `use` declarations, one for each name.
fn uses(text: &str) -> Vec<String> {
    let declarations = text.split('\n').enumerate().filter_map(|(number, line)| {
        let start = line.trim_start();
        let is_use = ["use ", "pub use ", "pub(crate) use "].iter().any(|it| start.starts_with(it));
        is_use.then(|| text.lines().skip(number).collect::<Vec<_>>().join(" "))
    });
    declarations
        .flat_map(|rest| {
            let (_, path) = rest.split_once("use ").unwrap();
            expand(&path[..path.find(';').unwrap_or(path.len())].replace(' ', ""))
        })
        .collect()
}

/// `a::{b, c::{d}}` as `a::b` and `a::c::d`.
fn expand(path: &str) -> Vec<String> {
    let Some((start, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for character in inner.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if character == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(character);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.iter().flat_map(|part| expand(&format!("{start}{part}"))).collect()
}

/// The module in the crate that a path leads to; `None` for other crates.
fn absolute(module: &[String], path: &str) -> Option<Vec<String>> {
    let mut words = path.split("::").map(str::to_owned).peekable();
    let mut base = match words.peek()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    while words.next_if(|word| word == "super").is_some() {
        base.pop();
    }
    let _ = words.next_if(|word| word == "crate" || word == "self");
    base.extend(words);
    Some(base)
}
