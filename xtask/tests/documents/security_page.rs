//! Every test that `SECURITY.md` names exists.

use std::path::PathBuf;

use fs_err as fs;

use crate::{root, rust_files};

#[test]
fn every_test_that_it_names_exists() {
    let root = root();
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let sources: Vec<PathBuf> = ["baseten-auth", "baseten-cli"]
        .iter()
        .flat_map(|it| rust_files(&root.join("crates").join(it)))
        .collect();
    let named: Vec<(&str, &str)> =
        page.split('`').filter_map(|text| text.split_once("::")).collect();
    assert!(named.len() > 30, "the page's form has changed");
    for (file, test) in named.into_iter().filter(|name| *name != ("file", "test")) {
        let function = format!("fn {test}(");
        let is_there = sources.iter().any(|path| {
            path.ends_with(file) && fs::read_to_string(path).unwrap().contains(&function)
        });
        assert!(is_there, "{file}::{test}");
    }
    for line in page.lines().filter(|line| line.contains("fuzz target")) {
        let (_, targets) = line.split_once("fuzz target").unwrap();
        for target in targets.split('`').skip(1).step_by(2) {
            let source = root.join(format!("fuzz/fuzz_targets/{target}.rs"));
            assert!(source.exists(), "{target}");
        }
    }
}
