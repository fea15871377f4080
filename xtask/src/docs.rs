//! `cargo xtask docs`: generates the documentation of the command line from the command line.

use std::fmt::Write as _;
use std::path::PathBuf;

use baseten_cli::outputs::{self, Output, Record};
use clap::{Arg, Command};
use fs_err as fs;
use serde_json::Value;

use crate::build::target_directory;
use crate::describe::{argument_name, examples, paragraphs, takes_value, visible};
use crate::process::{Outcome, root};
use crate::{man, picture};

/// Write the reference page, the man pages and the example in the README
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write the man pages [default: `man` in the target directory]
    #[arg(long, value_name = "DIRECTORY")]
    man: Option<PathBuf>,
    /// Draw the picture of a login as well, from a real one in tmux
    #[arg(long)]
    picture: bool,
}

const REFERENCE: &str = "docs/reference/auth.md";
const README: &str = "README.md";
const EXAMPLE: &str = "crates/baseten-auth/examples/request.rs";

pub(crate) fn run(args: &Args) -> Outcome {
    let page = root().join(REFERENCE);
    fs::write(&page, reference())?;
    println!("{}", page.display());
    let readme = root().join(README);
    let text = fs::read_to_string(&readme)?;
    fs::write(&readme, with_example(&text, &fs::read_to_string(root().join(EXAMPLE))?))?;
    println!("{}", readme.display());
    let directory = match &args.man {
        Some(directory) => root().join(directory),
        None => target_directory()?.join("man"),
    };
    man::write(&directory)?;
    println!("{}", directory.display());
    if args.picture { picture::draw() } else { Ok(()) }
}

/// The README with the library's example in it, without the comment at the top of the example.
fn with_example(readme: &str, example: &str) -> String {
    let Some((before, rest)) = readme.split_once("```rust\n") else { return readme.to_owned() };
    let Some((_, after)) = rest.split_once("```\n") else { return readme.to_owned() };
    let code = example.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    let code = code.collect::<Vec<_>>().join("\n");
    format!("{before}```rust\n{code}\n```\n{after}")
}

const INTRODUCTION: &str = "\
<!-- Written by `cargo xtask docs`; changes belong in crates/baseten-cli/src/args and outputs.rs. -->
# baseten auth

> Manage authentication

";

/// The reference page.
fn reference() -> String {
    let command = baseten_cli::command();
    let mut page = INTRODUCTION.to_owned();
    for subcommand in visible(&command) {
        if subcommand.has_subcommands() {
            page += &paragraphs(subcommand);
            for leaf in visible(subcommand) {
                page += &section(leaf, &format!("{} {}", subcommand.get_name(), leaf.get_name()));
            }
            page += "\n# Other commands\n";
        } else {
            page += &section(subcommand, subcommand.get_name());
        }
    }
    page += "\n# Environment variables\n\n| variable | meaning |\n|---|---|\n";
    for (name, meaning) in outputs::VARIABLES {
        let name = name.replace(", ", "`, `");
        let _ = writeln!(page, "| `{name}` | {} |", meaning.replace('<', "&lt;"));
    }
    page += "\n# Where the profiles are\n\n| system | file |\n|---|---|\n";
    for (system, file) in outputs::FILES {
        let _ = writeln!(page, "| {system} | `{}` |", file.replace(", or ", "`, or `"));
    }
    page += "\n# Exit statuses\n\n| status | meaning |\n|---|---|\n";
    for (status, meaning) in outputs::exit_statuses() {
        let _ = writeln!(page, "| {status} | {meaning} |");
    }
    page
}

fn section(command: &Command, words: &str) -> String {
    let mut text = format!("\n## {}\n\n", command.get_name());
    let arguments =
        command.get_positionals().map(|argument| format!(" <{}>", argument_name(argument)));
    let arguments: String = arguments.collect();
    let _ = writeln!(text, "```sh\nbaseten {words}{arguments} [OPTIONS]\n```\n");
    text += &paragraphs(command);
    text += "\n### Options\n\n| option | type | default | description |\n|---|---|---|---|\n";
    let mut options: Vec<&Arg> = command.get_arguments().collect();
    options.sort_by_key(|option| option.get_long());
    for option in options {
        text += &row(option);
    }
    let (filters, plain): (Vec<_>, Vec<_>) =
        examples(command).into_iter().partition(|(_, line)| line.contains("--jq"));
    for (title, examples) in [("Examples", plain), ("Filter output with `--jq`", filters)] {
        if !examples.is_empty() {
            let _ = writeln!(text, "\n### {title}");
        }
        for (what, line) in examples {
            let _ = writeln!(text, "\n{what}\n\n```sh\n{line}\n```");
        }
    }
    if let Some(output) = outputs::of(words) {
        text += &output_notes(output, command);
    }
    if words == "auth serve" {
        text += "\nWhat goes over the socket is [a stable protocol](socket.md).\n";
    }
    text
}

fn row(option: &Arg) -> String {
    let name = match (option.get_short(), option.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}`"),
        (None, Some(long)) => format!("`--{long}`"),
        (_, None) => format!("`<{}>`", argument_name(option)),
    };
    let help =
        option.get_help().map(|help| help.to_string().replace('\n', " ")).unwrap_or_default();
    let (mut help, default) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), format!("`{}`", default.trim_end_matches(']'))),
        None => (help, String::new()),
    };
    let values = option.get_possible_values();
    if takes_value(option) && !values.is_empty() {
        let values: Vec<String> =
            values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        let _ = write!(help, ". One of: {}", values.join(", "));
    }
    let kind = if takes_value(option) { "TEXT" } else { "BOOL" };
    format!("| {name} | {kind} | {default} | {} |\n", help.replace('|', "\\|").replace('<', "&lt;"))
}

fn output_notes(output: &Output, command: &Command) -> String {
    let escaped = output.text.replace('<', "&lt;");
    let mut text = format!("\n### Output\n\n**Text (`--output text`):** {escaped}\n");
    let format = command.get_arguments().find(|argument| argument.get_id() == "output");
    let formats = format.map(Arg::get_possible_values).unwrap_or_default();
    let has_json = formats.iter().any(|value| value.get_name() == "json");
    for record in output.records {
        text += &fields(record, if has_json { "json" } else { "jsonl" });
    }
    text
}

fn fields(record: &Record, format: &str) -> String {
    let schema = (record.schema)();
    let schema = schema.as_value();
    let (name, object) = match schema.get("items") {
        Some(items) => (format!("an array of `{}`", title(schema).replace("Array_of_", "")), items),
        None => (format!("`{}`", title(schema)), schema),
    };
    let mut text = format!(
        "\n**JSON (`--output {format}`):** {name}. {}\n\n| field | type | meaning |\n|---|---|---|\n",
        record.what
    );
    let required = |name: &str| {
        let required = object.get("required").and_then(Value::as_array);
        required.is_some_and(|names| names.iter().any(|required| required == name))
    };
    for (name, field) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let what = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let kind = field.get("type").and_then(Value::as_str).unwrap_or_default();
        let optional = if required(name) { "" } else { ", optional" };
        let what = what.replace('\n', " ");
        let _ = writeln!(text, "| `{name}` | {kind}{optional} | {what}{} |", values(field));
    }
    text
}

fn values(field: &Value) -> String {
    let Some(values) = field.get("enum").and_then(Value::as_array) else { return String::new() };
    let values = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`"));
    format!(" One of: {}.", values.collect::<Vec<_>>().join(", "))
}

fn title(schema: &Value) -> &str {
    schema.get("title").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_page_is_up_to_date() {
        let page = fs::read_to_string(root().join(REFERENCE)).unwrap_or_default();
        assert!(page == reference(), "{REFERENCE} is out of date: run `cargo xtask docs`");
    }

    #[test]
    fn the_readme_shows_the_example_as_it_is() {
        let readme = fs::read_to_string(root().join(README)).unwrap();
        let example = fs::read_to_string(root().join(EXAMPLE)).unwrap();
        assert!(readme.contains("```rust\n"), "no example in {README}");
        let current = with_example(&readme, &example);
        assert!(readme == current, "{README} is out of date: run `cargo xtask docs`");
    }
}
