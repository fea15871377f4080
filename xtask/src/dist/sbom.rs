//! The list of a program's dependencies, in `CycloneDX` format.

use std::collections::BTreeMap;

use fs_err as fs;
use serde_json::{Value, json};

use super::{Target, VERSION};
use crate::process::{Outcome, cargo, output, root};

/// A crate, and the names of those it uses.
struct Component {
    name: String,
    version: String,
    license: String,
    uses: Vec<String>,
}

pub(super) fn document(target: Target) -> Outcome<String> {
    // Leaves out what only runs in the compiler.
    let edges = "normal,no-proc-macro";
    let mut tree = cargo(["tree", "--locked", "--package", "baseten-cli", "--edges", edges]);
    tree.args(["--no-dedupe", "--prefix", "depth", "--format", "|{p}|{l}"]);
    let components = components(&output(tree.args(["--target", target.triple()]))?)?;
    let checksums = checksums(&fs::read_to_string(root().join("Cargo.lock"))?);
    let described = |(purl, component): (&String, &Component)| {
        let mut described = json!({
            "type": "library", "bom-ref": purl, "name": component.name, "version": component.version,
            "purl": purl, "licenses": [{ "expression": component.license.replace('/', " OR ") }],
        });
        if let Some(sum) = checksums.get(purl) {
            described["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        described
    };
    let program = purl("baseten-cli", VERSION);
    let libraries: Vec<Value> =
        components.iter().filter(|(purl, _)| **purl != program).map(described).collect();
    let edges = components
        .iter()
        .map(|(purl, component)| json!({ "ref": purl, "dependsOn": component.uses }));
    let document = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": {
            "type": "application", "bom-ref": program, "name": "baseten", "version": VERSION,
            "purl": program, "licenses": [{ "expression": "MIT" }],
            "properties": [{ "name": "target", "value": target.triple() }],
        } },
        "components": libraries,
        "dependencies": edges.collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// Each line of the tree is: depth, `|`, name and version (with a directory if it is ours), `|`,
/// license.
fn components(tree: &str) -> Outcome<BTreeMap<String, Component>> {
    let mut components = BTreeMap::<String, Component>::new();
    let mut above: Vec<String> = Vec::new();
    for line in tree.lines() {
        let mut fields = line.split('|');
        let depth: usize = fields.next().unwrap_or_default().parse()?;
        let mut words = fields.next().unwrap_or_default().split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            return Err(format!("not a crate: {line}").into());
        };
        let version = version.trim_start_matches('v');
        let purl = purl(name, version);
        above.truncate(depth);
        if let Some(user) = above.last().and_then(|user| components.get_mut(user))
            && !user.uses.contains(&purl)
        {
            user.uses.push(purl.clone());
        }
        components.entry(purl.clone()).or_insert_with(|| Component {
            name: name.to_owned(),
            version: version.to_owned(),
            license: fields.next().unwrap_or_default().to_owned(),
            uses: Vec::new(),
        });
        above.push(purl);
    }
    Ok(components)
}

/// The checksums in the lock file, by crate.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.map(|line| line.trim_end_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]");
    let entry = |package: &str| {
        let name = purl(&value(package, "name")?, &value(package, "version")?);
        Some((name, value(package, "checksum")?))
    };
    packages.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_crates_becomes_a_graph() {
        let tree =
            "0|a v1.0.0 (/home/a)|MIT\n1|b v2.0.0|MIT/Apache-2.0\n2|c v3.0.0|MIT\n1|c v3.0.0|MIT\n";
        let components = components(tree).unwrap();
        let uses = |name: &str| components[name].uses.clone();
        assert_eq!(uses("pkg:cargo/a@1.0.0"), ["pkg:cargo/b@2.0.0", "pkg:cargo/c@3.0.0"]);
        assert_eq!(uses("pkg:cargo/b@2.0.0"), ["pkg:cargo/c@3.0.0"]);
        assert_eq!(components["pkg:cargo/b@2.0.0"].license, "MIT/Apache-2.0");
    }

    #[test]
    fn checksums_are_found_by_crate() {
        let lock = "[[package]]\nname = \"b\"\nversion = \"2.0.0\"\nchecksum = \"12ab\"\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found["pkg:cargo/b@2.0.0"], "12ab");
    }
}
