//! `auth setup`: coding agents that ask this program for their token.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use baseten_testing::faults::straced;
use baseten_testing::home::Home;
use baseten_testing::outcome::Outcome;
use baseten_testing::program::baseten;
use baseten_testing::stored::{ends_in, in_file, store, tokens, with_key};
use serde_json::{Value, json};

const REMOTE: &str = "https://app.example.com";
const CLAUDE: &[&str] = &["auth", "setup", "claude-code"];
const CODEX: &[&str] = &["auth", "setup", "codex"];

/// A home with two profiles.
fn home() -> Home {
    let session = in_file(REMOTE, &tokens("canary-token", "canary-refresh", &ends_in(3600)));
    let other = with_key("https://app.other.example", "canary-key");
    Home::with_store(&store([("it's me", session), ("other", other)]))
}

fn settings(home: &Home) -> PathBuf {
    home.path().join(".claude/settings.json")
}

fn config(home: &Home) -> PathBuf {
    home.path().join(".codex/config.toml")
}

/// Writes a file of settings.
fn given(path: &std::path::Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(path: &std::path::Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn set_up(home: &Home, command: &[&str], more: &[&str]) -> Outcome {
    home.run(&[command, more].concat()).succeeded()
}

#[track_caller]
fn refused(outcome: &Outcome, part: &str) {
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
    assert!(outcome.stderr.contains(part), "{part}: {outcome}");
}

/// What Claude Code runs, with the profile and the remote quoted for a shell.
fn helper(profile: &str, remote: &str) -> String {
    format!(
        "{} auth token --no-input --min-ttl 6m --profile {profile} --expect-remote {remote}",
        baseten()
    )
}

#[test]
fn claude_code_runs_our_helper() {
    let home = home();
    let outcome = set_up(&home, CLAUDE, &["--model", "deepseek"]);
    let written: Value = serde_json::from_str(&read(&settings(&home))).unwrap();
    let line = helper("\"it's me\"", REMOTE);
    let expected = json!({"apiKeyHelper": line,
        "env": {"ANTHROPIC_BASE_URL": "https://inference.example.com"}, "model": "deepseek"});
    assert_eq!(written, expected, "{outcome}");
    assert_eq!(fs::metadata(settings(&home)).unwrap().permissions().mode() & 0o777, 0o600);
    // As the agent runs it.
    let ran = home.command_of("/bin/sh", &["-c", &line]).output().unwrap();
    assert_eq!(Outcome::from(ran), Outcome::done("canary-token\n"));
    assert!(!format!("{outcome} {written}").contains("canary"), "{outcome}");
    // Again, and nothing changes.
    let before = read(&settings(&home));
    let again = set_up(&home, CLAUDE, &["--model", "deepseek", "-o", "json"]);
    let record = json!({"agent": "claude-code", "file": settings(&home), "changed": false,
        "command": line, "base_url": "https://inference.example.com"});
    assert_eq!((again.json(), again.stderr.contains('+')), (record, false), "{again}");
    assert_eq!(read(&settings(&home)), before);
}

#[test]
fn codex_runs_our_helper() {
    let home = home();
    set_up(&home, CODEX, &["--model", "m", "--profile", "other"]);
    let program = baseten();
    let expected = format!(
        r#"model_provider = "baseten"
model = "m"

[model_providers.baseten]
name = "Baseten"
base_url = "https://inference.other.example/v1"
wire_api = "responses"

[model_providers.baseten.auth]
command = "{program}"
args = ["auth", "token", "--no-input", "--min-ttl", "6m", "--profile", "other", "--expect-remote", "https://app.other.example"]
timeout_ms = 100000
"#
    );
    assert_eq!(read(&config(&home)), expected);
    let again = set_up(&home, CODEX, &["--model", "m", "--profile", "other", "-o", "json"]);
    assert_eq!(again.json()["changed"], false);
    assert_eq!(read(&config(&home)), expected);
    // Its keys go, and the model stays.
    set_up(&home, CODEX, &["--remove"]);
    assert_eq!(read(&config(&home)), "model = \"m\"\n");
}

#[test]
fn everything_else_stays_to_the_letter() {
    let json = "\u{feff}{\r\n    \"z\": [1,2 , 3],\r\n\t\"env\" : {\r\n\t\t\"A\":\"b\"\r\n\t},\r\n    \
                \"n\": 1e5,\r\n    \"a\": {\"x\" : null}\r\n}\r\n\r\n";
    let home = home();
    given(&settings(&home), json);
    fs::set_permissions(settings(&home), fs::Permissions::from_mode(0o644)).unwrap();
    set_up(&home, CLAUDE, &[]);
    let written = read(&settings(&home));
    for part in [
        "\u{feff}{\r\n    \"z\": [1,2 , 3],\r\n\t\"env\" : {\r\n\t\t\"A\":\"b\",\r\n",
        "\"n\": 1e5,\r\n",
        "\"a\": {\"x\" : null}",
        "}\r\n\r\n",
    ] {
        assert!(written.contains(part), "{part:?}: {written:?}");
    }
    assert!(!written.replace("\r\n", "").contains('\n'), "{written:?}");
    assert_eq!(fs::metadata(settings(&home)).unwrap().permissions().mode() & 0o777, 0o644);
    set_up(&home, CLAUDE, &["--remove"]);
    assert_eq!(read(&settings(&home)), json);

    let toml = "# mine\r\nb = 1 # one\r\na = [ 1,2 ]\r\n\r\n[tools]  # more\r\nx.y = \"z\"\r\n\r\n\
                [model_providers.other]\r\nname = \"Other\"\r\n";
    given(&config(&home), toml);
    set_up(&home, CODEX, &[]);
    let written = read(&config(&home));
    for line in toml.split_inclusive("\r\n") {
        assert!(written.contains(line), "{line:?}: {written:?}");
    }
    assert!(!written.replace("\r\n", "").contains('\n'), "{written:?}");
    set_up(&home, CODEX, &["--remove"]);
    assert_eq!(read(&config(&home)), toml);
}

#[test]
fn an_empty_file_counts_as_none_and_one_that_is_left_empty_is_removed() {
    for text in ["", "{}", "{ }\n"] {
        let home = home();
        given(&settings(&home), text);
        set_up(&home, CLAUDE, &[]);
        set_up(&home, CLAUDE, &["--remove"]);
        assert!(!settings(&home).exists(), "{text:?}");
    }
    let home = home();
    set_up(&home, CODEX, &[]);
    set_up(&home, CODEX, &["--remove"]);
    assert!(!config(&home).exists());
    // Nothing is there to be removed.
    let nothing = set_up(&home, CODEX, &["--remove", "-o", "json"]);
    assert_eq!(nothing.json()["changed"], false);
}

#[test]
fn what_is_not_its_format_is_refused_and_untouched() {
    for text in
        ["{\"a\": 1, // comment\n}", "{\"a\": 1,}", "[]", "{", "nonsense", "\u{0}", "{\"env\": 7}"]
    {
        let home = home();
        given(&settings(&home), text);
        let outcome = home.run(CLAUDE);
        refused(&outcome, settings(&home).to_str().unwrap());
        assert_eq!(read(&settings(&home)), text);
    }
    for text in ["a = \"canary", "model_providers = 3", "[model_providers]\nbaseten = 1\n"] {
        let home = home();
        given(&config(&home), text);
        let outcome = home.run(CODEX);
        refused(&outcome, config(&home).to_str().unwrap());
        assert!(!outcome.stderr.contains("canary"), "{outcome}");
        assert_eq!(read(&config(&home)), text);
    }
}

#[test]
fn a_key_of_somebody_else_is_kept_unless_forced() {
    let home = home();
    for text in [
        r#"{"apiKeyHelper": "echo canary"}"#,
        r#"{"env": {"ANTHROPIC_BASE_URL": "https://elsewhere.example"}}"#,
        r#"{"model": "another"}"#,
    ] {
        given(&settings(&home), text);
        let outcome = home.run(&[CLAUDE, &["--model", "m"]].concat());
        refused(&outcome, "is set to something else");
        assert!(!outcome.stderr.contains("canary"), "{outcome}");
        assert_eq!(read(&settings(&home)), text);
        let removed = set_up(&home, CLAUDE, &["--remove", "-o", "json"]);
        assert_eq!(
            (removed.json()["changed"].clone(), read(&settings(&home))),
            (json!(false), text.into())
        );
        let forced = set_up(&home, CLAUDE, &["--model", "m", "--force"]);
        assert!(!forced.stderr.contains("canary"), "{forced}");
        let written: Value = serde_json::from_str(&read(&settings(&home))).unwrap();
        assert_eq!(written["env"]["ANTHROPIC_BASE_URL"], "https://inference.example.com");
    }
    given(&config(&home), "model_provider = \"openai\" # mine\n");
    refused(&home.run(CODEX), "model_provider");
    set_up(&home, CODEX, &["--force"]);
    assert!(read(&config(&home)).starts_with("model_provider = \"baseten\" # mine\n"));
}

#[test]
fn what_codex_does_not_take_beside_a_helper_is_named_even_if_forced() {
    for line in
        ["env_key = \"K\"", "requires_openai_auth = true", "experimental_bearer_token = \"t\""]
    {
        let home = home();
        let text = format!("[model_providers.baseten]\n{line}\n");
        given(&config(&home), &text);
        refused(&home.run(&[CODEX, &["--force"]].concat()), line.split(' ').next().unwrap());
        assert_eq!(read(&config(&home)), text);
    }
    let home = home();
    given(&config(&home), "[model_providers.baseten]\nrequires_openai_auth = false\n");
    set_up(&home, CODEX, &[]);
}

#[test]
fn an_earlier_helper_of_ours_is_replaced_without_asking() {
    let home = home();
    set_up(&home, CLAUDE, &[]);
    set_up(&home, CODEX, &[]);
    for path in [settings(&home), config(&home)] {
        given(&path, &read(&path).replace(baseten(), "/elsewhere/baseten"));
    }
    set_up(&home, CLAUDE, &["--profile", "other"]);
    set_up(&home, CODEX, &["--profile", "other"]);
    let written: Value = serde_json::from_str(&read(&settings(&home))).unwrap();
    assert_eq!(written["apiKeyHelper"], helper("other", "https://app.other.example"));
    assert_eq!(written["env"]["ANTHROPIC_BASE_URL"], "https://inference.other.example");
    let written = read(&config(&home));
    assert!(written.contains("\"https://inference.other.example/v1\""), "{written}");
    assert!(!written.contains("elsewhere"), "{written}");
}

#[test]
fn a_link_stays_a_link() {
    let home = home();
    let dotfile = home.path().join("dotfiles/claude.json");
    given(&dotfile, "{\n  \"a\": 1\n}");
    fs::create_dir(home.path().join(".claude")).unwrap();
    symlink("../dotfiles/claude.json", settings(&home)).unwrap();
    set_up(&home, CLAUDE, &[]);
    assert!(settings(&home).is_symlink());
    assert!(read(&dotfile).contains("apiKeyHelper"));
    set_up(&home, CLAUDE, &["--remove"]);
    assert_eq!(read(&dotfile), "{\n  \"a\": 1\n}");
}

#[test]
fn a_dry_run_shows_what_would_be_changed() {
    let home = home();
    for (command, file) in [(CLAUDE, settings(&home)), (CODEX, config(&home))] {
        let outcome = set_up(&home, command, &["--dry-run"]);
        assert_eq!(outcome.stdout, format!("Would change {}\n", file.display()));
        assert!(outcome.stderr.contains("+ ") && outcome.stderr.contains("inference.example.com"));
        assert!(!file.exists() && !file.parent().unwrap().exists(), "{outcome}");
        let record = set_up(&home, command, &["--dry-run", "-o", "json"]).json();
        assert_eq!(record["changed"], true);
    }
}

#[test]
fn directories_of_the_variables_come_first() {
    let home = home();
    let (claude, codex) = (home.path().join("c"), home.path().join("d"));
    let home = home
        .with("CLAUDE_CONFIG_DIR", claude.to_str().unwrap())
        .with("CODEX_HOME", codex.to_str().unwrap());
    set_up(&home, CLAUDE, &[]);
    set_up(&home, CODEX, &[]);
    assert!(claude.join("settings.json").exists() && codex.join("config.toml").exists());
}

#[test]
fn a_credential_of_the_environment_needs_no_profile() {
    let home = Home::new().with("BASETEN_API_KEY", "canary").with("BASETEN_REMOTE_URL", REMOTE);
    let outcome = set_up(&home, CLAUDE, &["-o", "json"]);
    let line = outcome.json()["command"].as_str().unwrap().to_owned();
    assert!(!line.contains("--profile") && line.contains("--expect-remote"), "{line}");
    assert!(!format!("{outcome} {}", read(&settings(&home))).contains("canary"), "{outcome}");
    assert_eq!(Home::new().run(CLAUDE).status, 3, "nobody is logged in");
}

#[test]
fn the_program_is_named_as_path_has_it() {
    let home = home();
    fs::create_dir(home.path().join("bin")).unwrap();
    symlink(baseten(), home.path().join("bin/baseten")).unwrap();
    let outcome = set_up(&home, CLAUDE, &["-o", "json"]);
    let own = format!("{}/bin/baseten auth token", home.path().display());
    assert!(outcome.json()["command"].as_str().unwrap().starts_with(&own), "{outcome}");
    // The home of a test is in a temporary directory.
    assert!(outcome.stderr.contains("may be removed"), "{outcome}");
}

#[test]
fn what_would_defeat_the_helper_or_is_missing_is_told() {
    let home = home();
    let outcome = set_up(&home, CLAUDE, &[]);
    assert!(outcome.stderr.contains("no model is set"), "{outcome}");
    assert!(set_up(&home, CODEX, &[]).stderr.contains("--model"), "{outcome}");
    for variable in ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"] {
        let home = Home::with_store(&home.store()).with(variable, "canary");
        let outcome = set_up(&home, CLAUDE, &["--model", "m"]);
        assert!(outcome.stderr.contains(&format!("{variable} is set")), "{outcome}");
        assert!(!outcome.stderr.contains("no model") && !outcome.stderr.contains("canary"));
    }
}

#[test]
fn a_run_that_is_killed_leaves_the_old_settings_or_the_new() {
    let home = home();
    for call in ["openat", "write", "fsync", "renameat2", "rename", "fchmodat", "chmod"] {
        for number in 1..=40 {
            given(&settings(&home), "{\"mine\": 1}");
            let inject = format!("{call}:signal=KILL:when={number}");
            let ended = straced(&home, &inject, CLAUDE, "");
            let written: Value = serde_json::from_str(&read(&settings(&home)))
                .unwrap_or_else(|error| panic!("{inject}: {error}: {}", read(&settings(&home))));
            assert_eq!(written["mine"], 1, "{inject}");
            if ended.status == 0 {
                break;
            }
        }
    }
    set_up(&home, CLAUDE, &[]);
    let left = fs::read_dir(settings(&home).parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "what a killed run had begun is removed");
}
