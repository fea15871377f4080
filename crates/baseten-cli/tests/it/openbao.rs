//! One session for many hosts, in a KV engine of OpenBao.

use std::fs;
use std::path::Path;
use std::time::Duration;

use baseten_testing::bao::{Bao, Fault, POLICY, Proxy, ROOT, STORE, ask, host_like, log_in, path};
use baseten_testing::docs::block;
use baseten_testing::home::Home;
use baseten_testing::outcome::Running;
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::{approve, sandbox};
use baseten_testing::stored::{name, profile, read};
use serde_json::{Value, json};

#[test]
fn a_session_is_kept_in_the_engine_with_no_more_than_the_documented_policy() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let token = bao.token(POLICY, 600);
    let mut home = bao.home(&sandbox, &token);
    let names = ["ada@example.com", "a/b", "100%", "..", "a b.c", "北京"];
    for name in names {
        let outcome = log_in(&home, &sandbox, name);
        assert_eq!(outcome.status, 0, "{outcome}");
    }
    let mut keys = bao.keys(&sandbox);
    keys.sort();
    let expected =
        ["%2E%2E", "%E5%8C%97%E4%BA%AC", "100%25", "a%20b.c", "a%2Fb", "ada%40example.com"];
    assert_eq!(keys, expected);
    assert!(!home.store().contains("_token\""), "{}", home.store());
    assert_eq!(profile(&home, "a/b")["credential_store"], STORE);
    // The profile says where its secret is.
    home.unset("BASETEN_CREDENTIAL_STORE");
    for name in names {
        let outcome = home.run(&["auth", "token", "--profile", name]);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
        assert!(sandbox.is_live(outcome.stdout.trim()), "{outcome}");
    }
    let status = home.run(&["auth", "status", "--profile", "a/b"]);
    assert!(status.stdout.contains(&format!("  Storage: {STORE}\n")), "{status}");
    let list = home.run(&["auth", "list", "-o", "json"]).json();
    assert!(list.as_array().unwrap().iter().all(|one| one["storage"] == STORE), "{list}");
    home.run(&["auth", "switch", "--profile", "100%"]).succeeded();
    for name in names {
        let outcome = home.run(&["auth", "logout", "--profile", name]);
        let expected = format!("Logged out {name}\n");
        assert_eq!((outcome.status, outcome.stdout), (0, expected), "{}", outcome.stderr);
    }
    // The secrets are gone, with all their versions.
    assert_eq!(bao.keys(&sandbox), Vec::<String>::new());
    assert_eq!(sandbox.session_count("ada"), 0);
}

#[test]
fn the_recipe_for_a_fleet_works_with_the_policy_beside_it() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let token = bao.token(&block("many-machines.md", "hcl", "path"), 600);
    let recipe = block("many-machines.md", "sh", "export BASETEN_CREDENTIAL_STORE=openbao")
        .replace("https://bao.example.com:8200", &bao.address())
        .replace("BAO_TOKEN=…", &format!("BAO_TOKEN={token}"));
    let home = Home::at(&sandbox);
    let mut shell = home.command_of(find("sh", "dash"), &["-c", &recipe]);
    let programs = Path::new(baseten()).parent().unwrap();
    shell.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
    let login = Running::start(&mut shell);
    approve(&sandbox, "ada");
    assert_eq!(login.end().status, 0);
    let other = host_like(&home, bao.home(&sandbox, &token));
    let lent = other.run(&["auth", "token"]);
    assert!(sandbox.is_live(lent.stdout.trim()), "{lent}");
    // This host has nothing of the session itself.
    assert_eq!(home.run(&["auth", "token"]).stdout, "");
}

#[test]
fn a_new_login_replaces_the_session_of_the_fleet_and_a_logout_elsewhere_is_seen() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let one = bao.home(&sandbox, ROOT);
    let name = name("fleet");
    assert_eq!(log_in(&one, &sandbox, &name).status, 0);
    // An entry that another program wrote names no place; the environment names it.
    let other = bao.home(&sandbox, ROOT);
    let mut store = read(&one);
    store["profiles"][&name].as_object_mut().unwrap().remove("credential_store");
    other.write_store(&store.to_string());
    let first = one.run(&["auth", "token"]).stdout;
    assert_eq!(other.run(&["auth", "token"]).stdout, first);
    assert_eq!(log_in(&other, &sandbox, &name).status, 0);
    let second = one.run(&["auth", "token"]).stdout;
    assert_ne!(second, first);
    assert_eq!(sandbox.session_count("ada"), 1, "the replaced session has ended");
    one.run(&["auth", "logout"]).succeeded();
    let gone = other.run(&["auth", "token"]);
    assert_eq!((gone.status, gone.stdout.as_str()), (3, ""), "{gone}");
    assert!(gone.stderr.contains(STORE), "{gone}");
    // All versions were deleted, so a new login starts at version 1.
    assert_eq!(log_in(&other, &sandbox, &name).status, 0);
    other.run(&["auth", "token"]).succeeded();
}

#[test]
fn a_login_moves_a_secret_to_another_place_of_the_engine() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let (name, key) = (name("fleet"), sandbox.api_key("ada").unwrap());
    let with_key = ["auth", "login", "--with-api-key", "--profile", &name];
    let first = "openbao:secret/elsewhere";
    for by_key in [false, true] {
        let mut home = bao.home(&sandbox, ROOT).with("BASETEN_CREDENTIAL_STORE", first);
        assert_eq!(log_in(&home, &sandbox, &name).status, 0);
        home.set("BASETEN_CREDENTIAL_STORE", STORE);
        if by_key {
            home.run_with_input(&with_key, &key).succeeded();
        } else {
            assert_eq!(log_in(&home, &sandbox, &name).status, 0);
        }
        assert_eq!(profile(&home, &name)["credential_store"], STORE);
        home.run(&["auth", "token"]).succeeded();
        let old = path(&sandbox, &name).replace("/fleet/", "/elsewhere/");
        assert_eq!(bao.ask(ROOT, "GET", &old, &Value::Null).0, 404, "the old copy is gone");
        home.run(&["auth", "logout"]).succeeded();
    }
}

#[test]
fn a_login_that_fails_leaves_what_another_host_has_stored_meanwhile() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let name = name("fleet");
    let first = bao.home(&sandbox, ROOT);
    assert_eq!(log_in(&first, &sandbox, &name).status, 0);
    let mut theirs = bao.secret(&sandbox, &name)["data"].clone();
    let text = theirs["credential"].as_str().unwrap().replace("refresh_token\":\"", "$&newer");
    (theirs["credential"], theirs["nonce"]) = (json!(text), json!("theirs"));
    let arguments = ["auth", "login", "--with-api-key", "--profile", &name];
    for there_before in [true, false] {
        if !there_before {
            first.run(&["auth", "logout"]).succeeded();
        }
        let (port, at, body) = (bao.port, path(&sandbox, &name), json!({ "data": theirs }));
        let mut refused = false;
        let through = Proxy::start(vec![port], move |_, line| {
            if refused || !line.starts_with("POST") {
                return Fault::None;
            }
            refused = true;
            assert_eq!(ask(port, ROOT, "POST", &at, &body).0, 200);
            Fault::Status(403)
        });
        let host = bao.home(&sandbox, ROOT).with("BAO_ADDR", through.address());
        let failed = host.run_with_input(&arguments, sandbox.api_key("ada").unwrap());
        assert_eq!((failed.status, failed.stdout.as_str()), (3, ""), "{failed}");
        assert_eq!(bao.secret(&sandbox, &name)["data"]["nonce"], "theirs");
    }
}

#[test]
fn a_login_that_cannot_be_stored_takes_its_secret_back() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let name = name("fleet");
    let first = bao.home(&sandbox, ROOT);
    assert_eq!(log_in(&first, &sandbox, &name).status, 0);
    let before = bao.secret(&sandbox, &name)["data"]["credential"].clone();
    let arguments = ["auth", "login", "--with-api-key", "--profile", &name];
    for there_before in [true, false] {
        if !there_before {
            first.run(&["auth", "logout"]).succeeded();
        }
        // The first write is made, but its answer is lost. Then the next request is denied.
        let mut writes = 0;
        let through = Proxy::start(vec![bao.port], move |_, line| {
            writes += usize::from(line.starts_with("POST"));
            match writes {
                1 if line.starts_with("POST") => Fault::AnswerLost,
                1 => {
                    writes = 2;
                    Fault::Status(403)
                }
                _ => Fault::None,
            }
        });
        let host = bao.home(&sandbox, ROOT).with("BAO_ADDR", through.address());
        let failed = host.run_with_input(&arguments, sandbox.api_key("ada").unwrap());
        assert_eq!((failed.status, failed.stdout.as_str()), (3, ""), "{failed}");
        if there_before {
            assert_eq!(bao.secret(&sandbox, &name)["data"]["credential"], before);
        } else {
            assert_eq!(bao.keys(&sandbox), Vec::<String>::new());
        }
    }
}

#[test]
fn a_logout_that_the_engine_refuses_leaves_the_session_to_the_others() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let (may_delete, _) = POLICY.split_once("path \"secret/metadata").unwrap();
    let home = bao.home(&sandbox, &bao.token(may_delete, 600));
    let name = name("fleet");
    assert_eq!(log_in(&home, &sandbox, &name).status, 0);
    for expired in [false, true] {
        if expired {
            bao.expire(&sandbox, &name);
        }
        let refused = home.run(&["auth", "logout"]);
        assert_eq!((refused.status, refused.stdout.as_str()), (3, ""), "{refused}");
        assert!(refused.stderr.contains("metadata"), "{refused}");
        assert!(bao.secret(&sandbox, &name)["data"]["claim"].is_null());
        assert_eq!((sandbox.session_count("ada"), sandbox.refresh_count()), (1, 0));
        let other = host_like(&home, bao.home(&sandbox, ROOT));
        assert!(sandbox.is_live(other.run(&["auth", "token"]).succeeded().stdout.trim()));
    }
}

#[test]
fn a_session_is_not_ended_while_another_host_refreshes_it() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let home = bao.home(&sandbox, ROOT);
    let name = name("fleet");
    for logs_out in [false, true] {
        assert_eq!(log_in(&home, &sandbox, &name).status, 0);
        bao.expire(&sandbox, &name);
        bao.claim(&sandbox, &name, "another", 5);
        let before = sandbox.refresh_count();
        let running = if logs_out {
            home.start(&["auth", "logout"])
        } else {
            let running = home.start(&["auth", "login", "--web", "--profile", &name]);
            approve(&sandbox, "ada");
            running
        };
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(sandbox.refresh_count(), before, "{logs_out}");
        assert_eq!(bao.secret(&sandbox, &name)["data"]["claim"]["by"], "another", "{logs_out}");
        let outcome = running.end();
        assert_eq!(outcome.status, 0, "{outcome}");
        // The session is refreshed once more to end it.
        assert_eq!(sandbox.refresh_count(), before + 1, "{logs_out}");
        assert_eq!(sandbox.session_count("ada"), usize::from(!logs_out));
    }
}

#[test]
fn a_login_that_moves_away_ends_a_shared_session_only_if_its_secret_is_gone() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let (may_not_delete, _) = POLICY.split_once("path \"secret/metadata").unwrap();
    for (policy, sessions) in [(may_not_delete, 2), (POLICY, 1)] {
        sandbox.end_sessions("ada");
        let home = bao.home(&sandbox, &bao.token(policy, 600));
        let name = name("fleet");
        assert_eq!(log_in(&home, &sandbox, &name).status, 0);
        let other = host_like(&home, bao.home(&sandbox, ROOT));
        let home = home.with("BASETEN_CREDENTIAL_STORE", "file");
        assert_eq!(log_in(&home, &sandbox, &name).status, 0);
        assert_eq!(sandbox.session_count("ada"), sessions);
        if sessions == 2 {
            assert!(bao.secret(&sandbox, &name)["data"]["claim"].is_null());
            assert!(sandbox.is_live(other.run(&["auth", "token"]).succeeded().stdout.trim()));
        }
    }
}

#[test]
fn a_change_that_fails_leaves_no_claim() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let home = bao.home(&sandbox, ROOT);
    let name = name("fleet");
    assert_eq!(log_in(&home, &sandbox, &name).status, 0);
    let login = ["auth", "login", "--with-api-key", "--profile", &name];
    // What goes wrong: for the login, the write after the claim is denied; for the token, the
    // answer to the claim is lost, and then the look for it is denied.
    for arguments in [&login[..], &["auth", "token"]] {
        let logs_in = arguments == login;
        bao.expire(&sandbox, &name);
        let before = bao.secret(&sandbox, &name);
        let mut writes = 0;
        let through = Proxy::start(vec![bao.port], move |number, line| {
            writes += usize::from(line.starts_with("POST"));
            match number {
                _ if logs_in && writes == 2 && line.starts_with("POST") => Fault::Status(403),
                2 if !logs_in => Fault::AnswerLost,
                3 if !logs_in => Fault::Status(403),
                _ => Fault::None,
            }
        });
        let host = host_like(&home, bao.home(&sandbox, ROOT)).with("BAO_ADDR", through.address());
        let failed = host.run_with_input(arguments, sandbox.api_key("ada").unwrap());
        assert_eq!((failed.status, failed.stdout.as_str()), (3, ""), "{failed}");
        let after = bao.secret(&sandbox, &name);
        assert_eq!(after["data"]["credential"], before["data"]["credential"], "{arguments:?}");
        assert!(after["data"]["claim"].is_null(), "{arguments:?}: {after}");
        // There was a claim, and it was given up.
        let version = |secret: &Value| secret["metadata"]["version"].as_u64().unwrap();
        assert_eq!(version(&after), version(&before) + 2, "{arguments:?}");
    }
}

#[test]
fn a_token_that_is_not_enough_is_told_with_the_policy_that_is() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let first = bao.home(&sandbox, ROOT);
    let name = name("fleet");
    assert_eq!(log_in(&first, &sandbox, &name).status, 0);
    let short = bao.token(POLICY, 1);
    let only_others = bao.token(&POLICY.replace("fleet", "others"), 600);
    std::thread::sleep(Duration::from_secs(2));
    for token in [short.as_str(), only_others.as_str(), "unknown"] {
        let host = host_like(&first, bao.home(&sandbox, token));
        for command in [&["auth", "token"][..], &["auth", "logout"]] {
            let outcome = host.run(command);
            assert_eq!((outcome.status, outcome.stdout.as_str()), (3, ""), "{outcome}");
            for line in POLICY.lines() {
                assert!(outcome.stderr.contains(line), "{outcome}");
            }
            assert!(!outcome.stderr.contains(token), "{outcome}");
        }
        assert_eq!(host.store(), first.store());
    }
    first.run(&["auth", "token"]).succeeded();
}

#[test]
fn an_address_or_a_token_that_is_missing_or_wrong_names_its_variable() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let first = bao.home(&sandbox, ROOT);
    assert_eq!(log_in(&first, &sandbox, &name("fleet")).status, 0);
    for (variable, value, status, says) in [
        ("BAO_ADDR", "", 2, "BAO_ADDR"),
        ("BAO_ADDR", "nonsense", 2, "BAO_ADDR"),
        ("BAO_ADDR", "http://192.0.2.1:8200", 2, "without TLS"),
        ("BAO_TOKEN", "", 3, "BAO_TOKEN"),
        ("BASETEN_CREDENTIAL_STORE", "openbao:secret", 2, "BASETEN_CREDENTIAL_STORE"),
    ] {
        let host = host_like(&first, bao.home(&sandbox, ROOT)).with(variable, value);
        let outcome = host.run(&["auth", "token"]);
        assert_eq!(
            (outcome.status, outcome.stdout.as_str()),
            (status, ""),
            "{variable}={value}: {outcome}"
        );
        assert!(outcome.stderr.contains(says), "{outcome}");
    }
    // A command that needs no secret needs none of these variables.
    let mut host = host_like(&first, Home::at(&sandbox));
    host.run(&["auth", "status"]).succeeded();
    host.run(&["auth", "list"]).succeeded();
    host.set("BAO_ADDR", "nonsense");
    host.run(&["auth", "status"]).succeeded();
    // The variables of Vault work too, and the file that its logins write.
    let mut host = host_like(&first, bao.home(&sandbox, ROOT)).with("VAULT_ADDR", bao.address());
    host.unset("BAO_ADDR");
    host.unset("BAO_TOKEN");
    fs::write(host.path().join(".vault-token"), format!("{ROOT}\n")).unwrap();
    host.run(&["auth", "token"]).succeeded();
}

#[test]
fn a_server_with_an_authority_of_its_own_and_a_namespace_are_reached() {
    let (tls, sandbox) = (Bao::with_tls(), sandbox());
    let home = tls.home(&sandbox, ROOT);
    let key = sandbox.api_key("ada").unwrap();
    let outcome = home.log_in(&key, "untrusted", &[]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (6, ""), "{outcome}");
    let home = home.with("BAO_CACERT", tls.authority());
    home.log_in(&key, "trusted", &[]).succeeded();
    assert_eq!(home.run(&["auth", "token"]).stdout.trim(), key);
    home.run(&["auth", "logout"]).succeeded();

    let bao = Bao::start();
    bao.must("POST", "sys/namespaces/team", &json!({}));
    let home = bao.home(&sandbox, ROOT).with("BAO_NAMESPACE", "team");
    let outcome = home.log_in(&key, "bot", &[]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (4, ""), "no engine there: {outcome}");
    let engine = json!({ "type": "kv", "options": { "version": "2" } });
    bao.must("POST", "team/sys/mounts/secret", &engine);
    let mut last = String::new();
    for _ in 0..20 {
        // An engine that was just made is not ready at once.
        let outcome = home.log_in(&key, "bot", &[]);
        last = outcome.to_string();
        if outcome.status == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(home.run(&["auth", "token"]).stdout.trim(), key, "{last}");
    assert_eq!(bao.keys(&sandbox), Vec::<String>::new());
}
