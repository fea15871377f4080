//! `docs/performance.md`: the tables, and the hand-written part below them.

use std::fmt::Write as _;

use fs_err as fs;

use super::cases::{Case, HELLO, STATIC};
use super::results::{Figures, Results};
use super::targets::{mebibytes_of, targets};
use crate::process::{Outcome, command, output, root};

/// What stands below this line in the page is kept.
const BY_HAND: &str = "<!-- Written by hand from here on; `cargo xtask bench` keeps it. -->";

pub(super) fn page(cases: &[Case], results: &Results) -> Outcome<String> {
    let mut page = introduction(results)?;
    page += &targets_table(results);
    page += "\n## Every command\n\n";
    page += &commands_table(cases, results, |name| !name.ends_with(STATIC));
    if results.figures.keys().any(|name| name.ends_with(STATIC)) {
        page += "\nThe same for the static program, which is the one that is shipped:\n\n";
        page += &commands_table(cases, results, |name| name == HELLO || name.ends_with(STATIC));
    }
    page += "\n## Sizes\n\n| program | MiB |\n|---|---:|\n";
    for (name, size) in &results.sizes {
        let _ = writeln!(page, "| {name} | {:.2} |", mebibytes_of(*size));
    }
    page += "\n## Where the instructions are\n\nBy file, in thousands:\n\n";
    page += &objects_table(results);
    Ok(page)
}

/// Replaces the page, but keeps its hand-written part.
pub(super) fn write(page: &str) -> Outcome {
    let path = root().join("docs/performance.md");
    let old = fs::read_to_string(&path).unwrap_or_default();
    let by_hand = old.split_once(BY_HAND).map_or("\n", |(_, by_hand)| by_hand);
    fs::write(&path, format!("{page}\n{BY_HAND}{by_hand}"))?;
    println!("docs/performance.md is up to date");
    Ok(())
}

fn introduction(results: &Results) -> Outcome<String> {
    let Results { rounds, slow_rounds, .. } = results;
    Ok(format!(
        "# Performance\n\n\
         `cargo xtask bench` wrote this page on {date}, at commit {commit}, on {machine}.\n\n\
         Every command ran once in each of {rounds} rounds ({slow_rounds} for slow ones). Each \
         round had another order, so that all commands ran under the same load. Times are medians, \
         from the start of the process to its end. callgrind counted the instructions, without the \
         kernel's. Memory is the peak resident size. Logins are made at a sandbox on the same \
         machine; the keyring is GNOME's, in a session of its own. All ratios are to the same \
         hello-world: Rust, the same build profile, linked dynamically. A statically linked \
         hello-world has a row of its own.\n\n",
        date = told(&["date", "+%Y-%m-%d"])?,
        commit = told(&["git", "rev-parse", "--short", "HEAD"])?,
        machine = machine()?,
    ))
}

/// Cores, processor, kernel and compiler.
fn machine() -> Outcome<String> {
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor of unknown make", |(_, model)| model);
    let cores = std::thread::available_parallelism()?;
    // Without the build's name, which the machine's owner may have chosen.
    let kernel = told(&["uname", "-sr"])?;
    let kernel = kernel.split('-').next().unwrap_or_default();
    Ok(format!("{cores} cores of {model}, {kernel}, {}", told(&["rustc", "--version"])?))
}

/// The first line that a program prints.
fn told(words: &[&str]) -> Outcome<String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let told = output(&mut command(program, arguments))?;
    Ok(told.lines().next().unwrap_or_default().to_owned())
}

fn targets_table(results: &Results) -> String {
    let mut table = "## Targets\n\n| target | measured | |\n|---|---:|---|\n".to_owned();
    for target in targets(results) {
        let met = if target.met { "met" } else { "**not met**" };
        let _ = writeln!(table, "| {} | {} | {met} |", target.text, target.measured);
    }
    table
}

fn commands_table(cases: &[Case], results: &Results, wanted: fn(&str) -> bool) -> String {
    let mut table =
        "| command | ms | × hello-world | 1,000 instructions | × hello-world | peak MiB |\n\
                     |---|---:|---:|---:|---:|---:|\n"
            .to_owned();
    let Some(hello) = results.figures.get(HELLO) else { return table };
    let rows = cases.iter().map(|case| case.name.as_str()).filter(|name| wanted(name));
    for (name, figures) in rows.filter_map(|name| Some((name, results.figures.get(name)?))) {
        let wall = figures.milliseconds();
        let by_wall = wall / hello.milliseconds();
        let instructions = figures.instructions.map(thousands);
        let by_instructions =
            figures.instructions.zip(hello.instructions).map(|(ours, hello)| ratio(ours, hello));
        let memory = figures.memory.map(|memory| format!("{:.1}", mebibytes_of(memory)));
        let _ = writeln!(
            table,
            "| {name} | {wall:.2} | {by_wall:.2} | {} | {} | {} |",
            instructions.unwrap_or_default(),
            by_instructions.unwrap_or_default(),
            memory.unwrap_or_default(),
        );
    }
    table
}

fn objects_table(results: &Results) -> String {
    let names: Vec<_> = results.objects.keys().collect();
    let mut files: Vec<&String> =
        results.objects.values().flat_map(|counts| counts.keys()).collect();
    files.sort();
    files.dedup();
    let names: Vec<_> = names.into_iter().map(|name| format!(" {name} |")).collect();
    let mut table = format!("| file |{}\n|---|{}\n", names.concat(), "---:|".repeat(names.len()));
    for file in files {
        let counts = results.objects.values().map(|counts| counts.get(file).copied().unwrap_or(0));
        let cells: Vec<_> = counts.map(|count| format!(" {} |", thousands(count))).collect();
        let _ = writeln!(table, "| {file} |{}", cells.concat());
    }
    table
}

fn thousands(count: u64) -> String {
    let digits = count.div_ceil(1000).to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().collect();
    String::from_utf8_lossy(&groups.join(&b',')).into_owned()
}

#[expect(clippy::cast_precision_loss, reason = "no command executes that many")]
fn ratio(ours: u64, hello: u64) -> String {
    format!("{:.2}", ours as f64 / hello as f64)
}

impl Figures {
    pub(super) fn milliseconds(&self) -> f64 {
        self.wall.as_secs_f64() * 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(thousands(812_345), "813");
        assert_eq!(thousands(1_234_567_890), "1,234,568");
    }
}
