//! `auth setup`: coding agents that ask for their token. Everything else in their settings stays
//! exactly as it was.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use baseten_testing::assert_outcome;
use baseten_testing::faults::{mode, set_mode, straced};
use baseten_testing::home::Home;
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::program::baseten;
use baseten_testing::stored::{EXPIRED, LIVES, in_file, store, tokens, with_key};
use serde_json::json;

const REMOTE: &str = "https://app.example.com";
const CLAUDE: &str = ".claude/settings.json";
const CODEX: &str = ".codex/config.toml";

/// A home with two profiles, which finds the program by its name.
fn home() -> Home {
    let home = Home::new();
    let session = in_file(REMOTE, &tokens("the-token", "r", LIVES));
    let staging = with_key("https://app.staging.baseten.co", "the-key");
    home.write_store(&store([("it's ada", session), ("staging", staging)]));
    fs::create_dir(home.path().join("bin")).unwrap();
    symlink(baseten(), home.path().join("bin/baseten")).unwrap();
    home
}

fn write(home: &Home, file: &str, text: &str) -> PathBuf {
    let path = home.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// The outcome without the warning that the program is in a temporary directory, which may be true
/// in tests.
fn setup(home: &Home, arguments: &[&str]) -> Outcome {
    let mut outcome = home.run(&[&["auth", "setup"], arguments].concat());
    let lines = outcome.stderr.split_inclusive('\n');
    outcome.stderr = lines.filter(|line| !line.contains(" may be removed, ")).collect();
    outcome
}

/// The command line of a home's helper.
fn line(home: &Home, profile: &str, remote: &str) -> String {
    let program = home.path().join("bin/baseten").display().to_string();
    format!("{program} auth token --no-input --min-ttl 6m{profile} --expect-remote {remote}")
}

#[test]
fn claude_code_without_settings_is_set_up_and_back() {
    let home = home();
    assert_outcome!(home, setup(&home, &["claude-code", "--model", "m"]));
    let line = line(&home, " --profile \"it's ada\"", REMOTE);
    let text = home.read(CLAUDE);
    assert_eq!(
        text,
        format!(
            "{{\n  \"apiKeyHelper\": {},\n  \"env\": {{\n    \"ANTHROPIC_BASE_URL\": \
             \"https://inference.example.com\"\n  }},\n  \"model\": \"m\"\n}}\n",
            json!(line)
        )
    );
    assert_outcome!(home, setup(&home, &["claude-code", "--model", "m"]));
    assert_eq!(home.read(CLAUDE), text);
    assert_outcome!(home, setup(&home, &["claude-code", "--remove"]));
    assert_eq!(home.read(CLAUDE), "{\n  \"model\": \"m\"\n}\n");
    assert_outcome!(home, setup(&home, &["claude-code", "--remove"]));
}

#[test]
fn codex_without_settings_is_set_up_and_back() {
    let home = home();
    assert_outcome!(home, setup(&home, &["codex"]));
    let program = home.path().join("bin/baseten");
    let text = home.read(CODEX);
    assert_eq!(
        text,
        format!(
            "model_provider = \"baseten\"\n\n[model_providers.baseten]\nname = \"Baseten\"\n\
             base_url = \"https://inference.example.com/v1\"\nwire_api = \"responses\"\n\n\
             [model_providers.baseten.auth]\ncommand = \"{}\"\nargs = [\"auth\", \"token\", \
             \"--no-input\", \"--min-ttl\", \"6m\", \"--profile\", \"it's ada\", \
             \"--expect-remote\", \"https://app.example.com\"]\ntimeout_ms = 100000\n",
            program.display()
        )
    );
    assert_outcome!(home, setup(&home, &["codex", "--model", "m"]));
    assert_eq!(home.read(CODEX), text.replacen('\n', "\nmodel = \"m\"\n", 1));
    assert_outcome!(home, setup(&home, &["codex", "--remove"]));
    assert_eq!(home.read(CODEX), "model = \"m\"\n");
}

#[test]
fn the_helper_prints_the_token_of_its_profile() {
    let home = home();
    setup(&home, &["claude-code", "--model", "m"]).succeeded();
    let settings: serde_json::Value = serde_json::from_str(&home.read(CLAUDE)).unwrap();
    let helper = settings["apiKeyHelper"].as_str().unwrap();
    // In an environment that selects another profile.
    let mut command = home.command_of("/bin/sh", &["-c", helper]);
    let outcome = Outcome::from(command.env("BASETEN_PROFILE", "staging").output().unwrap());
    assert_eq!(outcome, Outcome::done("the-token\n"));
    // The profile is of another remote by now.
    let moved = in_file("https://app.elsewhere.example", &tokens("the-token", "r", LIVES));
    home.write_store(&store([("it's ada", moved)]));
    let outcome = Outcome::from(command.output().unwrap());
    assert_eq!((outcome.status, outcome.stdout.as_str()), (3, ""), "{outcome}");
}

#[test]
fn json_lists_what_was_done() {
    let home = home();
    let set_up = setup(&home, &["codex", "--profile", "staging", "--model", "m", "-o", "json"]);
    let line = line(&home, " --profile staging", "https://app.staging.baseten.co");
    let file = home.path().join(CODEX);
    assert_eq!(
        set_up.succeeded().json(),
        json!({
            "agent": "codex",
            "file": file,
            "changed": true,
            "command": line,
            "base_url": "https://inference.staging.baseten.co/v1",
        })
    );
    let removed = setup(&home, &["codex", "--remove", "-o", "json"]).succeeded();
    assert_eq!(removed.json(), json!({ "agent": "codex", "file": file, "changed": true }));
    let again = setup(&home, &["codex", "--remove", "--jq", ".changed"]).succeeded();
    assert_eq!(again.stdout, "false\n");
}

#[test]
fn all_else_stays_to_the_letter() {
    let long = "\u{feff}# first\r\nz = 1_000 # odd\r\na.b = 2\r\nc = '''x\r\ny'''\r\na . d=3\r\n\r\n\
                # about b\r\n[b]\r\n[a2.c]\r\n  [b.e] # e\r\n[[f]]\r\n[model_providers.azure]\r\n\
                name=\"n\"\r\n# last";
    for (agent, file, before) in [
        ("claude-code", CLAUDE, "\u{feff}{\r\n\t\"z\" : [1,\r\n2],\r\n\t\"a\": 1.0E5\r\n}\r\n\r\n"),
        ("claude-code", CLAUDE, "{\"env\":{\"X\": \"\\u0041\"},\"permissions\":{\"allow\":[ ]}}"),
        ("claude-code", CLAUDE, "\n{ \"b\": 1,\n\n\n   \"a\": {} }"),
        ("codex", CODEX, long),
        ("codex", CODEX, "[b]\ny = 1\n\n\n[a]\n"),
        ("codex", CODEX, "# only a comment\n"),
    ] {
        let home = home();
        let path = write(&home, file, before);
        setup(&home, &[agent]).succeeded();
        let text = home.read(file);
        assert!(text.contains("auth"), "{text}");
        let mut rest = text.as_str();
        let pieces = before.split_inclusive(['\n', ',', '{', '}']);
        for piece in pieces.map(|piece| piece.trim_end_matches(['}', ',', '\r', '\n'])) {
            let at = rest.find(piece).unwrap_or_else(|| panic!("{piece:?} in {text}"));
            rest = &rest[at + piece.len()..];
        }
        assert_eq!(setup(&home, &[agent, "-o", "none"]).status, 0);
        assert_eq!(home.read(file), text, "twice in a row");
        setup(&home, &[agent, "--remove"]).succeeded();
        let line_end = if before.ends_with("last") { "\r\n" } else { "" };
        assert_eq!(fs::read_to_string(path).unwrap(), format!("{before}{line_end}"));
    }
}

#[test]
fn what_is_no_settings_file_is_refused_and_stays() {
    let home = home();
    for (agent, file, text) in [
        ("claude-code", CLAUDE, "{\n  // a comment\n  \"a\": 1\n}\n"),
        ("claude-code", CLAUDE, "{\"a\": 1,}"),
        ("claude-code", CLAUDE, "canary"),
        ("claude-code", CLAUDE, "[]"),
        ("claude-code", CLAUDE, "{\"env\": 1}"),
        ("codex", CODEX, "key = canary\nx = 1\n"),
        ("codex", CODEX, "model_providers = { azure = { name = 'canary' } }\n"),
    ] {
        let path = write(&home, file, text);
        for more in [&[][..], &["--force"], &["--dry-run"]] {
            let outcome = setup(&home, &[&[agent][..], more].concat());
            assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
            assert!(outcome.stderr.contains(path.to_str().unwrap()), "{outcome}");
            assert_eq!(outcome.stderr.lines().count(), 2, "{outcome}");
            assert!(!outcome.stderr.contains("canary"), "{outcome}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    write(&home, CLAUDE, "{\n  // a comment\n}\n");
    assert_outcome!(home, setup(&home, &["claude-code"]));
    assert_outcome!(home, setup(&home, &["codex"]));
    fs::write(home.path().join(CODEX), b"a = '\xff'\n").unwrap();
    assert_eq!(setup(&home, &["codex"]).status, 1);
    fs::remove_file(home.path().join(CODEX)).unwrap();
    fs::create_dir(home.path().join(CODEX)).unwrap();
    assert_eq!(setup(&home, &["codex"]).status, 1);
}

#[test]
fn keys_that_are_taken_are_replaced_only_by_force() {
    let home = home();
    let claude = "{\"apiKeyHelper\": \"echo canary\", \"model\": \"m\"}\n";
    let codex = "model_provider = \"openai\"\n[model_providers.baseten]\nname = 'canary'\n";
    for (agent, file, text, kept) in [
        ("claude-code", CLAUDE, claude, "\"model\": \"m\""),
        ("codex", CODEX, codex, "[model_providers.baseten]\n"),
    ] {
        write(&home, file, text);
        assert_outcome!(home, setup(&home, &[agent]));
        assert_eq!(home.read(file), text);
        // Settings that are not ours are not removed either.
        assert_eq!(setup(&home, &[agent, "--remove"]).status, 0);
        assert_eq!(home.read(file), text);
        let forced = setup(&home, &[agent, "--force"]).succeeded();
        assert!(!forced.to_string().contains("canary"), "{forced}");
        let now = home.read(file);
        assert!(now.contains(kept) && !now.contains("canary"), "{now}");
    }
    write(&home, CLAUDE, claude);
    let outcome = setup(&home, &["claude-code", "--model", "other"]);
    assert!(outcome.stderr.contains("apiKeyHelper, model are already set"), "{outcome}");
}

#[test]
fn an_earlier_helper_is_replaced_without_asking() {
    for (agent, file) in [("claude-code", CLAUDE), ("codex", CODEX)] {
        let home = home();
        setup(&home, &[agent, "--profile", "staging", "--model", "m"]).succeeded();
        let old = format!("{}/bin/baseten", home.path().display());
        let new = format!("{}/old path/baseten", home.path().display());
        // For Claude Code, it is quoted for the shell.
        let new = if agent == "codex" { new } else { format!("'{new}'") };
        let elsewhere = home.read(file).replace(&old, &new);
        assert!(elsewhere.contains("old path"), "{elsewhere}");
        write(&home, file, &elsewhere);
        setup(&home, &[agent]).succeeded();
        let now = home.read(file);
        assert!(now.contains("it's ada") && !now.contains("staging"), "{now}");
        assert!(!now.contains("old path"), "{now}");
        write(&home, file, &elsewhere);
        setup(&home, &[agent, "--remove"]).succeeded();
        assert!(!home.read(file).contains("auth"), "{}", home.read(file));
    }
}

#[test]
fn later_changes_stay() {
    let home = home();
    setup(&home, &["claude-code", "--model", "m"]).succeeded();
    let text = home.read(CLAUDE).replace("https://inference.example.com", "http://localhost:1");
    write(&home, CLAUDE, &text);
    let outcome = setup(&home, &["claude-code", "--remove"]).succeeded();
    assert!(outcome.stderr.contains("env.ANTHROPIC_BASE_URL stays"), "{outcome}");
    assert!(home.read(CLAUDE).contains("http://localhost:1"), "{}", home.read(CLAUDE));
    // Codex would reject a provider that has keys but no name.
    setup(&home, &["codex"]).succeeded();
    let text = home.read(CODEX);
    write(&home, CODEX, &text.replace("wire_api", "request_max_retries = 9\nwire_api"));
    setup(&home, &["codex", "--remove"]).succeeded();
    let left = "\n[model_providers.baseten]\nname = \"Baseten\"\nrequest_max_retries = 9\n";
    assert_eq!(home.read(CODEX), left);
}

#[test]
fn codex_keys_that_contradict_are_named_also_with_force() {
    let home = home();
    for (key, refused) in [
        ("env_key = \"K\"", true),
        ("experimental_bearer_token = \"canary\"", true),
        ("requires_openai_auth = true", true),
        ("requires_openai_auth = false", false),
    ] {
        let text = format!("[model_providers.baseten]\n{key}\n");
        write(&home, CODEX, &text);
        let outcome = setup(&home, &["codex", "--force"]);
        assert_eq!(outcome.status, i32::from(refused), "{outcome}");
        if refused {
            let name = key.split(' ').next().unwrap();
            assert!(outcome.stderr.contains(&format!("model_providers.baseten.{name} ")));
            assert!(!outcome.stderr.contains("canary"), "{outcome}");
            assert_eq!(home.read(CODEX), text);
        }
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let home = home();
    assert_outcome!(home, setup(&home, &["codex", "--dry-run", "--model", "m"]));
    assert!(!home.path().join(".codex").exists());
    setup(&home, &["codex", "--model", "m"]).succeeded();
    let text = home.read(CODEX);
    assert_outcome!(home, setup(&home, &["codex", "--dry-run", "--remove"]));
    assert_eq!(home.read(CODEX), text);
}

#[test]
fn a_file_that_is_left_empty_is_removed_and_a_link_is_not() {
    for (agent, file) in [("claude-code", CLAUDE), ("codex", CODEX)] {
        let home = home();
        for text in [None, Some("")] {
            text.map(|text| write(&home, file, text));
            setup(&home, &[agent]).succeeded();
            setup(&home, &[agent, "--remove"]).succeeded();
            assert!(!home.path().join(file).exists());
        }
        let target = write(&home, "dotfiles/settings", "");
        symlink("../dotfiles/settings", home.path().join(file)).unwrap();
        setup(&home, &[agent]).succeeded();
        assert!(fs::read_to_string(&target).unwrap().contains("baseten"));
        setup(&home, &[agent, "--remove"]).succeeded();
        assert!(home.path().join(file).is_symlink());
        assert!(!fs::read_to_string(&target).unwrap().contains("baseten"));
    }
}

#[test]
fn what_another_program_writes_before_the_file_is_removed_stays() {
    use baseten_testing::program::find;
    for (agent, file, more) in
        [("claude-code", CLAUDE, "{\"theme\": \"dark\"}\n"), ("codex", CODEX, "theme = \"dark\"\n")]
    {
        let home = home();
        setup(&home, &[agent]).succeeded();
        let (trace, path) = (home.path().join("trace"), home.path().join(file));
        let mut remove = home.command_of(find("strace", "strace"), &[]);
        remove
            .args(["-f", "-qq", "-o", trace.to_str().unwrap(), "-P", path.to_str().unwrap()])
            .args(["-e", "trace=renameat2,unlink,unlinkat"])
            .args(["-e", "inject=renameat2,unlink,unlinkat:delay_enter=1000000:when=1"])
            .arg(baseten())
            .args(["auth", "setup", agent, "--remove"]);
        let running = Running::start(&mut remove);
        baseten_testing::wait::until("it is about to remove the file", || {
            fs::read_to_string(&trace).is_ok_and(|it| it.contains('('))
        });
        fs::write(&path, more).unwrap();
        running.end().succeeded();
        assert_eq!(home.read(file), more);
    }
}

#[test]
fn links_and_modes_stay() {
    let home = home();
    let target = write(&home, "dotfiles/settings.json", "{}");
    set_mode(&target, 0o640);
    fs::create_dir(home.path().join(".claude")).unwrap();
    symlink("../dotfiles/link", home.path().join(CLAUDE)).unwrap();
    symlink("settings.json", home.path().join("dotfiles/link")).unwrap();
    setup(&home, &["claude-code"]).succeeded();
    assert!(home.path().join(CLAUDE).is_symlink());
    assert!(home.path().join("dotfiles/link").is_symlink());
    assert!(fs::read_to_string(&target).unwrap().contains("apiKeyHelper"));
    assert_eq!(mode(&target), 0o640);
    let entries = fs::read_dir(home.path().join("dotfiles")).unwrap();
    assert_eq!(entries.count(), 2, "nothing is left beside it");
    // A new file is like any other.
    let script = "umask 027; exec \"$@\"";
    let words = ["-c", script, "sh", baseten(), "auth", "setup", "codex"];
    home.command_of("/bin/sh", &words).status().unwrap();
    assert_eq!(mode(&home.path().join(CODEX)), 0o640);
    assert_eq!(mode(&home.path().join(".codex")), 0o700);
}

#[test]
fn directories_are_those_of_the_agents() {
    let home = home().with("CLAUDE_CONFIG_DIR", "c/d").with("CODEX_HOME", "");
    setup(&home, &["claude-code"]).succeeded();
    assert!(home.read("c/d/settings.json").contains("apiKeyHelper"));
    setup(&home, &["codex"]).succeeded();
    assert!(home.path().join(CODEX).exists(), "an empty variable counts as unset");
    let mut nowhere = Home::new().with("BASETEN_API_KEY", "key");
    nowhere.unset("HOME");
    assert_outcome!(nowhere, setup(&nowhere, &["codex"]));
}

#[test]
fn without_a_stored_profile_the_environment_is_asked_each_time() {
    for (variable, value) in [("BASETEN_API_KEY", "canary"), ("BASETEN_TRUST_RULE", "ci")] {
        let home = home()
            .with(variable, value)
            .with("BASETEN_IDENTITY_TOKEN", "canary")
            .with("BASETEN_REMOTE_URL", REMOTE);
        let outcome = setup(&home, &["claude-code", "-o", "json"]).succeeded();
        assert_eq!(outcome.json()["command"], line(&home, "", REMOTE));
        let written = home.read(CLAUDE);
        assert!(!(outcome.to_string() + &written).contains("canary"), "{written}");
    }
    // A profile can be set up even if its session has ended.
    let ended = in_file(REMOTE, &tokens("t", "r", EXPIRED));
    let home = home();
    home.write_store(&store([("ended", ended)]));
    setup(&home, &["codex"]).succeeded();
    for (arguments, status) in [
        (&["codex", "--profile", "x"][..], 4),
        (&["codex", "--remove", "--force"], 2),
        (&["codex", "--model", ""], 2),
        (&["vim"], 2),
        (&[], 2),
    ] {
        let outcome = setup(&home, arguments);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{outcome}");
    }
}

#[test]
fn variables_that_defeat_the_helper_are_reported() {
    for variable in ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"] {
        let in_environment = home().with(variable, "canary");
        let in_settings = home();
        write(&in_settings, CLAUDE, &json!({ "env": { variable: "canary" } }).to_string());
        for home in [in_environment, in_settings] {
            let outcome = setup(&home, &["claude-code", "--model", "m"]).succeeded();
            let warning = format!("warning: {variable} is set, so Claude Code ignores this setup");
            assert!(outcome.stderr.starts_with(&warning), "{outcome}");
            assert!(!outcome.to_string().contains("canary"), "{outcome}");
            assert_eq!(setup(&home, &["codex", "--model", "m"]).succeeded().stderr, "");
        }
    }
}

#[test]
fn a_program_that_is_not_found_by_its_name_is_named_by_its_path() {
    let home = home();
    let cache = home.path().join(".cache/bin");
    fs::create_dir_all(&cache).unwrap();
    let copy = cache.join("baseten");
    fs::copy(baseten(), &copy).unwrap();
    // The program in PATH is another file.
    let mut command = home.command_of(&copy, &["auth", "setup", "claude-code"]);
    let outcome = Outcome::from(command.output().unwrap()).succeeded();
    let warning = format!("warning: {} may be removed, ", copy.display());
    assert!(outcome.stderr.contains(&warning), "{outcome}");
    assert!(home.read(CLAUDE).contains(copy.to_str().unwrap()));
}

#[test]
fn a_setup_killed_anywhere_leaves_whole_settings() {
    let before = "{\n  \"a\": 1\n}\n";
    let (mut old, mut new) = (0, 0);
    for call in ["write", "fsync", "fchmod", "renameat2", "rename", "unlink"] {
        for number in 1.. {
            let home = home();
            let path = write(&home, CLAUDE, before);
            let directory = path.parent().unwrap();
            let inject = format!("{call}:signal=KILL:when={number}");
            let outcome = straced(&home, &inject, &["auth", "setup", "claude-code"], "");
            let now = fs::read_to_string(&path).unwrap();
            let is_done = now.contains("apiKeyHelper") && now.contains("ANTHROPIC_BASE_URL");
            assert!(now == before || is_done, "{inject}: {now}");
            if outcome.status == 0 {
                break;
            }
            assert_eq!(outcome.status, 137, "{inject}: {outcome}");
            (old, new) = if is_done { (old, new + 1) } else { (old + 1, new) };
            // A later run removes leftovers once they are old.
            for entry in fs::read_dir(directory).unwrap() {
                let file = fs::File::options().append(true).open(entry.unwrap().path()).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            }
            setup(&home, &["claude-code", "--model", "m"]).succeeded();
            assert_eq!(fs::read_dir(directory).unwrap().count(), 1, "{inject}");
        }
    }
    assert!(old >= 3 && new >= 1, "{old} old, {new} new");
}
