//! One session for many hosts, in a KV engine of OpenBao.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baseten_sandbox::Sandbox;
use baseten_testing::bao::{Bao, Cluster, Fault, POLICY, Proxy, ROOT, STORE, ask, free_port, path};
use baseten_testing::docs::block;
use baseten_testing::faults::{falls_asleep_before, is_root, straced};
use baseten_testing::home::Home;
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::{approve, sandbox, sandbox_with};
use baseten_testing::server::{Server, answer};
use baseten_testing::stored::{name, profile, read};
use baseten_testing::wait::until;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A browser login. The environment says where it is stored.
fn log_in(home: &Home, sandbox: &Sandbox, profile: &str) -> Outcome {
    let running = home.start(&["auth", "login", "--web", "--profile", profile]);
    approve(sandbox, "ada");
    running.end()
}

/// Another host with the same profiles.
fn host_like(home: &Home, other: Home) -> Home {
    other.write_store(&home.store());
    other
}

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
fn a_machine_that_was_asleep_claims_the_refresh_again() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let mut home = bao.home(&sandbox, ROOT);
    let name = name("fleet");
    assert_eq!(log_in(&home, &sandbox, &name).status, 0);
    bao.expire(&sandbox, &name);
    let version = || bao.secret(&sandbox, &name)["metadata"]["version"].as_u64().unwrap();
    let before = version();
    if !falls_asleep_before(&mut home, sandbox.port()) {
        return;
    }
    let outcome = home.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert!(sandbox.is_live(outcome.stdout.trim()));
    assert_eq!(sandbox.refresh_count(), 1);
    // Four writes: a claim, which is given up, and another claim, and then the new tokens.
    assert_eq!(version(), before + 4);
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

/// Gets a token on hosts that share only the engine, in this many processes each.
fn fleet(hosts: &[Home], processes: usize) -> Vec<Running> {
    let hide = "for place in /tmp /var/tmp /dev/shm /run/user; do
        [ -d $place ] && { mount -t tmpfs none $place || exit 99; }; done";
    let script =
        format!("cp '{}' /mnt/baseten && cd / && {hide}; exec /mnt/baseten auth token", baseten());
    let script = format!(
        "mount -t tmpfs none /mnt || exit 99; mkdir /mnt/home && cp -a \"$HOME/.config\" /mnt/home && export HOME=/mnt/home && {script}"
    );
    let arguments = ["--mount", "sh", "-c", &script];
    let start = |home: &Home| {
        Running::start(&mut home.command_of(find("unshare", "util-linux"), &arguments))
    };
    (0..processes).flat_map(|_| hosts.iter().map(start)).collect()
}

#[test]
fn hosts_that_share_a_session_refresh_it_once_for_each_end_of_its_tokens() {
    if !is_root("mount namespaces") {
        return;
    }
    let sandbox = sandbox_with(|config| config.latency = Duration::from_millis(300));
    let bao = Bao::start();
    let one = bao.home(&sandbox, &bao.token(POLICY, 600));
    let name = name("fleet");
    assert_eq!(log_in(&one, &sandbox, &name).status, 0);
    let two = host_like(&one, bao.home(&sandbox, ROOT));
    let hosts = [one, two];
    for end in 1..=3 {
        bao.expire(&sandbox, &name);
        let outcomes: Vec<_> = fleet(&hosts, 10).into_iter().map(Running::end).collect();
        for outcome in &outcomes {
            assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
            assert_eq!(outcome.stdout, outcomes[0].stdout);
        }
        assert_eq!(sandbox.refresh_count(), end);
    }
    assert!(sandbox.is_live(hosts[0].run(&["auth", "token"]).stdout.trim()));
    assert!(bao.secret(&sandbox, &name)["data"]["claim"].is_null());
}

#[test]
fn nothing_is_sent_to_the_remote_while_another_host_refreshes() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let home = bao.home(&sandbox, ROOT);
    let name = name("fleet");
    assert_eq!(log_in(&home, &sandbox, &name).status, 0);
    bao.expire(&sandbox, &name);
    bao.claim(&sandbox, &name, "another", 4);
    let running = home.start(&["auth", "token"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sandbox.refresh_count(), 0);
    // The claim has run out.
    let outcome = running.end();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert_eq!(sandbox.refresh_count(), 1);
}

#[test]
fn a_refresh_that_is_refused_gives_the_claim_up() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let home = bao.home(&sandbox, ROOT);
    let name = name("fleet");
    assert_eq!(log_in(&home, &sandbox, &name).status, 0);
    bao.expire(&sandbox, &name);
    let busy = Server::start([answer(503, "", "{}")]);
    let home = home.with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", busy.url("localhost", ""));
    assert_eq!(home.run(&["auth", "token"]).status, 6);
    assert!(bao.secret(&sandbox, &name)["data"]["claim"].is_null());
    // Behind a gateway that has lost the answer, the server may still be working.
    let gateway = Server::start([answer(504, "", "")]);
    let mut home = home.with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", gateway.url("localhost", ""));
    assert_eq!(home.run(&["auth", "token"]).status, 6);
    assert!(!bao.secret(&sandbox, &name)["data"]["claim"].is_null());
    bao.claim(&sandbox, &name, "gone", -1);
    home.unset("BASETEN_MANAGEMENT_API_URL_OVERRIDE");
    home.run(&["auth", "token"]).succeeded();
    bao.expire(&sandbox, &name);
    sandbox.end_sessions("ada");
    let ended = home.run(&["auth", "token"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (3, ""), "{ended}");
    assert!(bao.secret(&sandbox, &name)["data"]["claim"].is_null());
}

#[test]
fn the_token_of_the_engine_is_sent_to_no_other_server() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let token = bao.token(POLICY, 600);
    let home = bao.home(&sandbox, &token);
    let name = name("fleet");
    assert_eq!(log_in(&home, &sandbox, &name).status, 0);
    bao.expire(&sandbox, &name);
    // It is not sent to the remote, where the session is refreshed.
    let remote = Server::start([answer(503, "", "{}")]);
    let home = home.with("BASETEN_MANAGEMENT_API_URL_OVERRIDE", remote.url("localhost", ""));
    assert_eq!(home.run(&["auth", "token"]).status, 6);
    let refresh = remote.requests().concat();
    assert!(!refresh.is_empty() && !refresh.contains(&token), "{refresh}");
    // It is not sent to where the engine redirects.
    let elsewhere = Server::start([answer(200, "", "{}")]);
    let location = format!("Location: {}\r\n", elsewhere.url("127.0.0.1", "/v1/secret"));
    let engine = Server::start((0..100).map(|_| answer(307, &location, "")));
    let home = home.with("BAO_ADDR", engine.url("127.0.0.1", ""));
    let running = home.start(&["auth", "token"]);
    until("the engine was asked again", || engine.requests().len() > 2);
    running.signal(Signal::INT);
    assert_eq!(running.end().status, 130);
    assert!(engine.requests().concat().contains(&token));
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
}

#[test]
fn an_answer_that_says_nothing_is_looked_up_and_no_refresh_is_made_twice() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let home = bao.home(&sandbox, ROOT);
    let name = name("fleet");
    assert_eq!(log_in(&home, &sandbox, &name).status, 0);
    // Requests 0 and 1 look, and 2 writes the claim. If that went wrong, 3 looks again, or else it
    // stores.
    let faults = [Fault::AnswerLost, Fault::RequestLost, Fault::Status(307), Fault::Status(400)];
    let more = [Fault::Status(500), Fault::Status(503), Fault::Status(412), Fault::Status(473)];
    // If only one process has the new tokens, it tries to store them again after these as well.
    let definite = [Fault::Status(403), Fault::Status(404), Fault::Status(418)];
    let mut refreshes = 0;
    for fault in faults.into_iter().chain(more).chain(definite) {
        for at in [1, 2, 3] {
            if at == 1 && matches!(fault, Fault::Status(400))
                || at < 3 && matches!(fault, Fault::Status(403 | 404 | 418))
            {
                continue;
            }
            bao.expire(&sandbox, &name);
            let through =
                Proxy::start(
                    vec![bao.port],
                    move |number, _| {
                        if number == at { fault } else { Fault::None }
                    },
                );
            let host =
                host_like(&home, bao.home(&sandbox, ROOT)).with("BAO_ADDR", through.address());
            let outcome = host.run(&["auth", "token"]);
            assert_eq!(
                (outcome.status, outcome.stderr.as_str()),
                (0, ""),
                "{fault:?} {at}: {outcome}"
            );
            refreshes += 1;
            assert_eq!(sandbox.refresh_count(), refreshes, "{fault:?} {at}");
            assert!(sandbox.is_live(outcome.stdout.trim()), "{fault:?} {at}");
            assert_eq!(home.run(&["auth", "token"]).stdout, outcome.stdout, "{fault:?} {at}");
            assert!(bao.secret(&sandbox, &name)["data"]["claim"].is_null(), "{fault:?} {at}");
        }
    }
    // It tries again even if that goes on for a while.
    bao.expire(&sandbox, &name);
    let through = Proxy::start(vec![bao.port], |number, _| match number {
        3..=9 => Fault::Status(403),
        _ => Fault::None,
    });
    let host = host_like(&home, bao.home(&sandbox, ROOT)).with("BAO_ADDR", through.address());
    let outcome = host.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert_eq!(home.run(&["auth", "token"]).stdout, outcome.stdout);
    refreshes += 1;
    // A look shows an older version, after every write without an answer.
    bao.expire(&sandbox, &name);
    let through = Proxy::start(vec![bao.port], move |number, line| match number {
        2 | 5 => Fault::AnswerLost,
        3 | 6 if line.starts_with("GET") => Fault::Older,
        _ => Fault::None,
    });
    let host = host_like(&home, bao.home(&sandbox, ROOT)).with("BAO_ADDR", through.address());
    let outcome = host.run(&["auth", "token"]);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    assert_eq!(sandbox.refresh_count(), refreshes + 1);
    assert!(sandbox.is_live(home.run(&["auth", "token"]).stdout.trim()));
}

#[test]
fn if_a_host_is_killed_at_any_step_another_host_takes_over() {
    let (bao, sandbox) = (Bao::start(), sandbox());
    let home = bao.home(&sandbox, ROOT);
    let name = name("fleet");
    assert_eq!(log_in(&home, &sandbox, &name).status, 0);
    let (mut step, mut lost) = (0, 0);
    loop {
        step += 1;
        bao.expire(&sandbox, &name);
        let before = sandbox.refresh_count();
        let inject = format!("connect:signal=SIGKILL:when={step}");
        let killed = straced(&home, &inject, &["auth", "token"], "");
        if killed.status == 0 {
            break;
        }
        let data = bao.secret(&sandbox, &name)["data"].clone();
        let is_claimed = !data["claim"].is_null();
        if is_claimed {
            assert_eq!(data["claim"]["by"], data["nonce"]);
            bao.claim(&sandbox, &name, "gone", -1);
        }
        let other = host_like(&home, bao.home(&sandbox, ROOT));
        let next = other.run(&["auth", "token"]);
        if sandbox.refresh_count() == before + 2 {
            // It was killed when only it had the new tokens: the one case that ends a session.
            assert!(is_claimed && next.status == 3, "{step}: {next}");
            lost += 1;
            assert_eq!(log_in(&home, &sandbox, &name).status, 0);
        } else {
            assert_eq!((next.status, next.stderr.as_str()), (0, ""), "{step}: {next}");
            assert_eq!(sandbox.refresh_count(), before + 1, "{step}");
            assert!(sandbox.is_live(next.stdout.trim()), "{step}");
        }
    }
    // Two looks, the claim and the write of the new tokens are one connection each, on one thread.
    assert!(step >= 5 && lost == 1, "{step} {lost}");
}

mod slow_tests {
    use super::*;

    #[test]
    fn an_engine_that_is_slow_is_not_taken_for_a_host_that_refreshes() {
        let (bao, sandbox) = (Bao::start(), sandbox());
        let home = bao.home(&sandbox, ROOT);
        let name = name("fleet");
        assert_eq!(log_in(&home, &sandbox, &name).status, 0);
        bao.expire(&sandbox, &name);
        // When the answer to a claim comes, too little of the claim is left.
        let slow = Proxy::start(vec![bao.port], move |_, line| {
            if line.starts_with("POST") {
                std::thread::sleep(Duration::from_secs(6));
            }
            Fault::None
        });
        let outcome = home.with("BAO_ADDR", slow.address()).run(&["auth", "token"]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (6, ""), "{outcome}");
        assert!(outcome.stderr.contains("too slow"), "{outcome}");
        assert_eq!(sandbox.refresh_count(), 0);
    }

    #[test]
    fn a_server_that_is_sealed_or_away_ends_a_command_after_half_a_minute() {
        let (bao, sandbox) = (Bao::start(), sandbox());
        let sealed = bao.home(&sandbox, ROOT);
        assert_eq!(log_in(&sealed, &sandbox, &name("fleet")).status, 0);
        bao.must("PUT", "sys/seal", &json!({}));
        let away = format!("http://127.0.0.1:{}", free_port());
        let away = host_like(&sealed, bao.home(&sandbox, ROOT)).with("BAO_ADDR", away);
        let running = [(sealed, "sealed"), (away, "cannot connect")]
            .map(|(home, says)| (home.start(&["auth", "token"]), home, says));
        for (running, _home, says) in running {
            let outcome = running.end();
            assert_eq!((outcome.status, outcome.stdout.as_str()), (6, ""), "{outcome}");
            assert!(outcome.stderr.contains(says), "{outcome}");
        }
    }
}

mod fleet_tests {
    use super::*;

    /// Three hosts, each of which tries the nodes in another order.
    fn hosts(cluster: &Cluster, sandbox: &Sandbox, name: &str) -> Vec<Home> {
        let proxy = |index| Proxy::start(cluster.ports_from(index), |_, _| Fault::None);
        let host = |index| {
            let bao = cluster.api();
            bao.home(sandbox, &cluster.root).with("BAO_ADDR", proxy(index).address())
        };
        let first = host(0);
        assert_eq!(log_in(&first, sandbox, name).status, 0);
        let (second, third) = (host_like(&first, host(1)), host_like(&first, host(2)));
        vec![first, second, third]
    }

    #[test]
    #[ignore = "takes a minute; `cargo xtask test fleet` runs it"]
    fn a_leader_that_is_killed_in_the_middle_of_a_refresh_costs_nobody_the_session() {
        let sandbox = sandbox_with(|config| config.latency = Duration::from_millis(500));
        let mut cluster = Cluster::start();
        let name = name("fleet");
        let hosts = hosts(&cluster, &sandbox, &name);
        for round in 1..=3 {
            cluster.expire(&sandbox, &name);
            let running = fleet(&hosts, 20);
            until("it is refreshed", || sandbox.refresh_count() == round);
            let leader = cluster.leader();
            cluster.kill(leader);
            let mut tokens = BTreeSet::new();
            for outcome in running.into_iter().map(Running::end) {
                assert!(matches!(outcome.status, 0 | 6), "{outcome}");
                tokens.extend((outcome.status == 0).then_some(outcome.stdout));
            }
            assert_eq!(sandbox.refresh_count(), round, "{tokens:?}");
            assert_eq!(tokens.len(), 1, "{tokens:?}");
            cluster.bring_back(leader);
            let after = hosts[round % 3].run(&["auth", "token"]).succeeded();
            assert!(tokens.contains(&after.stdout) && sandbox.is_live(after.stdout.trim()));
        }
    }

    #[test]
    #[ignore = "takes a quarter of an hour; `cargo xtask test fleet` runs it"]
    #[expect(clippy::print_stderr, reason = "the figure of the page about performance")]
    fn a_session_outlives_a_hundred_ends_of_its_tokens_while_nodes_are_killed_in_turn() {
        // A token is replaced a minute before its end: here, after three seconds.
        let sandbox = sandbox_with(|config| config.access_token_lifetime = Duration::from_secs(63));
        let mut cluster = Cluster::start();
        let name = name("fleet");
        let hosts = hosts(&cluster, &sandbox, &name);
        let first = cluster.api().secret(&sandbox, &name)["data"]["credential"].to_string();
        let (done, mut odd) = (AtomicBool::new(false), Vec::new());
        let (mut tokens, mut late, mut restarts) = (BTreeSet::new(), 0, 0);
        std::thread::scope(|scope| {
            // The cluster has to outlive the thread that kills its nodes.
            let (done, restarts, cluster) = (&done, &mut restarts, &mut cluster);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    cluster.kill(*restarts % 3);
                    std::thread::sleep(Duration::from_secs(5));
                    cluster.bring_back(*restarts % 3);
                    *restarts += 1;
                    std::thread::sleep(Duration::from_secs(5));
                }
            });
            while sandbox.refresh_count() < 100 && odd.is_empty() {
                for outcome in fleet(&hosts, 2).into_iter().map(Running::end) {
                    match outcome.status {
                        0 => drop(tokens.insert(outcome.stdout)),
                        6 => late += 1,
                        _ => odd.push(outcome.to_string()),
                    }
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        assert_eq!(odd, Vec::<String>::new());
        let last = hosts[0].run(&["auth", "token"]).succeeded();
        assert!(sandbox.is_live(last.stdout.trim()));
        tokens.insert(last.stdout);
        let refreshes = sandbox.refresh_count();
        eprintln!(
            "{refreshes} refreshes, {} tokens, {restarts} restarts, {late} ended with 6",
            tokens.len()
        );
        // The first token is not from a refresh.
        tokens.retain(|token| !first.contains(token.trim()));
        assert_eq!(refreshes, tokens.len());
    }
}
