//! What the documentation of `baseten auth` promises, statement by statement.

#[cfg(unix)]
use std::path::Path;

use baseten_sandbox::Sandbox;
use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::outcome::Outcome;
use baseten_testing::sandbox::sandbox_with;
use baseten_testing::stored::{current, profile};
#[cfg(unix)]
use baseten_testing::{outcome::Running, program::baseten};

/// A sandbox in which every browser login is allowed at once.
fn sandbox() -> Sandbox {
    sandbox_with(|config| config.auto_approve = Some("ada".into()))
}

/// A home with the profiles `work` (which is current) and `bot`, in the file, and no network.
fn stored() -> Home {
    Home::with_store(
        r#"{
  "version": 1,
  "current": "work",
  "profiles": {
    "bot": { "remote_url": "https://app.baseten.co", "auth_type": "api_key", "api_key": "key" },
    "work": {
      "remote_url": "https://app.staging.baseten.co",
      "auth_type": "oauth",
      "oauth_credential": {
        "access_token": "access", "refresh_token": "refresh", "expiry": "2100-01-01T00:00:00Z"
      }
    }
  }
}
"#,
    )
}

/// Runs a command that has to succeed.
#[track_caller]
fn run(home: &Home, arguments: &[&str]) -> Outcome {
    home.run(arguments).succeeded()
}

/// Logs in as Ada with an API key; this must succeed.
#[track_caller]
fn log_in(home: &Home, sandbox: &Sandbox, profile: &str, more: &[&str]) -> Outcome {
    home.log_in(sandbox.api_key("ada").unwrap(), profile, more).succeeded()
}

/// A command line as the documentation shows it, run by a shell that finds the program.
#[cfg(unix)]
fn shell(home: &Home, line: &str) -> Outcome {
    let directory = Path::new(baseten()).parent().unwrap().display();
    let path = format!("{directory}:/usr/bin:/bin");
    Running::start(home.command_of("/bin/sh", &["-c", line]).env("PATH", path)).end().succeeded()
}

/// The keys of an indented JSON object, in their order.
fn keys(outcome: &Outcome) -> Vec<&str> {
    outcome
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("  \"")?.split_once('"'))
        .map(|(key, _)| key)
        .collect()
}

fn assert_json_has_the_profile(command: &str) {
    let print = |format| {
        let arguments = ["auth", command, "--profile", "bot", "--output", format];
        run(&stored(), &arguments).stdout
    };
    assert_eq!(print("json"), "{\n  \"profile\": \"bot\"\n}\n");
    assert_eq!(print("jsonl"), "{\"profile\":\"bot\"}\n");
    assert_eq!(print("none"), "");
}

// The whole command.

#[test]
fn auth_has_the_four_commands_and_says_what_profiles_are() {
    let help = run(&Home::new(), &["auth", "--help"]).stdout;
    for words in ["login", "logout", "switch", "status", "--profile", "BASETEN_PROFILE", "keyring"]
    {
        assert!(help.contains(words), "{words}: {help}");
    }
}

#[test]
fn every_command_documents_the_common_options() {
    for command in ["login", "logout", "switch", "status"] {
        let help = run(&Home::new(), &["auth", command, "--help"]).stdout;
        for option in ["-q, --jq <", "-o, --output <", "--profile <", "-v, --verbose"] {
            assert!(help.contains(option), "{command} {option}: {help}");
        }
        for value in ["text", "json", "jsonl", "none"] {
            assert!(help.contains(value), "{command} {value}: {help}");
        }
        assert_eq!(run(&Home::new(), &["auth", command, "-h"]).stderr, "");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_keyring_credentials_go_to_the_file_with_a_warning() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = log_in(&home, &sandbox, "bot", &[]);
    assert!(outcome.stderr.contains("warning: "), "{outcome}");
    assert!(outcome.stderr.contains("keyring"), "{outcome}");
    assert!(outcome.stderr.contains(home.auth_json().to_str().unwrap()), "{outcome}");
    assert_eq!(profile(&home, "bot")["api_key"], sandbox.api_key("ada").unwrap());
}

// login

#[test]
fn login_without_a_terminal_names_web_and_with_api_key() {
    let outcome = Home::new().run(&["auth", "login"]);
    assert_eq!(outcome.status, 2, "{outcome}");
    assert!(outcome.stderr.contains("--web"), "{outcome}");
    assert!(outcome.stderr.contains("--with-api-key"), "{outcome}");
}

#[test]
fn login_by_web_names_the_profile_after_the_email_at_the_default_remote() {
    let sandbox = sandbox();
    let home = Home::with_api(sandbox.api_url());
    let outcome = run(&home, WEB_LOGIN);
    assert_eq!(
        outcome.stdout,
        "Logged in as ada@example.com (Analytical Engines) as profile ada@example.com\n"
    );
    assert_eq!(profile(&home, "ada@example.com")["remote_url"], "https://app.baseten.co");
    assert_eq!(profile(&home, "ada@example.com")["auth_type"], "oauth");
    assert_eq!(current(&home), "ada@example.com");
}

#[test]
fn login_by_web_shows_the_page_and_the_code_on_lines_of_their_own() {
    let sandbox = sandbox();
    let outcome = run(&Home::at(&sandbox), WEB_LOGIN);
    let line = |start: &str| outcome.stderr.lines().any(|line| line.trim().starts_with(start));
    let page = format!("http://localhost:{}/device?user_code=", sandbox.port());
    assert!(line(&page), "{outcome}");
    let code = outcome.stderr.split("user_code=").nth(1).unwrap().lines().next().unwrap();
    assert!(line(code), "{outcome}");
}

#[test]
fn login_with_api_key_reads_the_key_from_stdin_and_stores_the_named_profile() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = log_in(&home, &sandbox, "bot", &[]);
    assert_eq!(
        outcome.stdout,
        "Logged in as ada@example.com (Analytical Engines) as profile bot\n"
    );
    assert_eq!(profile(&home, "bot")["auth_type"], "api_key");
    assert_eq!(current(&home), "bot");
}

#[test]
fn login_with_api_key_requires_a_profile_name() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let key = sandbox.api_key("ada").unwrap();
    let outcome = home.run_with_input(&["auth", "login", "--with-api-key"], key);
    assert_eq!(outcome.status, 2, "{outcome}");
    assert!(outcome.stderr.contains("--profile"), "{outcome}");
    assert!(sandbox.requests().is_empty());
}

#[test]
fn login_insecure_storage_stores_in_the_file_without_a_warning() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = log_in(&home, &sandbox, "bot", &["--insecure-storage"]);
    assert_eq!(outcome.stderr, "");
    assert_eq!(profile(&home, "bot")["api_key"], sandbox.api_key("ada").unwrap());
}

#[test]
fn login_no_switch_stores_the_profile_and_leaves_the_current_one() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    log_in(&home, &sandbox, "first", &["--no-switch"]);
    assert_eq!(current(&home), serde_json::Value::Null);
    log_in(&home, &sandbox, "second", &[]);
    log_in(&home, &sandbox, "third", &["--no-switch"]);
    assert_eq!(current(&home), "second");
    assert_eq!(profile(&home, "third")["auth_type"], "api_key");
}

#[test]
fn login_profile_names_a_browser_login() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let arguments = ["auth", "login", "--web", "--insecure-storage", "--profile", "work"];
    let outcome = run(&home, &arguments);
    assert!(outcome.stdout.ends_with(" as profile work\n"), "{outcome}");
    assert_eq!(profile(&home, "work")["auth_type"], "oauth");
}

#[test]
fn login_remote_url_is_kept_with_the_profile() {
    let sandbox = sandbox();
    let home = Home::new();
    let remote = sandbox.remote_url();
    log_in(&home, &sandbox, "bot", &["--remote-url", &remote]);
    assert_eq!(profile(&home, "bot")["remote_url"], remote);
    let status = run(&home, &["auth", "status", "-o", "json"]);
    assert_eq!(status.json()["remote_url"], remote);
}

#[test]
fn login_json_has_these_fields_in_this_order() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = log_in(&home, &sandbox, "bot", &["--output", "json"]);
    assert_eq!(
        outcome.stdout,
        r#"{
  "profile": "bot",
  "user_id": "ada",
  "email": "ada@example.com",
  "name": "Ada",
  "workspace_name": "Analytical Engines"
}
"#
    );
}

#[test]
fn login_shows_the_best_name_there_is_and_empty_strings_in_json() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let log_in = |user: &str, output: &str| {
        let key = sandbox.api_key(user).unwrap();
        home.log_in(key, "bot", &["--output", output]).succeeded()
    };
    let charles = log_in("charles", "text");
    assert_eq!(charles.stdout, "Logged in as Charles (Analytical Engines) as profile bot\n");
    assert_eq!(log_in("nameless", "text").stdout, "Logged in as nameless as profile bot\n");
    assert_eq!(
        log_in("nameless", "jsonl").stdout,
        "{\"profile\":\"bot\",\"user_id\":\"nameless\",\"email\":\"\",\"name\":\"\",\
         \"workspace_name\":\"\"}\n"
    );
}

#[test]
fn login_flags_take_true_and_false() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = home.run(&["auth", "login", "--web=false"]);
    assert_eq!(outcome.status, 2, "{outcome}");
    let more = ["--web=false", "--insecure-storage=true", "--no-switch=true"];
    let outcome = log_in(&home, &sandbox, "bot", &more);
    assert_eq!(outcome.stderr, "");
    assert_eq!(current(&home), serde_json::Value::Null);
    let arguments = ["auth", "login", "--with-api-key=true", "--profile", "b", "--no-switch=false"];
    home.run_with_input(&arguments, sandbox.api_key("ada").unwrap()).succeeded();
    assert_eq!(current(&home), "b");
    let arguments = ["auth", "login", "--web=true", "--insecure-storage", "--with-api-key=false"];
    run(&home, &arguments);
}

#[test]
fn login_options_given_twice_the_last_wins() {
    let sandbox = sandbox();
    let home = Home::new();
    let remote = sandbox.remote_url();
    let more = [
        ["--profile", "second"].as_slice(),
        &["--remote-url", "https://example.com", "--remote-url", &remote],
        &["--no-switch", "--no-switch", "-v", "--verbose", "-o", "json", "--output", "text"],
    ]
    .concat();
    let outcome = log_in(&home, &sandbox, "first", &more);
    assert!(outcome.stdout.ends_with(" as profile second\n"), "{outcome}");
    assert_eq!(profile(&home, "second")["remote_url"], remote);
    assert_eq!(profile(&home, "first"), serde_json::Value::Null);
}

#[test]
fn login_verbose_shows_the_requests_and_no_secret() {
    let sandbox = sandbox();
    let key = sandbox.api_key("ada").unwrap();
    for verbose in ["-v", "--verbose"] {
        let home = Home::at(&sandbox);
        let outcome = log_in(&home, &sandbox, "bot", &[verbose]);
        let url = format!("GET {}/v1/users/me 200 (", sandbox.api_url());
        assert!(outcome.stderr.contains(&url), "{outcome}");
        assert!(!outcome.to_string().contains(&key), "{outcome}");
    }
    let outcome = log_in(&Home::at(&sandbox), &sandbox, "bot", &[]);
    assert!(!outcome.stderr.contains("users/me"), "{outcome}");
}

#[cfg(unix)]
#[test]
fn the_examples_of_login_work_as_they_stand() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = shell(&home, "baseten auth login --web");
    let name = "ada@example.com:localhost";
    assert_eq!(
        outcome.stdout,
        format!("Logged in as ada@example.com (Analytical Engines) as profile {name}\n")
    );
    let home = home.with("API_KEY", sandbox.api_key("ada").unwrap());
    let outcome = shell(&home, "echo $API_KEY | baseten auth login --with-api-key --profile ci");
    assert!(outcome.stdout.ends_with(" as profile ci\n"), "{outcome}");
}

// logout

#[test]
fn logout_removes_the_current_profile_and_its_credential() {
    let home = stored();
    let home = home.with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", "http://localhost:1");
    let outcome = run(&home, &["auth", "logout"]);
    assert_eq!(outcome.stdout, "Logged out work\n");
    assert_eq!(profile(&home, "work"), serde_json::Value::Null);
    assert_eq!(current(&home), serde_json::Value::Null);
    assert!(!home.store().contains("refresh"));
    assert_eq!(profile(&home, "bot")["api_key"], "key");
}

#[test]
fn logout_profile_chooses_another_and_leaves_the_current_one() {
    let home = stored();
    let outcome = run(&home, &["auth", "logout", "--profile", "bot"]);
    assert_eq!(outcome.stdout, "Logged out bot\n");
    assert_eq!(profile(&home, "bot"), serde_json::Value::Null);
    assert_eq!(current(&home), "work");
}

#[test]
fn logout_of_a_browser_login_ends_the_session_at_the_server() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    run(&home, &["auth", "login", "--web", "--insecure-storage", "--profile", "work"]);
    assert_eq!(sandbox.session_count("ada"), 1);
    let outcome = run(&home, &["auth", "logout"]);
    assert!(!outcome.stderr.contains("session of profile"), "{outcome}");
    assert_eq!(sandbox.session_count("ada"), 0);
}

#[test]
fn logout_of_an_api_key_asks_the_server_nothing() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.log_in_with_key(&sandbox, "ada", "bot");
    let before = sandbox.requests().len();
    run(&home, &["auth", "logout"]);
    assert_eq!(sandbox.requests().len(), before);
}

#[test]
fn logout_json_has_the_profile() {
    assert_json_has_the_profile("logout");
}

#[cfg(unix)]
#[test]
fn the_examples_of_logout_work_as_they_stand() {
    let home = stored().with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", "http://localhost:1");
    assert_eq!(shell(&home, "baseten auth logout --profile bot").stdout, "Logged out bot\n");
    assert_eq!(shell(&home, "baseten auth logout").stdout, "Logged out work\n");
}

// switch

#[test]
fn switch_makes_the_profile_current() {
    let home = stored();
    let outcome = run(&home, &["auth", "switch", "--profile", "bot"]);
    assert_eq!(outcome, Outcome::done("Switched to bot\n"));
    assert_eq!(current(&home), "bot");
    assert!(run(&home, &["auth", "status"]).stdout.starts_with("bot\n"));
}

#[test]
fn switch_keeps_everything_else_in_the_store() {
    let home = stored();
    let before = (profile(&home, "work"), profile(&home, "bot"));
    run(&home, &["auth", "switch", "--profile", "bot"]);
    assert_eq!((profile(&home, "work"), profile(&home, "bot")), before);
}

#[test]
fn switch_json_has_the_profile() {
    assert_json_has_the_profile("switch");
}

#[cfg(unix)]
#[test]
fn the_example_of_switch_works_as_it_stands() {
    let outcome = shell(&stored(), "baseten auth switch --profile bot");
    assert_eq!(outcome.stdout, "Switched to bot\n");
}

// status

#[test]
fn status_shows_profile_remote_and_auth_type() {
    let outcome = run(&stored(), &["auth", "status"]);
    let start = "work\n  Remote: https://app.staging.baseten.co\n  Auth type: oauth\n";
    assert!(outcome.stdout.starts_with(start), "{outcome}");
    assert_eq!(outcome.stderr, "");
    let outcome = run(&stored(), &["auth", "status", "--profile", "bot"]);
    let start = "bot\n  Remote: https://app.baseten.co\n  Auth type: api_key\n";
    assert!(outcome.stdout.starts_with(start), "{outcome}");
}

#[test]
fn status_of_the_environment_shows_the_variable_and_the_remote() {
    let home = Home::new().with("BASETEN_API_KEY", "key");
    let outcome = run(&home, &["auth", "status"]);
    assert_eq!(
        outcome.to_string(),
        Outcome::done("Using API key from BASETEN_API_KEY\n  Remote: https://app.baseten.co\n")
            .to_string()
    );
    let outcome = run(&home, &["auth", "status", "-o", "json"]).json();
    assert_eq!(outcome["profile"], "");
    assert_eq!(outcome["auth_type"], "api_key");
}

#[test]
fn status_json_starts_with_profile_remote_url_and_auth_type() {
    let outcome = run(&stored(), &["auth", "status", "--output", "json"]);
    assert_eq!(keys(&outcome)[..3], ["profile", "remote_url", "auth_type"]);
    let json = outcome.json();
    assert_eq!(json["profile"], "work");
    assert_eq!(json["remote_url"], "https://app.staging.baseten.co");
    assert_eq!(json["auth_type"], "oauth");
}

#[cfg(unix)]
#[test]
fn the_example_of_status_works_as_it_stands() {
    assert!(shell(&stored(), "baseten auth status").stdout.starts_with("work\n"));
}

// --output

#[test]
fn output_is_text_by_default() {
    let home = stored();
    let text = run(&home, &["auth", "status", "--output", "text"]);
    assert_eq!(run(&home, &["auth", "status"]), text);
    assert_eq!(run(&home, &["auth", "status", "-o", "text"]), text);
    assert_eq!(run(&home, &["auth", "status", "-otext"]), text);
    assert_eq!(run(&home, &["auth", "status", "--output=text"]), text);
}

#[test]
fn output_json_is_indented_and_jsonl_is_one_line() {
    let home = stored();
    let json = run(&home, &["auth", "status", "-o", "json"]);
    let jsonl = run(&home, &["auth", "status", "-o", "jsonl"]);
    assert!(json.stdout.starts_with("{\n  \"profile\": \"work\",\n  \"remote_url\""), "{json}");
    assert!(json.stdout.ends_with("\n}\n"), "{json}");
    assert!(jsonl.stdout.starts_with("{\"profile\":\"work\",\"remote_url\""), "{jsonl}");
    assert_eq!(jsonl.stdout.matches('\n').count(), 1);
    assert_eq!(json.json(), jsonl.json());
}

#[test]
fn output_none_prints_nothing_and_does_everything() {
    let home = stored();
    let outcome = run(&home, &["auth", "switch", "--profile", "bot", "--output", "none"]);
    assert_eq!(outcome, Outcome::done(""));
    assert_eq!(current(&home), "bot");
    assert_eq!(home.run(&["auth", "status", "-o", "none", "--profile", "gone"]).status, 4);
}

#[test]
fn output_takes_no_other_value() {
    let outcome = stored().run(&["auth", "status", "--output", "yaml"]);
    assert_eq!(outcome.status, 2, "{outcome}");
    for value in ["text", "json", "jsonl", "none"] {
        assert!(outcome.stderr.contains(value), "{outcome}");
    }
}

// --jq

#[test]
fn jq_implies_json() {
    let home = stored();
    let json = run(&home, &["auth", "status", "--output", "json"]);
    assert_eq!(run(&home, &["auth", "status", "--jq", "."]), json);
    assert_eq!(run(&home, &["auth", "status", "--jq", ".", "--output", "json"]), json);
    let jsonl = run(&home, &["auth", "status", "--output", "jsonl"]);
    assert_eq!(run(&home, &["auth", "status", "--jq", ".", "--output", "jsonl"]), jsonl);
}

#[test]
fn jq_with_text_or_none_is_a_usage_error() {
    for format in ["text", "none"] {
        for command in ["status", "logout", "switch"] {
            let home = stored();
            let before = home.store();
            let arguments = ["auth", command, "--profile", "bot", "--jq", ".", "-o", format];
            let outcome = home.run(&arguments);
            assert_eq!(outcome.status, 2, "{outcome}");
            assert_eq!(outcome.stdout, "");
            assert_eq!(home.store(), before);
        }
    }
}

#[test]
fn jq_that_does_not_compile_fails_before_anything_else() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.log_in_with_key(&sandbox, "ada", "bot");
    let (before, requests) = (home.store(), sandbox.requests().len());
    for arguments in [
        &["auth", "logout"][..],
        &["auth", "switch", "--profile", "bot"],
        &["auth", "login", "--web"],
        &["auth", "login", "--with-api-key", "--profile", "other"],
        &["whoami"],
    ] {
        let outcome = home.run(&[arguments, &["--jq", ".["]].concat());
        assert_eq!(outcome.status, 2, "{outcome}");
        assert!(outcome.stderr.contains("the --jq filter is not valid"), "{outcome}");
    }
    assert_eq!(home.store(), before);
    assert_eq!(sandbox.requests().len(), requests);
}

#[test]
fn verbose_tells_which_source_and_which_storage_and_says_nothing_on_stdout() {
    let home = stored();
    let quiet = run(&home, &["auth", "status"]);
    for verbose in ["-v", "--verbose", "--verbose=true"] {
        let loud = run(&home, &["auth", "status", verbose]);
        assert_eq!(loud.stdout, quiet.stdout);
        assert!(loud.stderr.contains("profile work (current profile)"), "{loud}");
        assert!(loud.stderr.contains(home.auth_json().to_str().unwrap()), "{loud}");
    }
    assert_eq!(run(&home, &["auth", "status", "-v=false"]), quiet);
}

#[test]
fn jq_prints_json_for_each_of_its_forms() {
    let home = stored();
    for arguments in
        [["-q", ".auth_type"].as_slice(), &["--jq", ".auth_type"], &["--jq=.auth_type"]]
    {
        let outcome = run(&home, &[&["auth", "status"], arguments].concat());
        assert_eq!(outcome, Outcome::done("\"oauth\"\n"));
    }
}

#[cfg(unix)]
#[test]
fn the_examples_of_jq_work_as_they_stand() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let login = shell(&home, "baseten auth login --web --jq '.profile'");
    assert_eq!(login.stdout, "\"ada@example.com:localhost\"\n");
    assert_eq!(shell(&home, "baseten auth status --jq '.auth_type'").stdout, "\"oauth\"\n");
    let logout = shell(&home, "baseten auth logout --jq '.profile'");
    assert_eq!(logout.stdout, "\"ada@example.com:localhost\"\n");
    let switch = shell(&stored(), "baseten auth switch --profile bot --jq '.profile'");
    assert_eq!(switch.stdout, "\"bot\"\n");
}
