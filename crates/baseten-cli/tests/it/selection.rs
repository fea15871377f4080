//! Which profile a command uses, what it says about that, and which profile names are allowed.

use baseten_testing::home::Home;
use baseten_testing::identity::{claims, jwt};
use baseten_testing::outcome::Outcome;
#[cfg(unix)]
use baseten_testing::outcome::Running;
use baseten_testing::sandbox::sandbox;
use baseten_testing::server::{Server, ok};
use baseten_testing::stored::{REMOTE, current, store, with_key};

/// A home with the API-key profiles `flag`, `variable` and `current`, each with a key of its own.
fn three_profiles() -> Home {
    let profile = |name: &'static str| {
        (name, with_key(&format!("https://{name}.example.com"), &format!("key-of-{name}")))
    };
    Home::with_store(&store(["current", "flag", "variable"].map(profile)))
}

/// Every combination of selections, and the result.
const PRECEDENCE: &[(bool, bool, bool, &str)] = &[
    // --profile, BASETEN_API_KEY, BASETEN_PROFILE
    (false, false, false, "current"),
    (false, false, true, "variable"),
    (false, true, false, "environment"),
    (false, true, true, "environment"),
    (true, false, false, "flag"),
    (true, false, true, "flag"),
    (true, true, false, "flag"),
    (true, true, true, "flag"),
];

fn selecting(key: bool, variable: bool) -> Home {
    let mut home = three_profiles();
    if key {
        home.set("BASETEN_API_KEY", "key-of-environment");
    }
    if variable {
        home.set("BASETEN_PROFILE", "variable");
    }
    home
}

fn with_flag<'a>(flag: bool, arguments: &[&'a str]) -> Vec<&'a str> {
    let option: &[&str] = if flag { &["--profile", "flag"] } else { &[] };
    [arguments, option].concat()
}

#[test]
fn status_and_token_take_flag_key_variable_current_in_this_order() {
    for &(flag, key, variable, selected) in PRECEDENCE {
        let home = selecting(key, variable);
        let token = home.run(&with_flag(flag, &["auth", "token"]));
        assert_eq!(token, Outcome::done(&format!("key-of-{selected}\n")));
        let json = home.run(&with_flag(flag, &["auth", "status", "-o", "json"])).json();
        let (profile, by) = match selected {
            "environment" => ("", "BASETEN_API_KEY"),
            "flag" => ("flag", "--profile"),
            "variable" => ("variable", "BASETEN_PROFILE"),
            _ => ("current", "current profile"),
        };
        assert_eq!(json["profile"], profile);
        assert_eq!(json["selected_by"], by);
        let token = home.run(&with_flag(flag, &["auth", "token", "-o", "json"])).json();
        assert_eq!(token["profile"], profile);
    }
}

#[test]
fn whoami_takes_flag_key_variable_current_in_this_order() {
    let sandbox = sandbox();
    let users = [("flag", "ada"), ("environment", "grace"), ("variable", "charles")];
    for &(flag, key, variable, selected) in PRECEDENCE {
        let mut home = Home::at(&sandbox);
        for profile in ["flag", "variable", "current"] {
            let user = users.iter().find(|(name, _)| *name == profile).map_or("nameless", |u| u.1);
            home.log_in_with_key(&sandbox, user, profile);
        }
        if key {
            home.set("BASETEN_API_KEY", sandbox.api_key("grace").unwrap());
        }
        if variable {
            home.set("BASETEN_PROFILE", "variable");
        }
        let user = users.iter().find(|(name, _)| *name == selected).map_or("nameless", |u| u.1);
        let who = home.run(&with_flag(flag, &["whoami", "-o", "json"])).json();
        assert_eq!(who["user_id"], user);
    }
}

#[test]
fn logout_takes_flag_variable_current_and_never_the_key() {
    for &(flag, key, variable, _) in PRECEDENCE {
        let home = selecting(key, variable);
        let outcome = home.run(&with_flag(flag, &["auth", "logout"]));
        let removed = match (flag, variable) {
            (true, _) => "flag",
            (false, true) => "variable",
            (false, false) => "current",
        };
        assert_eq!(outcome.stdout, format!("Logged out {removed}\n"), "{outcome}");
        let told = outcome.stderr.contains("BASETEN_PROFILE selected the profile 'variable'\n");
        assert_eq!(told, removed == "variable", "{outcome}");
        for name in ["flag", "variable", "current"] {
            assert_eq!(home.store().contains(&format!("key-of-{name}")), name != removed);
        }
    }
}

#[test]
fn switch_takes_the_flag_only() {
    for &(flag, key, variable, _) in PRECEDENCE {
        let home = selecting(key, variable);
        let outcome = home.run(&with_flag(flag, &["auth", "switch"]));
        assert_eq!(outcome.status, if flag { 0 } else { 2 }, "{outcome}");
        assert_eq!(current(&home), if flag { "flag" } else { "current" });
    }
}

#[test]
fn login_never_takes_its_name_from_the_variable() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BASETEN_PROFILE", "variable");
    let key = sandbox.api_key("ada").unwrap();
    let outcome = home.run_with_input(&["auth", "login", "--with-api-key"], key);
    assert_eq!(outcome.status, 2, "{outcome}");
    let outcome = home.log_in_by_browser(&sandbox, "ada", &[]);
    assert!(outcome.stdout.ends_with(" as profile ada@example.com:localhost\n"), "{outcome}");
}

#[test]
fn empty_variables_count_as_unset() {
    let home = three_profiles()
        .with("BASETEN_API_KEY", "")
        .with("BASETEN_PROFILE", "")
        .with("BASETEN_REMOTE_URL", "")
        .with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", "")
        .with("BASETEN_CREDENTIAL_STORE", "")
        .with("BASETEN_KEYRING_TIMEOUT", "")
        .with("BASETEN_CONFIG_DIR", "")
        .with("XDG_CONFIG_HOME", "");
    let json = home.run(&["auth", "status", "-o", "json"]).json();
    assert_eq!(json["profile"], "current");
    assert_eq!(json["overrides"], serde_json::json!([]));
    let outcome = home.run(&["auth", "switch", "--profile", "flag"]);
    assert_eq!(outcome, Outcome::done("Switched to flag\n"));
}

#[test]
fn the_key_of_the_environment_needs_no_home_and_touches_nothing() {
    let sandbox = sandbox();
    let mut home = Home::at(&sandbox).with("BASETEN_API_KEY", sandbox.api_key("ada").unwrap());
    home.unset("HOME");
    for arguments in [&["auth", "status"][..], &["auth", "token"], &["whoami"]] {
        let outcome = home.run(arguments);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert_eq!(outcome.stderr, "");
    }
    home.set("HOME", home.path().to_str().unwrap().to_owned());
    home.write_store("not a store");
    assert_eq!(home.run(&["whoami"]).status, 0);
    assert_eq!(home.store(), "not a store");
}

#[test]
fn the_key_of_the_environment_goes_to_the_remote_of_the_environment() {
    let home = Home::new().with("BASETEN_API_KEY", "key");
    let remote =
        |home: &Home| home.run(&["auth", "status", "-o", "json"]).json()["remote_url"].clone();
    assert_eq!(remote(&home), "https://app.baseten.co");
    let home = home.with("BASETEN_REMOTE_URL", "HTTPS://App.Example.com:443/");
    assert_eq!(remote(&home), "https://app.example.com");
}

#[test]
fn a_stored_profile_keeps_its_remote_whatever_the_environment_says() {
    let home = three_profiles().with("BASETEN_REMOTE_URL", "https://elsewhere.example.com");
    let json = home.run(&["auth", "status", "-o", "json"]).json();
    assert_eq!(json["remote_url"], "https://current.example.com");
}

#[test]
fn the_key_of_the_environment_may_have_white_space_around_it() {
    let home = Home::new().with("BASETEN_API_KEY", "\u{feff} key \r\n");
    assert_eq!(home.run(&["auth", "token"]), Outcome::done("key\n"));
}

/// A home whose environment selects a workload as well, at a server that exchanges its token.
fn with_workload(mut home: Home) -> (Server, Home) {
    let exchanged = || ok(r#"{"access_token": "key-of-workload", "expires_in": 3600}"#);
    let server = Server::start([exchanged(), exchanged()]);
    home.set("BASETEN_TRUST_RULE", "ci");
    home.set("BASETEN_IDENTITY_TOKEN", jwt(&claims(), "signature"));
    home.set("BASETEN_MANAGEMENT_API_URL_OVERRIDE", server.url("localhost", ""));
    (server, home)
}

#[test]
fn a_trust_rule_comes_after_the_flag_and_the_key_and_before_profiles() {
    for &(flag, key, variable, selected) in PRECEDENCE {
        let (_server, home) = with_workload(selecting(key, variable));
        let selected = if flag || key { selected } else { "workload" };
        let token = home.run(&with_flag(flag, &["auth", "token"]));
        assert_eq!(token, Outcome::done(&format!("key-of-{selected}\n")));
        let status = home.run(&with_flag(flag, &["auth", "status", "-o", "json"])).json();
        let (by, auth_type) = match selected {
            "environment" => ("BASETEN_API_KEY", "api_key"),
            "flag" => ("--profile", "api_key"),
            _ => ("BASETEN_TRUST_RULE", "workload"),
        };
        assert_eq!((&status["selected_by"], &status["auth_type"]), (&by.into(), &auth_type.into()));
        let overrides = status["overrides"].as_array().unwrap();
        let overridden = |name: &str| overrides.iter().any(|one| one == name);
        assert_eq!(overridden("BASETEN_TRUST_RULE"), flag || key, "{status}");
        assert_eq!(overridden("BASETEN_PROFILE"), variable, "{status}");
    }
}

#[test]
fn login_switch_and_logout_work_beside_a_trust_rule_and_say_that_it_still_wins() {
    let sandbox = sandbox();
    let home = three_profiles().with("BASETEN_TRUST_RULE", "ci");
    let warning = "warning: BASETEN_TRUST_RULE is set and still takes precedence";
    let key = sandbox.api_key("ada").unwrap();
    let at_sandbox = ["--insecure-storage", "--remote-url", &sandbox.remote_url()];
    for outcome in [
        home.run(&["auth", "switch", "--profile", "flag"]),
        home.log_in(&key, "new", &at_sandbox),
        home.run(&["auth", "logout"]),
    ] {
        assert_eq!(outcome.status, 0, "{outcome}");
        assert!(outcome.stderr.contains(warning), "{outcome}");
    }
    let names = home.run(&["auth", "list", "-q", ".profile", "-r"]).stdout;
    assert_eq!(names, "current\nflag\nvariable\n");
}

#[test]
fn status_says_what_selected_the_profile_and_what_it_hides() {
    let home = selecting(true, true);
    let outcome = home.run(&["auth", "status", "--profile", "flag"]);
    assert!(outcome.stdout.contains("  Selected by: --profile\n"), "{outcome}");
    let overrides = "  Overrides: BASETEN_API_KEY, BASETEN_PROFILE, current profile\n";
    assert!(outcome.stdout.contains(overrides), "{outcome}");
    let outcome = home.run(&["auth", "status"]);
    assert!(outcome.stdout.contains("  Overrides: BASETEN_PROFILE\n"), "{outcome}");
    let outcome = selecting(false, true).run(&["auth", "status"]);
    assert!(outcome.stdout.contains("  Selected by: BASETEN_PROFILE\n"), "{outcome}");
    assert!(outcome.stdout.contains("  Overrides: current profile\n"), "{outcome}");
    let outcome = selecting(false, false).run(&["auth", "status", "--profile", "current"]);
    assert!(!outcome.stdout.contains("Overrides"), "{outcome}");
}

#[test]
fn an_error_names_what_selected_the_profile() {
    let mut home = three_profiles();
    let stderr = |home: &Home, arguments: &[&str]| {
        let outcome = home.run(arguments);
        assert_eq!(outcome.status, 4, "{outcome}");
        outcome.stderr
    };
    let flag = stderr(&home, &["auth", "status", "--profile", "gone"]);
    assert!(flag.starts_with("error: no profile named 'gone'\n"), "{flag}");
    home.set("BASETEN_PROFILE", "gone");
    let variable = stderr(&home, &["auth", "status"]);
    assert!(variable.contains("'gone', which BASETEN_PROFILE selects"), "{variable}");
    home.unset("BASETEN_PROFILE");
    home.write_store(&home.store().replace(r#""current": "current""#, r#""current": "gone""#));
    let current = stderr(&home, &["auth", "status"]);
    assert!(current.contains("the current profile 'gone'"), "{current}");
}

#[test]
fn a_refused_key_of_the_environment_is_named_by_its_variable() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BASETEN_API_KEY", "wrong");
    let outcome = home.run(&["whoami"]);
    assert_eq!(outcome.status, 3, "{outcome}");
    assert!(outcome.stderr.contains("BASETEN_API_KEY"), "{outcome}");
    assert!(!outcome.stderr.contains("wrong\n"), "{outcome}");
}

// Variables that take precedence over the new current profile.

#[test]
fn a_variable_that_still_wins_is_warned_about_after_switch_login_and_logout() {
    let sandbox = sandbox();
    let key = sandbox.api_key("ada").unwrap();
    for (variable, value, warned) in [
        ("BASETEN_API_KEY", "key", "warning: BASETEN_API_KEY is set"),
        ("BASETEN_PROFILE", "variable", "warning: BASETEN_PROFILE is set"),
    ] {
        let home = three_profiles().with(variable, value);
        let switch = home.run(&["auth", "switch", "--profile", "flag"]);
        assert_eq!(switch.stdout, "Switched to flag\n");
        assert!(switch.stderr.contains(warned), "{switch}");

        let logout = home.run(&["auth", "logout", "--profile", "flag"]);
        assert_eq!(logout.stdout, "Logged out flag\n");
        assert!(logout.stderr.contains(warned), "{logout}");

        let home = home.with("BASETEN_REMOTE_URL", sandbox.remote_url());
        let login = home.log_in(&key, "new", &["--insecure-storage"]).succeeded();
        assert!(login.stderr.contains(warned), "{login}");
    }
}

#[test]
fn both_variables_that_still_win_are_warned_about_and_none_after_no_switch() {
    let sandbox = sandbox();
    let home = three_profiles().with("BASETEN_API_KEY", "key").with("BASETEN_PROFILE", "variable");
    let switch = home.run(&["auth", "switch", "--profile", "flag"]);
    assert!(switch.stderr.contains("warning: BASETEN_API_KEY is set"), "{switch}");
    assert!(switch.stderr.contains("warning: BASETEN_PROFILE is set"), "{switch}");
    let home = home.with("BASETEN_REMOTE_URL", sandbox.remote_url());
    let key = sandbox.api_key("ada").unwrap();
    let login = home.log_in(key, "new", &["--insecure-storage", "--no-switch"]);
    assert_eq!((login.status, login.stderr.as_str()), (0, ""), "{login}");
}

#[test]
fn a_variable_that_selects_the_same_profile_is_not_warned_about() {
    let home = three_profiles().with("BASETEN_PROFILE", "flag");
    let outcome = home.run(&["auth", "switch", "--profile", "flag"]);
    assert_eq!(outcome, Outcome::done("Switched to flag\n"));
    let outcome = three_profiles().run(&["auth", "switch", "--profile", "flag"]);
    assert_eq!(outcome, Outcome::done("Switched to flag\n"));
}

// Names.

#[test]
fn names_of_1_to_255_bytes_are_taken() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let longest = "é".repeat(127) + "e";
    for name in ["a", "with space", "-dash", "a/b\\c:d", "Ünï'\"$(echo)", &longest] {
        let option = format!("--profile={name}");
        let arguments = ["auth", "login", "--with-api-key", "--insecure-storage", &option];
        let outcome = home.run_with_input(&arguments, sandbox.api_key("ada").unwrap());
        assert_eq!(outcome.status, 0, "{outcome}");
        let json = home.run(&["auth", "status", "-o", "json"]).json();
        assert_eq!(json["profile"], name);
        let json = home.run(&["auth", "logout", "-o", "json", &option]).json();
        assert_eq!(json["profile"], name);
    }
}

#[test]
fn names_are_printed_unchanged() {
    for name in ["a  b ", "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}", "-dash"] {
        let home = Home::with_store(&store([(name, with_key(REMOTE, "key"))]));
        let option = format!("--profile={name}");
        let switched = home.run(&["auth", "switch", &option]);
        assert_eq!(switched, Outcome::done(&format!("Switched to {name}\n")));
        let bare = home.run(&["auth", "list", "--jq", ".profile", "-r"]);
        assert_eq!(bare, Outcome::done(&format!("{name}\n")));
        let status = home.run(&["auth", "status"]);
        assert!(status.stdout.starts_with(&format!("{name}\n")), "{status}");
        let logged_out = home.run(&["auth", "logout", &option]);
        assert!(logged_out.stdout.ends_with(&format!("Logged out {name}\n")), "{logged_out}");
    }
}

#[test]
fn other_names_are_refused_before_any_request() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let too_long = "é".repeat(128);
    for (name, reason) in [
        ("", "empty"),
        (too_long.as_str(), "255 bytes"),
        ("tab\t", "control characters"),
        ("escape\u{1b}[2J", "control characters"),
        ("c1\u{9b}2J", "control characters"),
    ] {
        let outcome = home.log_in(sandbox.api_key("ada").unwrap(), name, &[]);
        assert_eq!(outcome.status, 2, "{outcome}");
        assert!(outcome.stderr.contains(reason), "{outcome}");
        assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");
        assert!(!outcome.stderr.contains('\u{9b}'), "{outcome:?}");
    }
    assert!(sandbox.requests().is_empty());
    assert!(!home.auth_json().exists());
}

#[test]
#[cfg(unix)]
fn variables_that_are_not_utf_8_are_named_if_they_matter() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let home = three_profiles();
    let run = |variable: &str, arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env(variable, OsStr::from_bytes(b"\xff"));
        Running::start(&mut command).end()
    };
    for variable in ["BASETEN_PROFILE", "BASETEN_API_KEY"] {
        let outcome = run(variable, &["auth", "status"]);
        assert_eq!(outcome.status, 2, "{outcome}");
        assert!(outcome.stderr.contains(variable), "{outcome}");
        let outcome = run(variable, &["auth", "status", "--profile", "flag"]);
        assert_eq!(outcome.status, 0, "{outcome}");
    }
}

#[test]
fn a_mistyped_profile_is_answered_with_the_one_that_was_meant() {
    let home = three_profiles();
    for arguments in
        [&["auth", "switch"][..], &["auth", "status"], &["auth", "token"], &["auth", "logout"]]
    {
        let outcome = home.run(&[arguments, &["--profile", "flga"]].concat());
        assert_eq!(outcome.status, 4, "{outcome}");
        assert!(outcome.stderr.ends_with("\nhint: did you mean --profile flag?\n"), "{outcome}");
    }
    let outcome = home.run(&["auth", "status", "--profile", "quite-another"]);
    assert!(outcome.stderr.contains("\nhint: see the profiles with: "), "{outcome}");
    let outcome = home.with("BASETEN_PROFILE", "curent").run(&["auth", "status"]);
    assert!(outcome.stderr.ends_with("\nhint: did you mean 'current'?\n"), "{outcome}");
}

#[test]
fn common_options_may_stand_before_the_command() {
    let home = three_profiles();
    let expected = home.run(&["auth", "status", "--profile", "flag", "-o", "json"]);
    for words in [
        "--profile flag auth status -o json",
        "--profile=flag -ojson auth status",
        "auth --profile flag -o json status",
        "-o json auth --profile=flag status",
        "--output text --profile current auth -o=json status --profile flag",
        "-q . --raw-output auth status --profile flag",
    ] {
        let outcome = home.run(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(outcome, expected, "{words}");
    }
    let outcome = home.run(&["-v", "auth", "status", "--profile", "flag"]);
    assert!(outcome.stderr.contains("debug: "), "{outcome}");
    // The name of a command can be a value.
    let outcome = home.run(&["--profile", "auth", "auth", "status"]);
    assert_eq!(outcome.status, 4, "{outcome}");
    assert!(outcome.stderr.contains("no profile named 'auth'"), "{outcome}");
    for words in ["--profile flag auth frobnicate", "--profile flag version", "auth --check status"]
    {
        let outcome = home.run(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(outcome.status, 2, "{words}: {outcome}");
    }
}
