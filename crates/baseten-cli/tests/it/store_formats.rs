//! Stores of other programs and damaged stores: what is read, kept and refused.

use baseten_testing::home::Home;
use baseten_testing::outcome::Outcome;
use baseten_testing::sandbox::sandbox;

#[track_caller]
fn run(home: &Home, arguments: &[&str]) -> Outcome {
    home.run(arguments).succeeded()
}

/// A store as the Go program writes it: escapes, offsets, nanoseconds, no final newline.
const FROM_GO: &str = r#"{
  "version": 1,
  "current": "a\u003cb\u003e\u0026c",
  "profiles": {
    "a\u003cb\u003e\u0026c": {
      "remote_url": "https://app.baseten.co",
      "auth_type": "oauth",
      "oauth_credential": {
        "access_token": "acc\u003cess",
        "refresh_token": "ref\u0026resh",
        "expiry": "2126-08-07T09:35:48.123456789-05:00"
      }
    },
    "bot": {
      "remote_url": "https://app.staging.baseten.co",
      "auth_type": "api_key",
      "api_key": "k\u0026y"
    }
  }
}"#;

#[test]
fn what_the_go_program_writes_is_read() {
    let home = Home::with_store(FROM_GO);
    let token = run(&home, &["auth", "token", "-o", "json"]).json();
    assert_eq!(token["profile"], "a<b>&c");
    assert_eq!(token["token"], "acc<ess");
    assert_eq!(token["expires_at"], "2126-08-07T14:35:48.123456789Z");
    assert_eq!(run(&home, &["auth", "token", "--profile", "bot"]).stdout, "k&y\n");
    assert_eq!(run(&home, &["auth", "list", "-o", "jsonl"]).stdout.lines().count(), 2);
    assert_eq!(home.store(), FROM_GO, "reading changes nothing");
}

#[test]
fn a_switch_changes_one_line() {
    let home = Home::with_store(FROM_GO);
    run(&home, &["auth", "switch", "--profile", "bot"]);
    let line = r#""current": "a\u003cb\u003e\u0026c""#;
    let expected = FROM_GO.replace(line, r#""current": "bot""#) + "\n";
    let names = r#""a\u003cb\u003e\u0026c": {"#;
    assert_eq!(home.store(), expected.replace(names, r#""a<b>&c": {"#));
}

/// Unknown keys at all three levels, in the layout that this program writes.
const UNKNOWN_KEYS: &str = r#"{
  "version": 1,
  "current": "work",
  "profiles": {
    "bot": {
      "remote_url": "https://app.baseten.co",
      "auth_type": "api_key",
      "api_key": "key"
    },
    "work": {
      "remote_url": "https://app.baseten.co",
      "auth_type": "oauth",
      "oauth_credential": {
        "access_token": "access",
        "refresh_token": "refresh",
        "expiry": "2100-01-01T00:00:00Z",
        "scope": [
          "a",
          1.50,
          1e400
        ]
      },
      "color": {
        "of": "\u0007 the profile",
        "empty": {},
        "none": []
      }
    }
  },
  "hosts": {
    "app.baseten.co": {
      "token": "of a former release"
    }
  },
  "future": null
}
"#;

#[test]
fn unknown_keys_are_kept_unchanged_at_every_level() {
    let home = Home::with_store(UNKNOWN_KEYS);
    run(&home, &["auth", "switch", "--profile", "work"]);
    assert_eq!(home.store(), UNKNOWN_KEYS);
    run(&home, &["auth", "switch", "--profile", "bot"]);
    run(&home, &["auth", "switch", "--profile", "work"]);
    assert_eq!(home.store(), UNKNOWN_KEYS);
}

#[test]
fn a_logout_removes_its_profile_and_nothing_else() {
    let home = Home::with_store(UNKNOWN_KEYS);
    run(&home, &["auth", "logout", "--profile", "bot"]);
    let bot = &UNKNOWN_KEYS
        [UNKNOWN_KEYS.find("    \"bot\"").unwrap()..UNKNOWN_KEYS.find("    \"work\"").unwrap()];
    assert_eq!(home.store(), UNKNOWN_KEYS.replace(bot, ""));
}

#[test]
fn a_refresh_changes_its_values_and_nothing_else() {
    let sandbox = sandbox();
    let tokens = sandbox.new_session("ada").unwrap();
    let old = UNKNOWN_KEYS
        .replace("\"refresh\"", &format!("\"{}\"", tokens.refresh_token.unwrap()))
        .replace("2100-01-01", "2020-01-01");
    let home =
        Home::with_store(&old).with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", sandbox.api_url());
    run(&home, &["auth", "token"]);
    // It also says when the token was issued.
    let new = home.store();
    let issued_at = new.lines().find(|line| line.contains("issued_at")).unwrap();
    let new = new.replace(&format!("{issued_at}\n"), "");
    let changed: Vec<_> = old
        .lines()
        .zip(new.lines())
        .filter(|(before, after)| before != after)
        .map(|(before, _)| before.trim().split(':').next().unwrap())
        .collect();
    assert_eq!(changed, ["\"access_token\"", "\"refresh_token\"", "\"expiry\""]);
    assert_eq!(old.lines().count(), new.lines().count());
}

#[test]
fn a_new_login_keeps_the_unknown_keys_of_what_it_replaces() {
    let sandbox = sandbox();
    let home = Home::with_store(UNKNOWN_KEYS).with("BASETEN_REMOTE_URL", sandbox.remote_url());
    home.log_in_with_key(&sandbox, "ada", "work");
    let store: serde_json::Value =
        serde_json::from_str(&home.store().replace("1e400", "1")).unwrap();
    assert_eq!(store["profiles"]["work"]["color"]["of"], "\u{7} the profile");
    assert_eq!(store["profiles"]["work"]["auth_type"], "api_key");
    assert_eq!(store["profiles"]["work"].get("oauth_credential"), None);
    assert_eq!(store["hosts"]["app.baseten.co"]["token"], "of a former release");
}

#[test]
fn the_hosts_of_a_former_release_are_not_read() {
    let store = r#"{"version": 1, "hosts": {"app.baseten.co": {"token": "old"}}}"#;
    let home = Home::with_store(store);
    assert_eq!(home.run(&["auth", "status"]).status, 3);
    assert_eq!(run(&home, &["auth", "list", "-o", "json"]).stdout, "[]\n");
    assert_eq!(home.store(), store);
}

#[test]
fn an_expiry_of_the_year_1_means_that_none_is_known() {
    for expiry in ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00-05:00", "0000-12-31T19:00:00Z", ""]
    {
        let home = Home::with_store(&UNKNOWN_KEYS.replace("2100-01-01T00:00:00Z", expiry));
        let token = run(&home, &["auth", "token", "-o", "json"]).json();
        assert_eq!((&token["token"], token.get("expires_at")), (&"access".into(), None));
        run(&home, &["auth", "switch", "--profile", "bot"]);
        assert!(home.store().contains(&format!("\"expiry\": \"{expiry}\"")));
    }
}

#[test]
fn expiries_with_offsets_are_compared_as_times() {
    // An hour ago in UTC, although the text looks like an hour from now.
    let home = Home::with_store(
        &UNKNOWN_KEYS.replace("2100-01-01T00:00:00Z", "2020-01-01T23:00:00+14:00"),
    )
    .with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", "http://localhost:1");
    assert_eq!(home.run(&["auth", "token"]).status, 6);
    let far = Home::with_store(
        &UNKNOWN_KEYS.replace("2100-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"),
    );
    assert_eq!(run(&far, &["auth", "token"]).stdout, "access\n");
}

#[test]
fn a_secret_of_the_wrong_type_is_never_used_and_hides_no_other() {
    let both = r#"{"current": "p", "profiles": {"p": {"remote_url": "https://app.baseten.co",
        "auth_type": "TYPE", "api_key": "the-key",
        "oauth_credential": {"access_token": "the-token", "expiry": "2100-01-01T00:00:00Z"}}}}"#;
    for (kind, secret) in [("api_key", "the-key\n"), ("oauth", "the-token\n")] {
        assert_eq!(
            run(&Home::with_store(&both.replace("TYPE", kind)), &["auth", "token"]).stdout,
            secret
        );
    }
    let oauth_with_key = r#"{"current": "p", "profiles": {"p":
        {"remote_url": "https://app.baseten.co", "auth_type": "oauth", "api_key": "canary"}}}"#;
    let key_with_oauth = r#"{"current": "p", "profiles": {"p":
        {"remote_url": "https://app.baseten.co", "auth_type": "api_key",
        "oauth_credential": {"access_token": "canary"}}}}"#;
    for store in [oauth_with_key, key_with_oauth] {
        let home = Home::with_store(store);
        let outcome = home.run(&["auth", "token"]);
        assert_ne!(outcome.status, 0);
        assert!(!outcome.to_string().contains("canary"), "{outcome}");
        assert_eq!(home.store(), store);
    }
}

#[test]
fn an_empty_store_counts_as_new() {
    // An empty file is read again for a while; `other_writers` tests that.
    for store in ["{}", "{\"profiles\": null}", r#"{"version": 1, "current": ""}"#] {
        let sandbox = sandbox();
        let home = Home::with_store(store).with("BASETEN_REMOTE_URL", sandbox.remote_url());
        assert_eq!(run(&home, &["auth", "list", "-o", "json"]).stdout, "[]\n");
        assert_eq!(home.run(&["auth", "status"]).status, 3);
        assert_eq!(home.store(), store, "reading changes nothing");
        home.log_in_with_key(&sandbox, "ada", "bot");
        assert_eq!(run(&home, &["auth", "status", "-o", "json"]).json()["profile"], "bot");
    }
}

#[test]
fn an_invalid_store_is_named_and_never_written_to() {
    for store in [
        &b"not JSON"[..],
        b"[]",
        b"null",
        b"\"canary\"",
        b"{\"version\": 2, \"profiles\": {}}",
        b"{\"version\": \"1\"}",
        b"{\"version\": -1}",
        b"{\"profiles\": []}",
        b"{\"profiles\": \"canary\"}",
        b"{\"current\": 1}",
        b"{\"profiles\": {}} canary",
        b"{\"profiles\": {}, \"canary\": \xff}",
        b"\xff\xfe{\x00}\x00",
        b"{\"profiles\": {\"a\": canary}}",
        b"{\"profiles\": {}, \"profiles\": {\"a\": {}}}",
        b"{\"theirs\": \"canary\", \"profiles\": {}, \"th\\u0065irs\": 1}",
        b"{\"profiles\": {\"a\": {}, \"b\": {}, \"a\": \"canary\"}}",
    ] {
        let sandbox = sandbox();
        let home = Home::at(&sandbox);
        home.write_store("");
        std::fs::write(home.auth_json(), store).unwrap();
        for arguments in [
            &["auth", "status"][..],
            &["auth", "list"],
            &["auth", "token"],
            &["auth", "switch", "--profile", "a"],
            &["auth", "logout", "--profile", "a"],
            &["auth", "login", "--web"],
        ] {
            let outcome = home.run(arguments);
            assert_eq!(outcome.status, 1, "{arguments:?} {outcome}");
            assert!(outcome.stderr.contains(home.auth_json().to_str().unwrap()), "{outcome}");
            assert!(!outcome.to_string().contains("canary"), "{outcome}");
        }
        assert_eq!(std::fs::read(home.auth_json()).unwrap(), store);
        assert!(sandbox.requests().is_empty());
    }
}

#[test]
fn a_byte_order_mark_is_accepted() {
    let home = Home::with_store(&format!("\u{feff}{UNKNOWN_KEYS}"));
    assert_eq!(run(&home, &["auth", "token"]).stdout, "access\n");
    run(&home, &["auth", "switch", "--profile", "work"]);
    assert_eq!(home.store(), UNKNOWN_KEYS);
}

#[test]
fn a_broken_profile_does_not_break_the_others() {
    let broken = r#""broken": {"remote_url": 7, "auth_type": "canary"}, "bot": {"#;
    let home = Home::with_store(&UNKNOWN_KEYS.replace(r#""bot": {"#, broken));
    assert_eq!(run(&home, &["auth", "token"]).stdout, "access\n");
    run(&home, &["auth", "switch", "--profile", "bot"]);
    assert!(home.store().contains("canary"));
    let outcome = home.run(&["auth", "token", "--profile", "broken"]);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(outcome.stderr.contains("broken"), "{outcome}");
    assert!(!outcome.stderr.contains("canary"), "{outcome}");
}

#[test]
fn windows_line_endings_are_accepted() {
    let home = Home::with_store(&UNKNOWN_KEYS.replace('\n', "\r\n"));
    assert_eq!(run(&home, &["auth", "token"]).stdout, "access\n");
    run(&home, &["auth", "switch", "--profile", "work"]);
    // Unchanged parts are written as they were read.
    assert_eq!(home.store().replace('\r', ""), UNKNOWN_KEYS);
}

#[test]
#[cfg(unix)]
fn a_link_stays_a_link_and_its_target_is_replaced() {
    let home = Home::new();
    let target = home.path().join("dotfiles/auth.json");
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::create_dir_all(home.auth_json().parent().unwrap()).unwrap();
    std::fs::write(&target, UNKNOWN_KEYS).unwrap();
    std::os::unix::fs::symlink("../../dotfiles/auth.json", home.auth_json()).unwrap();
    run(&home, &["auth", "switch", "--profile", "bot"]);
    assert!(std::fs::symlink_metadata(home.auth_json()).unwrap().is_symlink());
    let expected = UNKNOWN_KEYS.replace("\"current\": \"work\"", "\"current\": \"bot\"");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), expected);
    // The lock is beside the target, so that all links to the file share it.
    let left = std::fs::read_dir(target.parent().unwrap()).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["auth.json", "auth.json.lock"]);
}

#[test]
#[cfg(unix)]
fn wide_modes_are_tightened_by_the_next_write() {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let home = Home::with_store(UNKNOWN_KEYS);
    let directory = home.auth_json().parent().unwrap().to_owned();
    std::fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(home.auth_json(), Permissions::from_mode(0o644)).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    run(&home, &["auth", "status"]);
    assert_eq!((mode(&directory), mode(&home.auth_json())), (0o755, 0o644));
    run(&home, &["auth", "switch", "--profile", "bot"]);
    assert_eq!((mode(&directory), mode(&home.auth_json())), (0o700, 0o600));
}

#[cfg(target_os = "linux")]
#[test]
fn the_directory_is_the_one_that_others_use() {
    let home = Home::with_store(UNKNOWN_KEYS);
    let elsewhere = home.path().join("elsewhere");
    std::fs::create_dir_all(elsewhere.join("baseten")).unwrap();
    let only_bot = UNKNOWN_KEYS.replace("\"current\": \"work\"", "\"current\": \"bot\"");
    std::fs::write(elsewhere.join("baseten/auth.json"), &only_bot).unwrap();
    std::fs::write(elsewhere.join("auth.json"), &only_bot).unwrap();
    let elsewhere = elsewhere.to_str().unwrap();
    let profile =
        |home: &Home| run(home, &["auth", "status", "-o", "json"]).json()["profile"].clone();
    assert_eq!(profile(&home), "work");
    let home = home.with("XDG_CONFIG_HOME", elsewhere);
    assert_eq!(profile(&home), "bot");
    let mut home = home.with("BASETEN_CONFIG_DIR", elsewhere);
    home.unset("XDG_CONFIG_HOME");
    home.unset("HOME");
    assert_eq!(profile(&home), "bot");
}

#[test]
fn an_invalid_entry_does_not_hide_the_others() {
    for entry in [r#"{"remote_url": "x", "auth_type": "sso"}"#, "7", r#"{"\ud800": 1}"#] {
        let good = r#"{"remote_url": "https://app.example.com", "auth_type": "api_key"}"#;
        let store =
            format!(r#"{{"current": "good", "profiles": {{"good": {good}, "odd": {entry}}}}}"#);
        let home = Home::with_store(&store);
        let list = home.run(&["auth", "list", "-o", "json"]);
        assert_eq!(list.status, 1, "{list}");
        assert_eq!(list.json()[0]["profile"], "good");
        assert!(list.stderr.contains("the profile 'odd' in "), "{list}");
        assert!(
            list.stderr.contains("replace it with: baseten auth login --profile odd"),
            "{list}"
        );
        // A profile that no command could use does not become current.
        let switch = home.run(&["auth", "switch", "--profile", "odd"]);
        assert_eq!(switch.status, 1, "{switch}");
        assert_eq!(home.store(), store);
        assert_eq!(home.run(&["auth", "status"]).status, 0);
    }
}

/// A profile with a duplicate key, in each of the possible places.
const TWICE: &[&str] = &[
    r#"{"remote_url": "https://app.example.com", "auth_type": "api_key", "api_key": "canary", "api_key": "k"}"#,
    r#"{"remote_url": "https://app.example.com", "auth_type": "api_key", "api_key": "canary", "x": 1, "x": 2}"#,
    r#"{"remote_url": "https://app.example.com", "auth_type": "oauth", "oauth_credential": {"access_token": "canary", "access_token": "a", "expiry": "2100-01-01T00:00:00Z"}}"#,
    r#"{"remote_url": "https://app.example.com", "auth_type": "oauth", "oauth_credential": {"access_token": "canary", "x": 1, "x": 2, "expiry": "2020-01-01T00:00:00Z"}}"#,
];

#[test]
fn a_profile_with_a_duplicate_name_breaks_only_itself() {
    for twice in TWICE {
        let sandbox = sandbox();
        let added = format!(r#""twice": {twice}, "bot": {{"#);
        let home = Home::with_store(&UNKNOWN_KEYS.replace(r#""bot": {"#, &added))
            .with("BASETEN_REMOTE_URL", sandbox.remote_url());
        for arguments in [&["auth", "token"][..], &["auth", "status"], &["whoami"]] {
            let outcome = home.run(&[arguments, &["--profile", "twice"]].concat());
            assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
            assert!(outcome.stderr.contains("the profile 'twice' in "), "{outcome}");
            assert!(!outcome.stderr.contains("canary"), "{outcome}");
        }
        run(&home, &["auth", "switch", "--profile", "bot"]);
        assert!(home.store().contains(twice), "{}", home.store());
        assert_eq!(run(&home, &["auth", "token", "--profile", "work"]).stdout, "access\n");
        // A login with that name replaces it.
        home.log_in_with_key(&sandbox, "ada", "twice");
        assert!(!home.store().contains("canary"), "{}", home.store());
        run(&home, &["auth", "token", "--profile", "twice"]);
    }
}

#[test]
fn a_store_that_is_nested_deeply_is_written_as_it_was_read() {
    const DEPTH: usize = 6000;
    let sandbox = sandbox();
    let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let credential = format!(r#"{{"deep": {deep}, "access_token": "#);
    let profile = format!(r#"{{"deep": {deep}, "remote_url": "#);
    let top = format!(r#"{{"deep": {deep}, "version": "#);
    let store = UNKNOWN_KEYS
        .replacen(
            r#"{
  "version": "#,
            &top,
            1,
        )
        .replacen(
            r#"{
      "remote_url": "#,
            &profile,
            2,
        )
        .replacen(
            r#"{
        "access_token": "#,
            &credential,
            1,
        );
    assert_eq!(store.matches(&deep).count(), 4, "{UNKNOWN_KEYS}");
    let home = Home::with_store(&store).with("BASETEN_REMOTE_URL", sandbox.remote_url());
    for _ in 0..3 {
        run(&home, &["auth", "switch", "--profile", "bot"]);
        run(&home, &["auth", "switch", "--profile", "work"]);
        home.log_in_with_key(&sandbox, "ada", "bot");
        home.log_in_with_key(&sandbox, "ada", "new");
        run(&home, &["auth", "logout", "--profile", "new"]);
        assert_eq!(home.store().matches(&deep).count(), 4);
        assert!(home.store().len() < store.len() + 1000);
        assert_eq!(run(&home, &["auth", "token", "--profile", "work"]).stdout, "access\n");
        assert_eq!(run(&home, &["auth", "list", "-o", "jsonl"]).stdout.lines().count(), 2);
    }
}
