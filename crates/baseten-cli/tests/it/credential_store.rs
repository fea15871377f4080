//! Where a login stores its secret, and what happens when that storage fails.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::{Duration, Instant};

use baseten_sandbox::Sandbox;
use baseten_testing::faults::{says_io_error, straced};
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::outcome::Running;
use baseten_testing::pass::Pass;
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::{sandbox, sandbox_with};
use baseten_testing::stored::{
    LIVES, elsewhere, in_file, name, only_profile, profile, read, session, store, tokens,
};
use baseten_testing::wait::until;
use serde_json::{Value, json};

/// A helper that keeps each secret in its own file.
const KEEPER: &str = r#"
mkdir -p "$HOME/vault"
at() { echo "$HOME/vault/$(cksum | tr -d ' ')"; }
case $1 in
store)
  cat > "$HOME/vault/new"
  url=$(sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' "$HOME/vault/new")
  mv "$HOME/vault/new" "$(printf %s "$url" | at)" ;;
get)
  file=$(at)
  [ -f "$file" ] || { echo "credentials not found in native keychain"; exit 1; }
  cat "$file" ;;
erase)
  rm -f "$(at)" ;;
esac
"#;

#[test]
fn calls_to_a_helper_share_one_deadline_and_a_new_token_is_still_stored() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "helper:slow");
    let mut home = home.with("BASETEN_KEYRING_TIMEOUT", "1.8");
    home.install(
        "docker-credential-slow",
        "sleep 0.7\ncase $1 in get) cat secret;; *) cat > stored;; esac",
    );
    let name = only_profile(&home, "slow-helper", elsewhere(&sandbox.remote_url(), "oauth"));
    let secret = session(&sandbox, "ada", -60).to_string();
    let answer = serde_json::json!({ "ServerURL": "", "Username": name, "Secret": secret });
    fs::write(home.path().join("secret"), answer.to_string()).unwrap();
    // The helper is called before the lock is taken and again under it, which uses up the time.
    let outcome = home.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    let stored = fs::read_to_string(home.path().join("stored")).unwrap();
    assert!(stored.contains(outcome.stdout.trim()), "{outcome}");
    home.set("BASETEN_KEYRING_TIMEOUT", "1.2");
    let outcome = home.run(&["auth", "token"]);
    assert_eq!(outcome.status, 1, "{outcome}");
    let slow = "docker-credential-slow did not answer within 1.2 s";
    assert!(outcome.stderr.contains(slow), "{outcome}");
}

#[test]
fn a_secret_of_a_login_that_is_under_way_goes_to_no_other_remote() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "helper:swapping");
    // While it is asked, a login at another remote stores its own secret, and then its profile.
    let swap = format!("cat theirs > '{}'\ncat secret", home.auth_json().display());
    home.install("docker-credential-swapping", &swap);
    for kind in ["oauth", "api_key"] {
        let name = only_profile(&home, "swapped", elsewhere(&sandbox.remote_url(), kind));
        let theirs = store([(name.as_str(), elsewhere("https://other.example.com", kind))]);
        fs::write(home.path().join("theirs"), theirs).unwrap();
        let secret = match kind {
            "oauth" => tokens("theirs", "theirs", LIVES).to_string(),
            _ => "theirs".to_owned(),
        };
        let answer = json!({ "ServerURL": "", "Username": name, "Secret": secret });
        fs::write(home.path().join("secret"), answer.to_string()).unwrap();
        let outcome = home.run(&["auth", "token"]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (4, ""), "{outcome}");
        assert!(outcome.stderr.contains("another login"), "{outcome}");
    }
}

/// Reads the profile while a login puts another remote under its name, which is held up before each
/// of its changes in turn.
#[test]
fn the_secret_of_a_login_at_another_remote_never_goes_to_the_old_one() {
    let (here, there, keyring) = (sandbox(), sandbox(), KeyringSession::start());
    let (key, remote) = (there.new_api_key("ada").unwrap(), there.remote_url());
    let mut moments = 0;
    loop {
        moments += 1;
        let name = name("moved");
        let home = Home::at_remote(here.remote_url()).with_keyring(&keyring);
        home.log_in(here.api_key("ada").unwrap(), &name, &[]).succeeded();
        let trace = home.path().join("trace");
        let mut login = home.command_of(find("strace", "strace"), &[]);
        login
            .args(["-f", "-qq", "-o", trace.to_str().unwrap(), "-e", "trace=renameat2"])
            .args(["-e", &format!("inject=renameat2:delay_enter=1000000:when={moments}")])
            .arg(baseten())
            .args(["auth", "login", "--with-api-key", "--profile", &name, "--remote-url", &remote]);
        let mut login = Running::with_input(&mut login, &key);
        let calls = || fs::read_to_string(&trace).unwrap_or_default().matches('(').count();
        until("it is held up, or done", || calls() == moments || login.has_ended());
        let was_held_up = calls() == moments;
        let early = home.run(&["auth", "token", "--expect-remote", &here.remote_url()]);
        assert!(!early.stdout.contains(&key), "{moments}: {early}");
        assert_eq!(login.end().status, 0);
        let late = home.run(&["auth", "token", "--expect-remote", &remote]).succeeded();
        assert_eq!(late.stdout.trim(), key);
        if !was_held_up {
            break;
        }
    }
    // Once before the secret, and once after it.
    assert!(moments > 2, "{moments}");
}

#[test]
fn a_helper_keeps_the_secret_and_the_file_has_none() {
    let sandbox = sandbox();
    let mut home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "helper:keeper");
    home.install("docker-credential-keeper", KEEPER);
    let key = sandbox.api_key("ada").unwrap();
    let outcome = home.log_in(&key, "bot", &[]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert!(!home.store().contains(&key));
    // The profile remembers its helper.
    home.unset("BASETEN_CREDENTIAL_STORE");
    assert_eq!(home.run(&["auth", "token"]).stdout.trim(), key);
    let logout = home.run(&["auth", "logout"]);
    assert_eq!((logout.status, logout.stdout.as_str()), (0, "Logged out bot\n"), "{logout}");
    assert_eq!(fs::read_dir(home.path().join("vault")).unwrap().count(), 0);
}

#[test]
fn a_login_at_another_remote_removes_the_old_copy_from_the_helper() {
    let (one, other) = (sandbox(), sandbox());
    let home = Home::new().with("BASETEN_CREDENTIAL_STORE", "helper:keeper");
    home.install("docker-credential-keeper", KEEPER);
    for remote in [&one, &other] {
        let key = remote.new_api_key("ada").unwrap();
        let outcome = home.log_in(&key, "bot", &["--remote-url", &remote.remote_url()]);
        assert_eq!(outcome.status, 0, "{outcome}");
        let kept: Vec<_> = fs::read_dir(home.path().join("vault")).unwrap().collect();
        assert_eq!(kept.len(), 1);
        assert!(fs::read_to_string(kept[0].as_ref().unwrap().path()).unwrap().contains(&key));
    }
}

#[test]
fn a_helper_that_fails_is_named_and_nothing_is_stored_elsewhere() {
    let sandbox = sandbox();
    let key = sandbox.api_key("ada").unwrap();
    let helpers = [
        ("missing", None, "docker-credential-missing is not in PATH"),
        ("failing", Some("echo the vault is sealed; exit 1"), "failed: the vault is sealed"),
        ("slow", Some("sleep 50"), "docker-credential-slow did not answer within 1 s"),
        ("crashing", Some("kill -SEGV $$"), "failed: it ended with signal: 11"),
        ("talking", Some("echo nonsense"), "failed: its answer is not the JSON of a credential"),
        ("spilling", Some("cat >&2; exit 1"), "docker-credential-spilling failed"),
    ];
    for (helper, script, says) in helpers {
        let home = Home::at(&sandbox)
            .with("BASETEN_CREDENTIAL_STORE", format!("helper:{helper}"))
            .with("BASETEN_KEYRING_TIMEOUT", "1");
        if let Some(script) = script {
            home.install(&format!("docker-credential-{helper}"), script);
        }
        let mut profile = elsewhere(&sandbox.remote_url(), "api_key");
        profile["credential_helper"] = json!(helper);
        let before = store([(helper, profile)]);
        home.write_store(&before);

        let started = Instant::now();
        for command in ["login", "login over the old", "token", "logout"] {
            let outcome = match command {
                "login" => home.log_in(&key, "new", &[]),
                "login over the old" => home.log_in(&key, helper, &[]),
                // The protocol ignores the output of `erase`.
                "logout" if helper == "talking" => continue,
                command => home.run(&["auth", command]),
            };
            let what = format!("{helper}, {command}: {outcome}");
            assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{what}");
            let error = outcome.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
            assert!(error.contains(says) && error.contains(helper), "{what}");
            let hint = outcome.stderr.lines().last().unwrap();
            assert!(hint.starts_with("hint: check ") && hint.contains("the helper"), "{what}");
            assert!(!outcome.stderr.contains(&key), "{what}");
            assert_eq!(home.store(), before, "{what}");
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{helper}: {:?}", started.elapsed());
    }
}

#[test]
fn a_login_without_a_keyring_falls_back_to_the_file_and_says_so() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = home.log_in(sandbox.api_key("ada").unwrap(), "bot", &[]);
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!(profile(&home, "bot")["api_key"], sandbox.api_key("ada").unwrap());
}

#[test]
fn a_logout_warns_about_old_copies_only_if_a_keyring_may_have_one() {
    let sandbox = sandbox();
    let logout = |options: &[&str], store: &str| {
        let home = Home::at(&sandbox);
        let login = home.log_in(sandbox.api_key("ada").unwrap(), "bot", options);
        assert_eq!(login.status, 0, "{login}");
        let outcome = home.with("BASETEN_CREDENTIAL_STORE", store).run(&["auth", "logout"]);
        assert_eq!((outcome.status, &*outcome.stdout), (0, "Logged out bot\n"), "{outcome}");
        outcome.stderr
    };
    // The login has found no keyring, and recorded that.
    assert_eq!(logout(&[], ""), "");
    // This login did not look for a keyring.
    let warned = logout(&["--insecure-storage"], "");
    let advice = "no keyring was reachable to check. If this machine has none, set \
                  BASETEN_CREDENTIAL_STORE=file\n";
    assert!(warned.ends_with(advice), "{warned}");
    assert_eq!(logout(&["--insecure-storage"], "file"), "");
}

#[test]
fn a_login_that_insists_on_the_keyring_fails_without_one() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "keyring");
    let outcome = home.log_in(sandbox.api_key("ada").unwrap(), "bot", &[]);
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!(outcome.status, 1);
    assert_eq!(home.store(), "");
    // The option takes precedence over the variable.
    let outcome = home.log_in(sandbox.api_key("ada").unwrap(), "bot", &["--insecure-storage"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
}

#[test]
fn a_login_with_a_frozen_or_locked_keyring_falls_back_or_fails_as_configured() {
    let sandbox = sandbox();
    let key = sandbox.api_key("ada").unwrap();
    for (frozen, reason) in [(true, "did not answer within 1 s"), (false, "keyring is locked")] {
        let keyring = KeyringSession::start();
        let mut home =
            Home::at(&sandbox).with_keyring(&keyring).with("BASETEN_KEYRING_TIMEOUT", "1");
        if frozen {
            keyring.freeze();
        } else {
            keyring.lock();
        }
        home.set("BASETEN_CREDENTIAL_STORE", "keyring");
        let outcome = home.log_in(&key, "bot", &[]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
        assert!(outcome.stderr.contains(reason), "{outcome}");
        assert_eq!(home.store(), "");
        home.set("BASETEN_CREDENTIAL_STORE", "auto");
        let outcome = home.log_in(&key, "bot", &[]);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert!(outcome.stderr.contains(reason), "{outcome}");
        assert!(outcome.stderr.contains(home.auth_json().to_str().unwrap()), "{outcome}");
        assert_eq!(profile(&home, "bot")["api_key"], json!(key));
    }
}

#[test]
fn a_login_that_cannot_be_written_leaves_the_keyring_as_it_was() {
    let sandbox = sandbox();
    let keyring = KeyringSession::start();
    let home = Home::at(&sandbox).with_patient_keyring(&keyring);
    let (fresh, replaced) = (name("fresh"), name("replaced"));
    let (old, new) = (sandbox.api_key("ada").unwrap(), sandbox.new_api_key("ada").unwrap());
    assert_eq!(home.log_in(&old, &replaced, &[]).status, 0);
    let before = home.store();
    for (name, was) in [(&fresh, None), (&replaced, Some(old.clone()))] {
        // The rehearsal uses another kind of rename.
        let arguments = ["auth", "login", "--with-api-key", "--profile", name];
        let outcome = straced(&home, "renameat2:error=EIO:when=1", &arguments, &new);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
        assert!(
            outcome.stderr.contains("auth.json: ") && says_io_error(&outcome.stderr),
            "{outcome}"
        );
        assert_eq!(keyring.lookup(name), was);
        assert_eq!(home.store(), before);
    }
    // A login at another remote changes the file twice.
    let other = baseten_testing::sandbox::sandbox();
    let (key, remote) = (other.new_api_key("ada").unwrap(), other.remote_url());
    let arguments =
        ["auth", "login", "--with-api-key", "--profile", &replaced, "--remote-url", &remote];
    let elsewhere = Home::at_remote(sandbox.remote_url()).with_patient_keyring(&keyring);
    elsewhere.write_store(&before);
    // Tokens in the file come back with what another program has added to them.
    let mut added = tokens("access", "refresh", LIVES);
    added["added"] = json!({ "by": "another program" });
    let with_more = store([(replaced.as_str(), in_file(&sandbox.remote_url(), &added))]);
    for (store, change) in [(&with_more, 1), (&with_more, 2), (&before, 1), (&before, 2)] {
        elsewhere.write_store(store);
        let inject = format!("renameat2:error=EIO:when={change}");
        let outcome = straced(&elsewhere, &inject, &arguments, &key);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
        assert_eq!(keyring.lookup(&replaced), Some(old.clone()));
        assert_eq!(elsewhere.store(), *store);
    }
    // If the old profile cannot come back either, nor does its key: it would go to the new remote.
    let outcome = straced(&elsewhere, "renameat2:error=EIO:when=2+", &arguments, &key);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
    assert_eq!(profile(&elsewhere, &replaced)["remote_url"], remote);
    assert_eq!(keyring.lookup(&replaced), None);
    // The same with a helper.
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "helper:keeper");
    home.install("docker-credential-keeper", KEEPER);
    let arguments = ["auth", "login", "--with-api-key", "--profile", "bot"];
    // Helpers rename files too, but do not fsync. The first fsync is not the store's.
    let outcome = straced(&home, "fsync:error=EIO:when=2", &arguments, &new);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert_eq!(fs::read_dir(home.path().join("vault")).unwrap().count(), 0);
}

#[test]
fn an_entry_that_is_no_text_is_replaced_by_a_login_and_put_back_by_one_that_fails() {
    let (sandbox, keyring) = (sandbox(), KeyringSession::start());
    let key = sandbox.api_key("ada").unwrap();
    let home = Home::at(&sandbox).with_patient_keyring(&keyring);
    let home = home.with("BASETEN_CREDENTIAL_STORE", "keyring");
    let name = only_profile(&home, "no-text", elsewhere(&sandbox.remote_url(), "api_key"));
    let garbage = b"\xff\xfe\0k";
    keyring.store_bytes(&name, garbage, &[]);
    let outcome = home.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (3, ""), "{outcome}");
    assert!(outcome.stderr.contains("hint: "), "{outcome}");
    let arguments = ["auth", "login", "--with-api-key", "--profile", &name];
    let outcome = straced(&home, "renameat2:error=EIO:when=1", &arguments, &key);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert_eq!(keyring.lookup_bytes(&name).as_deref(), Some(&garbage[..]));
    let outcome = home.log_in(&key, &name, &[]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert_eq!(keyring.lookup(&name), Some(key.clone()));
    keyring.store_bytes(&name, garbage, &[]);
    let outcome = home.run(&["auth", "logout"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert_eq!(keyring.lookup_bytes(&name), None);

    // Helpers should store text. One that returns other bytes is not broken, though.
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "helper:keeper");
    home.install("docker-credential-keeper", KEEPER);
    home.log_in(&key, "bot", &[]).succeeded();
    let kept = fs::read_dir(home.path().join("vault")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&kept).unwrap();
    let (before, after) = text.split_once(&key).unwrap();
    fs::write(&kept, [before.as_bytes(), b"\xff", after.as_bytes()].concat()).unwrap();
    assert_eq!(home.run(&["auth", "token"]).status, 3);
    home.log_in(&key, "bot", &[]).succeeded();
    assert_eq!(home.run(&["auth", "token"]).stdout.trim(), key);
}

#[test]
fn a_refresh_keeps_what_it_does_not_know_of_an_entry() {
    let (sandbox, keyring) = (sandbox(), KeyringSession::start());
    let name = name("unknown-members");
    let mut entry = session(&sandbox, "ada", -60);
    entry["note"] = json!({ "theirs": [1.50, "é"] });
    keyring.store(&name, &entry.to_string(), &[]);
    let in_keyring = Home::at(&sandbox).with_patient_keyring(&keyring);

    let mut with_helper = session(&sandbox, "ada", -60);
    with_helper["note"] = entry["note"].clone();
    let answer = json!({ "ServerURL": "", "Username": name, "Secret": with_helper.to_string() });
    let in_helper = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "helper:one");
    in_helper.install("docker-credential-one", "case $1 in get) cat kept;; *) cat > kept;; esac");
    fs::write(in_helper.path().join("kept"), answer.to_string()).unwrap();

    for home in [&in_keyring, &in_helper] {
        let profile = elsewhere(&sandbox.remote_url(), "oauth");
        home.write_store(&store([(name.as_str(), profile)]));
        let outcome = home.run(&["auth", "token"]);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
        let kept = match fs::read_to_string(home.path().join("kept")) {
            Ok(text) => {
                let item: Value = serde_json::from_str(&text).unwrap();
                item["Secret"].as_str().unwrap().to_owned()
            }
            Err(_) => keyring.lookup(&name).unwrap(),
        };
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept["access_token"], json!(outcome.stdout.trim()));
        assert_eq!(kept["note"], entry["note"]);
    }
}

#[test]
fn a_helper_that_fails_half_way_is_told_to_undo_it() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "helper:keeper");
    home.install("docker-credential-keeper", KEEPER);
    let (old, new) = (sandbox.api_key("ada").unwrap(), sandbox.new_api_key("ada").unwrap());
    assert_eq!(home.log_in(&old, "bot", &[]).status, 0);
    // It stores what it is given, but reports a failure the first time.
    let fail = "[ $1 != store ] || [ -e failed ] || { touch failed; echo half way; exit 1; }";
    home.install("docker-credential-keeper", &format!("{KEEPER}\n{fail}"));
    let outcome = home.log_in(&new, "bot", &[]);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(outcome.stderr.contains("half way"), "{outcome}");
    assert_eq!(home.run(&["auth", "token"]).stdout.trim(), old);
}

#[test]
fn a_login_over_an_old_one_ends_the_old_session() {
    let sandbox = sandbox_with(|config| config.auto_approve = Some("ada".into()));
    let keyring = KeyringSession::start();
    let home = Home::at(&sandbox).with_patient_keyring(&keyring);
    // From one storage to the other and back, while the old session is still valid.
    for storage in ["keyring", "keyring", "file", "file", "keyring"] {
        let home_ = Home::at(&sandbox)
            .with_patient_keyring(&keyring)
            .with("BASETEN_CREDENTIAL_STORE", storage)
            .with("BASETEN_CONFIG_DIR", home.path().to_str().unwrap());
        let outcome =
            home_.run(&["auth", "login", "--web", "--no-browser", "--profile", "ended-session"]);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert!(!outcome.stderr.contains("warning"), "{outcome}");
        assert_eq!(sandbox.session_count("ada"), 1, "{storage}");
        let token = home_.run(&["auth", "token"]);
        assert!(sandbox.is_live(token.stdout.trim()), "{token}");
    }
}

#[test]
fn a_logout_with_an_unreachable_keyring_fails() {
    let sandbox = sandbox();
    let keyring = KeyringSession::start();
    let home = Home::at(&sandbox).with_keyring(&keyring).with("BASETEN_KEYRING_TIMEOUT", "1");
    let bot = only_profile(&home, "kept", elsewhere(&sandbox.remote_url(), "oauth"));
    let tokens = session(&sandbox, "ada", 3600);
    keyring.store(&bot, &tokens.to_string(), &[]);
    let before = home.store();
    keyring.freeze();
    let mut outcome = home.run(&["auth", "logout"]);
    outcome.stderr = outcome.stderr.replace(&bot, "kept");
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
    assert_eq!(home.store(), before);
    keyring.thaw();
    let outcome = home.run(&["auth", "logout"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!((keyring.lookup(&bot), sandbox.session_count("ada")), (None, 0));
}

fn start_pass(sandbox: &Sandbox) -> Pass {
    find("docker-credential-pass", "golang-docker-credential-helpers");
    let home = Home::at(sandbox).with("BASETEN_CREDENTIAL_STORE", "helper:pass");
    Pass::start(home.with("BASETEN_KEYRING_TIMEOUT", "30"))
}

#[test]
fn a_session_in_pass_is_refreshed_there_again_and_again() {
    let sandbox = sandbox_with(|config| {
        config.auto_approve = Some("ada".into());
        // So short that every command refreshes.
        config.access_token_lifetime = Duration::from_secs(30);
    });
    let pass = start_pass(&sandbox);
    let home = &pass.home;
    let name = name("refreshed in pass");
    let outcome = home.run(&["auth", "login", "--web", "--no-browser", "--profile", &name]);
    assert_eq!(outcome.status, 0, "{outcome}");
    let mut seen = Vec::new();
    for round in 1..=3 {
        let outcome = home.run(&["auth", "token"]);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
        assert!(sandbox.is_live(outcome.stdout.trim()));
        assert_eq!(sandbox.refresh_count(), round);
        assert!(!seen.contains(&outcome.stdout));
        seen.push(outcome.stdout);
    }
    assert_eq!(read(home)["profiles"][&name]["oauth_credential"], Value::Null);
    let outcome = home.run(&["auth", "logout"]);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert_eq!(sandbox.session_count("ada"), 0);
}

#[test]
fn profiles_of_any_name_in_pass_give_their_own_secret_or_a_clear_error() {
    let sandbox = sandbox();
    let pass = start_pass(&sandbox);
    let home = &pass.home;
    // The helper uses the user name as a file name, and takes the first file that it finds.
    let names = ["bot", "a b", "ünïcode-é", "a@b.c:host", "a/b", "a", "a/b/c", "..", "../x", "%2e"];
    let mut stored = Vec::new();
    for name in names {
        let key = sandbox.new_api_key("ada").unwrap();
        let outcome = home.log_in(&key, name, &[]);
        match outcome.status {
            0 => stored.push((name, key)),
            1 => assert!(outcome.stderr.starts_with("error: docker-credential-pass"), "{outcome}"),
            _ => panic!("{name}: {outcome}"),
        }
    }
    let mut given = 0;
    for (name, key) in &stored {
        let outcome = home.run(&["auth", "token", "--profile", name]);
        match outcome.status {
            0 => {
                assert_eq!(outcome.stdout.trim(), key, "{name}: {outcome}");
                given += 1;
            }
            1 | 3 => {
                assert_eq!(outcome.stdout, "", "{name}");
                assert!(outcome.stderr.contains("docker-credential-pass"), "{name}: {outcome}");
            }
            _ => panic!("{name}: {outcome}"),
        }
    }
    assert!(given >= 4, "{given} of {}", stored.len());

    // What another program stored under such a name is not used for the profile either.
    let mut profile = elsewhere(&sandbox.remote_url(), "api_key");
    profile["credential_helper"] = json!("pass");
    home.write_store(&store([("x/y", profile)]));
    let url = format!("{}/cli/x%2Fy", sandbox.remote_url());
    let item = json!({ "ServerURL": url, "Username": "x/y", "Secret": "its-key" });
    let script = format!("printf %s '{item}' | docker-credential-pass store");
    pass.run("sh", "dash", &["-c", &script]);
    let outcome = home.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
    assert!(outcome.stderr.contains("it answered for another user name"), "{outcome}");
}
