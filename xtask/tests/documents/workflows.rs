//! What the workflows name exists: files, our commands, packages, images.

use std::path::Path;
use std::process::Command;

use fs_err as fs;

use crate::root;

/// The words of all workflows, each with its file.
fn words() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join(".github/workflows")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let words = files.flat_map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.lines().map(|line| line.split("# ").next().unwrap_or_default().to_owned());
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let words = code.flat_map(|line| {
            let separators = |c: char| c.is_whitespace() || "[]{},\"'`|();".contains(c);
            line.split(separators).map(str::to_owned).collect::<Vec<_>>()
        });
        words.map(|word| (name.clone(), word)).collect::<Vec<_>>()
    });
    words.filter(|(_, word)| !word.is_empty()).collect()
}

/// Whether a path in a workflow is in the repository, and not created by a step, an action, a
/// branch or an image.
fn is_ours(word: &str) -> bool {
    let first = word.trim_start_matches("$/").split('/').next().unwrap_or_default();
    let known = root().join(first).exists() && first != "dist" && first != "target" && first != ".";
    let named = [".md", ".toml", ".sh", ".yml", ".json"];
    !word.contains(['*', '$', '@', ':']) && (known || named.iter().any(|end| word.ends_with(end)))
}

#[test]
fn every_path_in_a_workflow_exists() {
    let mut paths = 0;
    for (file, word) in words() {
        let word = word.trim_start_matches("$/").trim_start_matches("$GITHUB_WORKSPACE/");
        // A directory and everything below it.
        let path = word.trim_end_matches("/**");
        if is_ours(path) && !path.starts_with("dist/") {
            assert!(root().join(path).exists(), "{file}: {word}");
            paths += 1;
        }
    }
    assert!(paths > 8, "{paths}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may")]
fn every_chore_in_a_workflow_exists() {
    let words = words();
    let chores = words.windows(3).filter(|words| words[0].1 == "cargo" && words[1].1 == "xtask");
    let mut count = 0;
    for chore in chores {
        let name = &chore[2].1;
        let help =
            Command::new(env!("CARGO_BIN_EXE_xtask")).args([name, "--help"]).output().unwrap();
        assert!(help.status.success(), "{}: cargo xtask {name}", chore[0].0);
        count += 1;
    }
    assert!(count >= 3, "{count}");
}

#[test]
fn every_package_in_a_workflow_is_one_of_the_workspace() {
    let words = words();
    let packages =
        words.windows(2).filter(|words| ["-p", "--package"].contains(&words[0].1.as_str()));
    // Leaves out the `-p` of mkdir.
    let packages = packages.filter(|words| !words[1].1.contains("dist/"));
    let mut count = 0;
    for package in packages {
        let directory = Path::new("crates").join(&package[1].1);
        assert!(root().join(&directory).exists(), "{}: {}", package[0].0, package[1].1);
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn the_gate_runs_with_the_oldest_rust_that_is_promised() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let oldest = manifest.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    let image = format!("rust:{oldest}-bookworm@");
    assert!(words().iter().any(|(_, word)| word.starts_with(&image)), "no {image}");
}

/// `cargo binstall` downloads the archive by the pattern in the manifest.
#[test]
fn the_pattern_of_binstall_is_the_name_of_an_archive() {
    let manifest = fs::read_to_string(root().join("crates/baseten-cli/Cargo.toml")).unwrap();
    let value = |key: &str| {
        let line = manifest.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.unwrap()
            .trim_end_matches('"')
            .replace("{ version }", "1.2.3")
            .replace("{ target }", "TARGET")
    };
    let name = "baseten-1.2.3-TARGET";
    assert!(
        value("pkg-url")
            .ends_with(&format!("/releases/download/v1.2.3/{name}{{ archive-suffix }}"))
    );
    assert_eq!(value("bin-dir"), format!("{name}/{{ bin }}{{ binary-ext }}"));
    let recipe = fs::read_to_string(root().join("packaging/arch/PKGBUILD.in")).unwrap();
    assert!(
        recipe.contains(
            "/releases/download/v$pkgver/baseten-$pkgver-x86_64-unknown-linux-musl.tar.gz"
        )
    );
}
