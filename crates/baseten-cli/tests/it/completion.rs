//! Completion in each shell, with the tab key pressed.

#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use baseten_testing::home::Home;
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::program::{baseten, find};
use baseten_testing::terminal::Terminal;

const STORE: &str = r#"{"version": 1, "current": "bob", "profiles": {
    "alice@example.com:acme.example": {"remote_url": "https://app.acme.example", "auth_type": "oauth"},
    "bob": {"remote_url": "https://app.baseten.co", "auth_type": "api_key"},
    "my bot": {"remote_url": "https://app.baseten.co", "auth_type": "api_key"}
}}"#;

/// A home where shells find the program, with profiles to complete.
fn shell_home() -> Home {
    let programs = Path::new(baseten()).parent().unwrap().to_str().unwrap();
    let home = Home::new()
        .with("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin"))
        .with("TERM", "dumb")
        .with("LANG", "C.UTF-8");
    home.write_store(STORE);
    home
}

/// Types keys, with tabs among them, into an interactive shell, and runs the completed command.
fn type_and_run(home: &Home, words: &[&str], setup: &str, keys: &str, expected: &[&str]) {
    let terminal = Terminal::new();
    let mut shell = terminal.spawn(home, words);
    terminal.press(&format!("{setup}; echo rea''dy\r"));
    shell.until("the shell is ready", |terminal| terminal.bytes().contains("ready"));
    terminal.press(keys);
    for text in expected {
        shell
            .until(&format!("{text:?} after {keys:?}"), |terminal| terminal.bytes().contains(text));
    }
}

const STATUS_OF_ALICE: &[&str] = &["Remote: https://app.acme.example", "Selected by: --profile"];

#[test]
fn bash_completes_an_email_that_it_takes_apart_itself() {
    let home = shell_home();
    let bash = ["bash", "--norc", "--noprofile", "-i"];
    let setup = "source <(baseten completion bash)";
    for typed in ["--profile al", "--profile alice@e", "--profile=alice@example.com:"] {
        let keys = format!("baseten auth sta\t{typed}\t\r");
        type_and_run(&home, &bash, setup, &keys, STATUS_OF_ALICE);
    }
    type_and_run(
        &home,
        &bash,
        setup,
        "baseten auth status --profile m\t\r",
        &["my bot\r\n  Remote: "],
    );
}

#[test]
fn another_program_is_completed_as_its_shell_does() {
    let home = shell_home().with("BASETEN_API_KEY", "a-key");
    fs::write(home.path().join("contents"), "what is in it\n").unwrap();
    let (bash, zsh) = (&["bash", "--norc", "--noprofile", "-i"][..], &["zsh", "-f", "-i"][..]);
    let plain = "source <(baseten completion bash)";
    let library = format!("source /usr/share/bash-completion/bash_completion; {plain}");
    let zsh_setup = "autoload -U compinit; compinit -u; source <(baseten completion zsh)";
    for (shell, setup) in [(bash, plain), (bash, &library), (zsh, zsh_setup)] {
        let program = "baseten auth exec -- dirnam\t /some/where\r";
        type_and_run(&home, shell, setup, program, &["/some\r\n"]);
        let file = format!("cd '{}'; baseten auth exec -- cat cont\t\r", home.path().display());
        type_and_run(&home, shell, setup, &file, &["what is in it"]);
    }
    let lines = "cd; baseten completion fish | source; complete -C 'baseten auth exec -- cat cont'";
    let mut fish = home.command_of(find("fish", "fish"), &["--no-config", "-c", lines]);
    assert_eq!(Running::start(&mut fish).end(), Outcome::done("contents\n"));
}

#[test]
fn zsh_completes_profiles() {
    let home = shell_home();
    let zsh = ["zsh", "-f", "-i"];
    let setup = "autoload -U compinit; compinit -u; source <(baseten completion zsh)";
    for typed in ["--profile al", "--profile=alice@example.com:"] {
        let keys = format!("baseten auth sta\t{typed}\t\r");
        type_and_run(&home, &zsh, setup, &keys, STATUS_OF_ALICE);
    }
    let keys = "baseten -o json auth status --profile al\t\r";
    type_and_run(&home, &zsh, setup, keys, &["\"remote_url\": \"https://app.acme.example\""]);
    type_and_run(
        &home,
        &zsh,
        setup,
        "baseten auth status --profile m\t\r",
        &["my bot\r\n  Remote: "],
    );
}

#[test]
fn zsh_loads_the_script_from_its_function_path() {
    let home = shell_home();
    let functions = home.path().join("functions");
    std::fs::create_dir(&functions).unwrap();
    let script = home.run(&["completion", "zsh"]).stdout;
    std::fs::write(functions.join("_baseten"), script).unwrap();
    let setup = "fpath=(~/functions $fpath); autoload -U compinit; compinit -u";
    let keys = "baseten auth status --profile al\t\r";
    type_and_run(&home, &["zsh", "-f", "-i"], setup, keys, STATUS_OF_ALICE);
}

#[test]
fn fish_completes_profiles() {
    let home = shell_home();
    let mut lines = String::from("baseten completion fish | source\n");
    for typed in ["auth status --profile ", "auth status --profile=al", "auth sw", "auth list -o j"]
    {
        writeln!(lines, "echo '> {typed}'; complete -C 'baseten {typed}'").unwrap();
    }
    let fish = find("fish", "fish");
    let mut fish = home.command_of(fish, &["--no-config", "-c", &lines]);
    let shown = Running::start(&mut fish).end().succeeded().stdout;
    insta::assert_snapshot!(shown, @r"
    > auth status --profile 
    alice@example.com:acme.example
    bob
    my bot
    > auth status --profile=al
    --profile=alice@example.com:acme.example
    > auth sw
    switch	Choose the current profile
    > auth list -o j
    json	JSON, indented by two
    jsonl	JSON, one record per line
    ");
}

/// There is no PowerShell on the test machine: this only checks the candidates.
#[test]
fn powershell_is_given_candidates_with_descriptions() {
    let home = shell_home().with("BASETEN_COMPLETE", "powershell");
    let outcome = home.run(&["--", "baseten", "auth", "status", "--profile", ""]);
    assert_eq!(outcome.stdout, "alice@example.com:acme.example\nbob\nmy bot\n");
    let script = shell_home().run(&["completion", "powershell"]);
    assert!(script.stdout.contains("Register-ArgumentCompleter -Native -CommandName baseten"));
}

fn ask(home: &Home) -> Outcome {
    home.run(&["--", "baseten", "auth", "status", "--profile", ""])
}

#[test]
fn a_store_that_cannot_be_read_completes_nothing_and_says_nothing() {
    let home = shell_home().with("BASETEN_COMPLETE", "fish");
    let silence = Outcome::done("");
    for store in ["", "{", "nonsense", r#"{"version": 99}"#] {
        home.write_store(store);
        assert_eq!(ask(&home), silence, "{store}");
    }
    std::fs::remove_file(home.auth_json()).unwrap();
    assert_eq!(ask(&home), silence);
}

#[test]
fn a_name_that_would_make_two_candidates_is_not_offered() {
    let home = shell_home().with("BASETEN_COMPLETE", "fish");
    home.write_store(r#"{"version": 1, "profiles": {"a\nb": {}, "c": {}}}"#);
    assert_eq!(ask(&home).stdout, "c\n");
}

/// There are no helpers, buses or certificates here; using one would fail or take time.
#[test]
fn completion_is_quick_and_asks_no_keyring() {
    let home = shell_home()
        .with("BASETEN_COMPLETE", "fish")
        .with("BASETEN_CREDENTIAL_STORE", "helper:none")
        .with("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
        .with("SSL_CERT_FILE", "/nonexistent");
    let start = Instant::now();
    for _ in 0..10 {
        assert!(ask(&home).stdout.contains("bob"));
    }
    // Each takes a few milliseconds; the limit leaves room for a busy machine and a debug build.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
