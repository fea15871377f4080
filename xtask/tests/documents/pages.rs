//! Links in the documents lead somewhere, and the commands in them exist.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use fs_err as fs;

use crate::root;

fn pages() -> Vec<PathBuf> {
    let directories = ["", "docs", "docs/decisions", "docs/reference", "counterparts", ".github"];
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

/// Whether a page has the heading that an anchor stands for.
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
                let words = command.split(" < ").next().unwrap_or_default().split_whitespace();
                let parsed = baseten_cli::command().try_get_matches_from(words);
                let kind = parsed.err().map(|error| error.kind());
                // `baseten auth` alone, for the whole of it, stops for its help.
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

/// What is shown as code: whole lines in blocks for a shell, and pieces in lines of text.
fn lines_of_code(text: &str) -> Vec<&str> {
    let mut code = Vec::new();
    let mut block = None;
    for line in text.lines() {
        match (block, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => block = Some(language),
            (Some(_), Some(_)) => block = None,
            (Some("sh"), None) => code.push(line),
            (Some(_), None) => {}
            (None, None) => code.extend(line.split('`').skip(1).step_by(2)),
        }
    }
    code
}
