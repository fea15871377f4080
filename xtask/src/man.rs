//! The man pages, one for each command, from the command line itself. `clap_mangen` shows no values
//! in a synopsis and has none of the sections below OPTIONS.

use std::path::Path;

use baseten_cli::outputs;
use clap::{Arg, Command};
use fs_err as fs;
use roff::{Inline, Roff, bold, italic, roman};

use crate::describe::{argument_name, examples, paragraphs, takes_value, visible};
use crate::process::{Outcome, command as program, output};

/// Writes all pages to a directory.
pub(crate) fn write(directory: &Path) -> Outcome {
    fs::create_dir_all(directory)?;
    for (name, page) in pages(&date()) {
        fs::write(directory.join(name), page)?;
    }
    Ok(())
}

/// The date of the commit, for the pages; empty if there is no repository.
fn date() -> String {
    let date = output(&mut program("git", ["log", "-1", "--format=%cs"]));
    date.unwrap_or_default().trim().to_owned()
}

/// The names of the files, and their contents.
fn pages(date: &str) -> Vec<(String, String)> {
    let root = baseten_cli::command();
    let mut commands = Vec::new();
    collect(&root, &[], &mut commands);
    let names: Vec<String> = commands.iter().map(|(words, _)| words.join("-")).collect();
    let page = |(words, command): &(Vec<&str>, &Command)| {
        let page = Page { words, command, names: &names };
        (format!("{}.1", page.name()), page.render(date))
    };
    commands.iter().map(page).collect()
}

fn collect<'c>(
    command: &'c Command,
    path: &[&'c str],
    found: &mut Vec<(Vec<&'c str>, &'c Command)>,
) {
    let words = [path, &[command.get_name()]].concat();
    found.push((words.clone(), command));
    for subcommand in visible(command) {
        collect(subcommand, &words, found);
    }
}

/// The page of one command.
struct Page<'p> {
    /// The program's name and the command's.
    words: &'p [&'p str],
    command: &'p Command,
    /// The names of all pages.
    names: &'p [String],
}

impl Page<'_> {
    fn name(&self) -> String {
        self.words.join("-")
    }

    /// The sections in the order of man-pages(7).
    fn render(&self, date: &str) -> String {
        let mut page = Roff::new();
        let source = format!("baseten {}", env!("CARGO_PKG_VERSION"));
        let title = [&self.name().to_uppercase(), "1", date, &source, "User Commands"];
        let quoted = title.map(|part| if part.is_empty() { "\"\"" } else { part });
        page.control("TH", quoted);
        self.name_and_synopsis(&mut page);
        self.description(&mut page);
        self.options(&mut page);
        if !matches!(self.words, [_, "version" | "completion"]) {
            environment(&mut page);
        }
        self.examples(&mut page);
        self.see_also(&mut page);
        page.render()
    }

    fn name_and_synopsis(&self, page: &mut Roff) {
        let about = self.command.get_about().map(ToString::to_string).unwrap_or_default();
        let mut letters = about.chars();
        let first = letters.next().into_iter().flat_map(char::to_lowercase);
        let about = first.chain(letters).collect::<String>();
        page.control("SH", ["NAME"]).text([roman(format!("{} - {about}", self.name()))]);
        page.control("SH", ["SYNOPSIS"]).control("SY", [escaped(&self.words.join(" ")).as_str()]);
        for option in options(self.command) {
            let names = names(option).join(r"\fR|\fB");
            let value = takes_value(option).then(|| argument_name(option));
            let words = [Some(escaped(&names)), value];
            page.control("OP", words.iter().flatten().map(String::as_str));
        }
        for argument in self.command.get_positionals() {
            page.text([italic(argument_name(argument))]);
        }
        if self.command.has_subcommands() {
            page.text([italic("COMMAND"), roman(" …")]);
        }
        page.control("YS", []);
    }

    fn description(&self, page: &mut Roff) {
        page.control("SH", ["DESCRIPTION"]);
        for (index, paragraph) in paragraphs(self.command).split("\n\n").enumerate() {
            if index > 0 {
                page.control("PP", []);
            }
            text(page, paragraph);
        }
        if let Some(output) =
            outputs::of(self.words.get(1..).unwrap_or_default().join(" ").as_str())
        {
            page.control("SS", ["Output"]);
            text(page, output.text);
        }
        if self.command.has_subcommands() {
            page.control("SH", ["COMMANDS"]);
        }
        for subcommand in visible(self.command) {
            let name = format!("{}-{}", self.name(), subcommand.get_name());
            let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
            entry(page, vec![bold(name), roman("(1)")], &about);
        }
    }

    fn options(&self, page: &mut Roff) {
        page.control("SH", ["OPTIONS"]);
        for argument in self.command.get_positionals() {
            entry(page, vec![italic(argument_name(argument))], &explained(argument));
        }
        for option in options(self.command) {
            let mut head: Vec<Inline> = Vec::new();
            for name in names(option) {
                head.extend((!head.is_empty()).then(|| roman(", ")));
                head.push(bold(name));
            }
            if takes_value(option) {
                head.extend([roman(" "), italic(argument_name(option))]);
            }
            entry(page, head, &explained(option));
        }
        page.control("SH", ["EXIT STATUS"]);
        for (status, meaning) in outputs::exit_statuses() {
            entry(page, vec![bold(status.to_string())], meaning);
        }
    }

    fn examples(&self, page: &mut Roff) {
        let examples = examples(self.command);
        if !examples.is_empty() {
            page.control("SH", ["EXAMPLES"]);
        }
        for (index, (what, line)) in examples.iter().enumerate() {
            if index > 0 {
                page.control("PP", []);
            }
            text(page, &format!("{what}:"));
            page.control("PP", []).control("RS", ["4"]).control("EX", []);
            page.text([roman(line)]).control("EE", []).control("RE", []);
        }
    }

    fn see_also(&self, page: &mut Roff) {
        page.control("SH", ["SEE ALSO"]);
        let own = self.name();
        let others: Vec<&String> = self.names.iter().filter(|name| **name != own).collect();
        for (index, name) in others.iter().enumerate() {
            let comma = if index + 1 < others.len() { "," } else { "" };
            page.text([bold(name.as_str()), roman(format!("(1){comma}"))]);
        }
    }
}

fn environment(page: &mut Roff) {
    page.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in outputs::VARIABLES {
        entry(page, vec![bold(*name)], meaning);
    }
    page.control("SH", ["FILES"]);
    for (system, file) in outputs::FILES {
        entry(page, vec![italic(*file)], &format!("The profiles, on {system}."));
    }
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|option| !option.is_positional() && !option.is_hide_set())
}

/// `-q` and `--jq`.
fn names(option: &Arg) -> Vec<String> {
    let short = option.get_short().map(|short| format!("-{short}"));
    let long = option.get_long().map(|long| format!("--{long}"));
    short.into_iter().chain(long).collect()
}

/// An argument's help, and its possible values.
fn explained(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values = argument.get_possible_values();
    if !takes_value(argument) || values.is_empty() {
        return help;
    }
    let values: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
    format!("{help}. One of: {}.", values.join(", "))
}

/// A term, and its meaning below it.
fn entry(page: &mut Roff, term: Vec<Inline>, meaning: &str) {
    page.control("TP", []).text(term);
    text(page, meaning);
}

/// A paragraph, in lines that are short enough for the source of a man page.
fn text(page: &mut Roff, paragraph: &str) {
    for line in wrapped(paragraph, 65) {
        page.text([roman(line)]);
    }
}

/// A paragraph in lines of at most this many bytes.
pub(crate) fn wrapped(paragraph: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in paragraph.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.len() + word.len() < width);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => *line = format!("{line} {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Escapes the arguments of a macro, which `roff` passes on unchanged.
fn escaped(text: &str) -> String {
    text.replace('-', r"\-")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn mandoc_finds_no_fault_in_any_page() {
        let directory = tempfile::tempdir().unwrap();
        let pages = pages("2026-11-01");
        for (name, page) in &pages {
            fs::write(directory.path().join(name), page).unwrap();
        }
        let mut mandoc = Command::new("mandoc");
        mandoc.args(["-T", "lint"]).args(pages.iter().map(|(name, _)| name));
        // mandoc has to be installed (Debian package mandoc).
        assert_eq!(output(mandoc.current_dir(directory.path())).unwrap(), "");
    }

    #[test]
    fn a_page_has_its_sections_in_the_order_of_man() {
        let pages = pages("2026-11-01");
        let (_, login) = pages.iter().find(|(name, _)| name == "baseten-auth-login.1").unwrap();
        let sections = login.lines().filter_map(|line| line.strip_prefix(".SH "));
        let order = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "\"EXIT STATUS\"",
            "ENVIRONMENT",
            "FILES",
            "EXAMPLES",
            "\"SEE ALSO\"",
        ];
        assert_eq!(sections.collect::<Vec<_>>(), order);
    }
}
