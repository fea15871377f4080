//! Links in the documents lead somewhere, and the commands in them exist.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use fs_err as fs;

use crate::{root, rust_files};

fn pages() -> Vec<PathBuf> {
    let directories =
        ["", "docs", "docs/decisions", "docs/reference", "counterparts", "packaging", ".github"];
    let entries = directories.iter().flat_map(|name| fs::read_dir(root().join(name)).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(there.exists(), "{}: {target}", page.display());
            assert!(
                anchor.is_empty() || has_heading(&there, anchor),
                "{}: {target}",
                page.display()
            );
            links += 1;
        }
    }
    assert!(links > 40, "{links}");
}

#[test]
fn every_file_on_the_map_exists() {
    let pages = ["ARCHITECTURE.md", "CONTRIBUTING.md"];
    let map = pages.map(|page| fs::read_to_string(root().join(page)).unwrap()).concat();
    let sources = rust_files(&root().join("crates"));
    let words = map.split(|c: char| !(c.is_alphanumeric() || "_./-".contains(c)));
    let files: Vec<&str> =
        words.filter(|word| Path::new(word).extension().is_some_and(|kind| kind == "rs")).collect();
    assert!(files.len() > 60, "{}", files.len());
    for file in files {
        assert!(sources.iter().any(|path| path.ends_with(file)), "{file}");
    }
}

/// Whether a page has the heading for an anchor.
fn has_heading(page: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(page).unwrap();
    text.lines().filter(|line| line.starts_with('#')).any(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        let plain: String = words.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect();
        plain == anchor
    })
}

#[test]
fn every_command_that_they_show_exists() {
    let mut commands = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for line in lines_of_code(&text) {
            for command in line.split(['|', '(', ')', '`']) {
                let command = command.split(" #").next().unwrap_or_default().trim();
                let is_usage = command.contains('…') || command.contains('[');
                if !command.starts_with("baseten ") || is_usage {
                    continue;
                }
                // Some run in the background.
                let command = command.strip_suffix(" &").unwrap_or(command);
                let words = command.split(" < ").next().unwrap_or_default().split_whitespace();
                let parsed = baseten_cli::command().try_get_matches_from(words);
                let kind = parsed.err().map(|error| error.kind());
                // `baseten auth` alone stands for all its commands, and shows its help.
                let is_known = matches!(
                    kind,
                    None | Some(
                        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                            | ErrorKind::DisplayVersion
                    )
                );
                assert!(is_known, "{}: {command}: {kind:?}", page.display());
                commands += 1;
            }
        }
    }
    assert!(commands > 40, "{commands}");
}

/// The code on a page: whole lines in shell blocks, the steps in those of a CI system, and inline
/// code in text.
fn lines_of_code(text: &str) -> Vec<&str> {
    let mut code = Vec::new();
    let mut block = None;
    for line in text.lines() {
        match (block, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => block = Some(language),
            (Some(_), Some(_)) => block = None,
            (Some("sh"), None) => code.push(line),
            (Some("yaml"), None) => {
                let step = line.trim_start().trim_start_matches("- ");
                code.push(step.trim_start_matches("run: "));
            }
            (Some(_), None) => {}
            (None, None) => code.extend(line.split('`').skip(1).step_by(2)),
        }
    }
    code
}

#[test]
fn every_message_that_a_page_explains_exists() {
    let sources = ["crates/baseten-auth/src", "crates/baseten-cli/src"];
    let files = sources.iter().flat_map(|directory| rust_files(&root().join(directory)));
    let sources: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    // Without the breaks in long strings.
    let words: Vec<&str> = sources.split_whitespace().filter(|word| *word != "\\").collect();
    let sources = words.join(" ");

    for page in ["README.md", "docs/ci.md"] {
        let page = fs::read_to_string(root().join(page)).unwrap();
        let (_, rest) = page.split_once("## Troubleshooting").unwrap();
        let (table, _) = rest.split_once("\n## ").unwrap();
        let messages = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let messages: Vec<&str> = messages.map(|(message, _)| message).collect();
        assert!(messages.len() > 5, "{messages:?}");
        for message in messages {
            for part in message.split('…').map(|part| part.trim().trim_end_matches("3 s").trim())
            {
                assert!(sources.contains(part), "{message}: {part}");
            }
        }
    }
}
