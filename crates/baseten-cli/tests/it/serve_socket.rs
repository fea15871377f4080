//! `auth serve`: its socket, who may ask there and how, and how much load it can take.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use baseten_testing::faults::{STRANGER, command_as, give, is_root, mode};
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::lender::{Lender, ask, ends, exit_of, failed, say, token_request, with_two};
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::program::{baseten, find};
use baseten_testing::stored::{REMOTE, elsewhere, name, store};
use baseten_testing::wait::{self, PATIENCE};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn users_who_are_not_allowed_are_refused() {
    if !is_root("other users") {
        return;
    }
    let home = with_two();
    let socket = home.path().join("lend/auth.sock");
    let client = Home::new().with("BASETEN_AUTH_SOCK", socket.to_str().unwrap());
    let ask_as =
        |user: u32| Running::start(&mut command_as(user, &client, &["auth", "token"])).end();
    let arguments = ["--socket", socket.to_str().unwrap()];
    let lender = Lender::start(&home, &arguments);
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    failed(&ask_as(STRANGER), 6, "Permission denied");
    ends(lender.running, Signal::TERM);
    fs::remove_dir(socket.parent().unwrap()).unwrap();

    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let allowed = STRANGER.to_string();
    let lender = Lender::start(&home, &[&arguments[..], &["--allow-uid", &allowed]].concat());
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o666, 0o711));
    assert_eq!(ask_as(STRANGER), Outcome::done("the-token\n"));
    wait::until("the token is told", || lender.records().len() == 2);
    assert_eq!(lender.records()[1]["uid"], STRANGER);
    let other = ask_as(STRANGER + 1);
    failed(&other, 3, &format!("user {} may not ask", STRANGER + 1));
    assert!(other.stderr.contains("--allow-uid"), "{other}");
    let outcome = ends(lender.running, Signal::TERM);
    assert!(outcome.stderr.contains(&format!("user {} got none", STRANGER + 1)), "{outcome}");
    failed(&home.run(&["auth", "serve", "--allow-uid", "ada"]), 2, "use the user's number");
}

#[test]
fn a_client_that_misbehaves_gets_an_error_and_delays_nobody_else() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    let socket = lender.socket();
    let long = vec![b'x'; 1024 * 1024];
    for bad in [&b"\n"[..], b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\n", &long] {
        assert_eq!(exit_of(&say(socket, bad)), Some(2), "{} bytes", bad.len());
    }
    let silent = UnixStream::connect(socket).unwrap();
    let half = UnixStream::connect(socket).unwrap();
    (&half).write_all(b"{\"v\":1,").unwrap();
    let cut = UnixStream::connect(socket).unwrap();
    (&cut).write_all(b"{\"v\":1,").unwrap();
    cut.shutdown(std::net::Shutdown::Write).unwrap();
    let deaf: Vec<_> = (0..40)
        .map(|_| {
            let stream = UnixStream::connect(socket).unwrap();
            (&stream).write_all(format!("{}\n", token_request()).as_bytes()).unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("the-token\n"));
    assert!(started.elapsed() < Duration::from_secs(4), "it waited for the others");
    for (mut stream, answer) in
        [(half, "not arrive in time"), (silent, "in time"), (cut, "not end")]
    {
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        assert!(told.contains(answer) && told.contains("\"exit\":2"), "{answer}: {told}");
    }
    drop(deaf);
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("the-token\n"));
}

#[test]
fn a_thousand_silent_connections_do_not_keep_others_out() {
    let home = with_two();
    // Nobody reads its messages about them on stderr, which are more than a pipe holds.
    let lender = Lender::start(&home, &[]);
    let silent: Vec<_> =
        (0..1000).filter_map(|_| UnixStream::connect(lender.socket()).ok()).collect();
    assert_eq!(silent.len(), 1000);
    let started = Instant::now();
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("the-token\n"));
    let waited = started.elapsed();
    assert!(waited < Duration::from_secs(10), "{waited:?}");
    drop(silent);
    let process = lender.running.0.id();
    let threads = || fs::read_dir(format!("/proc/{process}/task")).unwrap().count();
    wait::until("their threads have ended", || threads() < 5);
}

#[test]
fn the_protocol_is_the_one_of_the_reference() {
    let home = with_two();
    let lender = Lender::start(&home, &["--all"]);
    let granted = lender.ask(&json!({"v": 1, "op": "token", "profile": "key", "unknown": [1]}));
    let key = json!({"profile": "key", "remote_url": REMOTE, "auth_type": "api_key",
        "token": "the-key", "token_type": "Api-Key"});
    assert_eq!(granted, json!({"v": 1, "ok": key}));
    for bad in [
        json!({"v": 2, "op": "token"}),
        json!({"v": 1, "op": "refresh"}),
        json!({"op": "token"}),
        json!([]),
        json!({"v": 1, "op": "token", "min_ttl": "10m"}),
    ] {
        let answer = lender.ask(&bad);
        assert_eq!(exit_of(&answer), Some(2), "{bad}: {answer}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["hint"].is_string());
        assert!(answer["ok"].is_null());
    }
}

// The socket.

#[test]
fn the_usual_socket_is_in_the_runtime_directory_or_beside_the_store() {
    let home = with_two();
    let beside = Lender::start(&home, &[]);
    assert_eq!(beside.socket(), home.auth_json().with_file_name("auth.sock"));
    let run = home.path().join("run");
    fs::create_dir(&run).unwrap();
    let home = home.with("XDG_RUNTIME_DIR", run.to_str().unwrap());
    let lender = Lender::start(&home, &[]);
    assert_eq!(lender.socket(), run.join("baseten/auth.sock"));
    assert_eq!((mode(lender.socket()), mode(&run.join("baseten"))), (0o600, 0o700));
    // An existing directory keeps its mode.
    ends(lender.running, Signal::TERM);
    fs::set_permissions(run.join("baseten"), fs::Permissions::from_mode(0o750)).unwrap();
    let lender = Lender::start(&home, &[]);
    assert_eq!(mode(&run.join("baseten")), 0o750);
    assert!(lender.socket().exists());
}

#[test]
fn a_directory_that_root_makes_for_somebody_is_theirs() {
    if !is_root("directories of other users") {
        return;
    }
    let home = with_two();
    let run = home.path().join("run");
    fs::create_dir(&run).unwrap();
    give(&run, STRANGER);
    let home = home.with("XDG_RUNTIME_DIR", run.to_str().unwrap());
    let lender = Lender::start(&home, &[]);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(run.join("baseten")).unwrap());
    assert_eq!((owner, mode(&run.join("baseten"))), (STRANGER, 0o700));
    assert!(lender.socket().exists());
}

#[test]
fn nothing_that_is_alive_or_no_socket_is_replaced() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    let again = home.run(&["auth", "serve"]);
    failed(&again, 1, "another lender already listens at");
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("the-token\n"));
    let file = home.path().join("file");
    fs::write(&file, "precious").unwrap();
    failed(&home.run(&["auth", "serve", "--socket", file.to_str().unwrap()]), 1, "is not a socket");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let long = home.path().join("x".repeat(120));
    failed(
        &home.run(&["auth", "serve", "--socket", long.to_str().unwrap()]),
        1,
        "cannot listen at",
    );
    failed(&home.run(&["auth", "serve", "-o", "json"]), 2, "json");
}

#[test]
fn a_socket_that_was_replaced_meanwhile_is_not_removed() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    let socket = lender.socket().to_owned();
    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    ends(lender.running, Signal::TERM);
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
}

#[test]
fn systemd_hands_a_socket_over_and_is_told_when_it_is_ready() {
    let home = with_two();
    let (socket, notify) = (home.path().join("s"), home.path().join("notify"));
    let told = UnixDatagram::bind(&notify).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    let program = find("systemd-socket-activate", "systemd");
    let mut command = home.command_of(program, &["-E", "HOME", "-E", "NOTIFY_SOCKET", "-l"]);
    command.arg(&socket).args([baseten(), "auth", "serve", "-o", "jsonl"]);
    command.env("NOTIFY_SOCKET", &notify);
    let running = Running::start(&mut command);
    wait::until("it listens", || UnixStream::connect(&socket).is_ok());
    // The first connection has started the lender.
    assert_eq!(ask(&socket, &token_request())["ok"]["token"], "the-token");
    let mut message = [0; 100];
    let length = told.recv(&mut message).unwrap();
    assert_eq!(String::from_utf8_lossy(&message[..length]).trim(), "READY=1");
    let outcome = ends(running, Signal::TERM);
    assert_eq!(outcome.status, 0, "{outcome}");
    assert!(outcome.stdout.contains("\"profiles\":[\"session\"]"), "{outcome}");
    assert!(socket.exists(), "a socket that was handed over is not removed");
}

#[test]
fn the_units_of_the_package_are_sound() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let home = Home::new().with("XDG_RUNTIME_DIR", "/tmp");
    let mut verify = home.command_of(find("systemd-analyze", "systemd"), &["--user", "--man=no"]);
    verify.arg("verify");
    for unit in ["baseten-auth.socket", "baseten-auth.service"] {
        let text = fs::read_to_string(directory.join(unit)).unwrap();
        let copy = home.path().join(unit);
        fs::write(&copy, text.replace("/usr/bin/baseten", baseten())).unwrap();
        verify.arg(copy);
    }
    assert_eq!(Outcome::from(verify.output().unwrap()), Outcome::done(""));
}

#[test]
fn a_hang_up_is_ignored_without_a_terminal() {
    let home = with_two();
    let lender = Lender::start(&home, &[]);
    lender.running.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lender.ask(&token_request())["ok"]["token"], "the-token");
}

/// The memory of a process that it does not share with files, in kilobytes.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are for docs/performance.md")]
fn ten_thousand_tokens_to_thirty_two_clients_are_all_right_and_memory_stays_flat() {
    const CLIENTS: usize = 32;
    let home = with_two();
    let lender = Lender::start(&home, &["--all"]);
    let (socket, process) = (lender.socket(), lender.running.0.id());
    let take = |number: usize| {
        let started = Instant::now();
        let (profile, token) = [("session", "the-token"), ("key", "the-key")][number % 2];
        let granted = ask(socket, &json!({"v": 1, "op": "token", "profile": profile}));
        assert_eq!(granted["ok"]["token"], token, "{granted}");
        started.elapsed()
    };
    let burst = |each: usize| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| scope.spawn(move || (0..each).map(|_| take(client)).collect()))
                .collect();
            let times = clients.into_iter().map(|it| it.join().unwrap());
            times.collect::<Vec<Vec<Duration>>>().concat()
        })
    };
    burst(10);
    let before = memory(process);
    let mut times = burst(10_000 / CLIENTS + 1);
    let after = memory(process);
    times.sort();
    let share = |percent: usize| times[times.len() * percent / 100];
    eprintln!(
        "{} tokens to {CLIENTS} clients: p50 {:?}, p99 {:?}; memory {before} kB, then {after} kB",
        times.len(),
        share(50),
        share(99)
    );
    assert!(times.len() >= 10_000);
    assert!(after < before + 2048, "{before} kB, then {after} kB");
}

mod slow_tests {
    use super::*;

    #[test]
    fn a_lender_that_needs_too_long_says_so_and_one_that_is_silent_is_left() {
        let silent = Home::new();
        let path = silent.path().join("sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let silent = silent.with("BASETEN_AUTH_SOCK", path.to_str().unwrap());
        let keyring = KeyringSession::start();
        let home = Home::new().with_keyring(&keyring).with("BASETEN_KEYRING_TIMEOUT", "50");
        let name = name("lent");
        home.write_store(&store([(&*name, elsewhere(REMOTE, "api_key"))]));
        keyring.store(&name, "kept-key", &[]);
        let lender = Lender::start(&home, &[]);
        keyring.freeze();
        let started = Instant::now();
        let (late, silent) =
            (lender.client().start(&["auth", "token"]), silent.start(&["auth", "token"]));
        failed(&late.end(), 6, "the lender did not get the token within 35 s");
        let waited = started.elapsed().as_secs();
        assert!((34..40).contains(&waited), "{waited}");
        failed(&silent.end(), 6, "did not answer within 40 s");
        keyring.thaw();
    }
}
