//! Refreshes of a session that many hosts share in a KV engine of OpenBao: once for all of them, whatever
//! gets lost, is killed, sleeps or is slow.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baseten_sandbox::Sandbox;
use baseten_testing::bao::{
    Bao, Cluster, Fault, POLICY, Proxy, ROOT, free_port, host_like, log_in,
};
use baseten_testing::faults::{falls_asleep_before, is_root, straced};
use baseten_testing::home::Home;
use baseten_testing::outcome::Running;
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::{sandbox, sandbox_with};
use baseten_testing::server::{Server, answer};
use baseten_testing::stored::name;
use baseten_testing::wait::until;
use rustix::process::Signal;
use serde_json::json;

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
