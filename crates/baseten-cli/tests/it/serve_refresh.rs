//! `auth serve`: one refresh for containers, hosts and jobs, whatever happens meanwhile.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use baseten_sandbox::Request;
use baseten_testing::counterparts::Issuer;
use baseten_testing::docs::block;
use baseten_testing::faults::set_mode;
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::lender::{Lender, ends, failed, with_session, with_two};
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::{sandbox, sandbox_with};
use baseten_testing::stored::{
    REMOTE, elsewhere, ends_in, in_file, name, only_profile, profile, session, store, tokens_of,
};
use baseten_testing::wait::{self, PATIENCE};
use rustix::process::Signal;
use serde_json::json;

/// A client in its own namespaces, with only the program, its libraries and the directory of the
/// socket.
fn contained(directory: &Path, arguments: &[&str]) -> Running {
    let mut command = std::process::Command::new(find("bwrap", "bubblewrap"));
    command.args(["--unshare-all", "--die-with-parent", "--clearenv", "--ro-bind", "/usr", "/usr"]);
    for library in ["lib", "lib64"] {
        command.args(["--symlink", &format!("usr/{library}"), &format!("/{library}")]);
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--ro-bind", baseten(), "/baseten"]);
    command.arg("--bind").arg(directory).arg("/run/b");
    command.args(["--setenv", "BASETEN_AUTH_SOCK", "/run/b/auth.sock", "/baseten"]);
    command.args(arguments);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Running::start(&mut command)
}

#[test]
fn sixty_four_containers_get_the_token_of_one_refresh() {
    let sandbox = sandbox();
    let (home, name) = with_session(&sandbox, -1);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("auth.sock");
    let lender = Lender::start(&home, &["--socket", socket.to_str().unwrap()]);
    let clients: Vec<_> =
        (0..64).map(|_| contained(directory.path(), &["auth", "token"])).collect();
    let tokens: Vec<_> = clients.into_iter().map(|it| it.end().succeeded().stdout).collect();
    let stored = tokens_of(&home, &name)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(tokens, vec![format!("{stored}\n"); 64]);
    assert_eq!(sandbox.refresh_count(), 1);
    // A new lender has a new socket, and containers see it: the directory is bound, not the socket.
    ends(lender.running, Signal::TERM);
    let _lender = Lender::start(&home, &["--socket", socket.to_str().unwrap()]);
    let outcome = contained(directory.path(), &["auth", "token"]).end().succeeded();
    assert_eq!(outcome.stdout.trim(), stored);
}

#[test]
fn a_token_that_a_server_refuses_is_replaced_once_for_all() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let mut tokens = session(&sandbox, "ada", 3600);
    tokens["issued_at"] = json!(ends_in(-600));
    let name = only_profile(&home, "lent", in_file(&sandbox.remote_url(), &tokens));
    let lender = Lender::start(&home, &[]);
    let refused = tokens_of(&home, &name)["access_token"].as_str().unwrap().to_owned();
    let clients: Vec<_> = (0..16).map(|_| lender.client()).collect();
    let arguments = ["auth", "token", "--refused-stdin"];
    let running: Vec<_> = clients
        .iter()
        .map(|client| Running::with_input(&mut client.command(&arguments), &refused))
        .collect();
    let new: Vec<_> = running.into_iter().map(|it| it.end().succeeded().stdout).collect();
    assert!(new.iter().all(|token| *token == new[0] && token.trim() != refused), "{new:?}");
    assert_eq!(sandbox.refresh_count(), 1);
    // A server that refuses everything does not cause refreshes in a loop.
    let outcome = clients[0].run_with_input(&arguments, &new[0]);
    failed(&outcome, 3, "refused");
    assert_eq!(sandbox.refresh_count(), 1);
}

#[test]
fn a_revoked_token_is_replaced_in_the_middle_of_a_command() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let mut tokens = session(&sandbox, "ada", 3600);
    tokens["issued_at"] = json!(ends_in(-600));
    only_profile(&home, "lent", in_file(&sandbox.remote_url(), &tokens));
    sandbox.expire_access_tokens();
    let lender = Lender::start(&home, &[]);
    let outcome = lender.client().run(&["whoami"]).succeeded();
    assert!(outcome.stdout.contains("ada@example.com"), "{outcome}");
    assert_eq!(sandbox.refresh_count(), 1);
}

#[test]
fn an_api_key_that_a_server_refuses_is_not_given_out_again() {
    let home = with_two();
    let lender = Lender::start(&home, &["--profile", "key"]);
    let outcome = lender.client().run_with_input(&["auth", "token", "--refused-stdin"], "the-key");
    failed(&outcome, 3, "the server refused the API key");
}

#[test]
fn a_lender_that_is_stopped_finishes_what_it_is_answering() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = sandbox_with(|config| config.latency = Duration::from_millis(1500));
        let (home, name) = with_session(&sandbox, -1);
        let lender = Lender::start(&home, &[]);
        let client = lender.client().start(&["auth", "token"]);
        sandbox.wait_for_request(PATIENCE, Request::is_refresh).unwrap();
        let ended = ends(lender.running, signal);
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""), "{ended}");
        let stored = tokens_of(&home, &name)["access_token"].as_str().unwrap().to_owned();
        assert_eq!(client.end(), Outcome::done(&format!("{stored}\n")));
        assert!(sandbox.is_live(&stored));
    }
}

#[test]
fn a_lender_that_is_killed_in_a_refresh_leaves_the_store_whole() {
    let sandbox = sandbox_with(|config| config.latency = Duration::from_millis(1500));
    let (home, name) = with_session(&sandbox, -1);
    let before = home.store();
    let lender = Lender::start(&home, &[]);
    let socket = lender.socket().to_owned();
    let client = lender.client().start(&["auth", "token"]);
    sandbox.wait_for_request(PATIENCE, Request::is_refresh).unwrap();
    lender.running.signal(Signal::KILL);
    failed(&client.end(), 6, socket.to_str().unwrap());
    assert_eq!(home.store(), before);
    assert!(!profile(&home, &name).is_null());
    // Its socket is still there, and the next lender replaces it.
    assert!(socket.exists());
    let next = Lender::start(&home, &[]);
    assert_eq!(next.socket(), socket);
    assert!(next.ask(&json!({"v": 1, "op": "profiles"}))["ok"].is_object());
}

#[test]
fn a_locked_keyring_is_the_clients_answer() {
    let keyring = KeyringSession::start();
    let home = Home::new().with_patient_keyring(&keyring);
    let name = name("lent");
    home.write_store(&store([(&*name, elsewhere(REMOTE, "api_key"))]));
    keyring.store(&name, "kept-key", &[]);
    let lender = Lender::start(&home, &[]);
    assert_eq!(lender.client().run(&["auth", "token"]), Outcome::done("kept-key\n"));
    keyring.lock();
    failed(&lender.client().run(&["auth", "token"]), 1, "the system keyring is locked");
}

#[test]
fn a_workload_exchanges_its_identity_token_once_for_all() {
    let issuer = Issuer::start(&[]);
    let rule = issuer.trust_rule();
    let sandbox = sandbox_with(move |config| {
        config.trust_rules = vec![rule];
        config.access_token_lifetime = Duration::from_secs(64);
    });
    let exchanges =
        || sandbox.requests().iter().filter(|request| request.path == "/v1/auth/token").count();
    let home = Home::at(&sandbox)
        .with("BASETEN_TRUST_RULE", "ci")
        .with("BASETEN_IDENTITY_TOKEN", issuer.token(Issuer::SUBJECT, "baseten"));
    let lender = Lender::start(&home, &[]);
    let all = || {
        let clients: Vec<_> = (0..16).map(|_| lender.client().start(&["auth", "token"])).collect();
        clients.into_iter().map(|it| it.end().succeeded().stdout).collect::<Vec<_>>()
    };
    let first = all();
    assert!(first.iter().all(|token| *token == first[0]), "{first:?}");
    assert_eq!(exchanges(), 1);
    // Less than a minute is left of the first token.
    std::thread::sleep(Duration::from_secs(5));
    let second = all();
    assert!(second.iter().all(|token| *token == second[0] && *token != first[0]), "{second:?}");
    assert_eq!(exchanges(), 2);
    let status = lender.client().run(&["auth", "status", "-o", "json"]).succeeded().json();
    assert_eq!((&status["profile"], &status["auth_type"]), (&json!(""), &json!("workload")));
}

/// An SSH server on loopback, for the account that runs the tests.
struct Ssh {
    directory: tempfile::TempDir,
    port: u16,
    _server: Running,
}

impl Ssh {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        for key in ["host", "client"] {
            let mut command = std::process::Command::new(find("ssh-keygen", "openssh-client"));
            command.args(["-q", "-t", "ed25519", "-N", "", "-f", &file(key)]);
            assert!(command.status().unwrap().success());
        }
        fs::copy(file("client.pub"), file("authorized_keys")).unwrap();
        // sshd needs this directory. Normally, the package's service makes it.
        let _ = fs::create_dir("/run/sshd");
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        fs::write(
            file("config"),
            format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n",
                file("host"),
                file("authorized_keys")
            ),
        )
        .unwrap();
        let program =
            ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|it| Path::new(it).exists());
        let program = program.unwrap_or_else(|| panic!("install the package openssh-server"));
        let mut command = std::process::Command::new(program);
        command.args(["-D", "-e", "-f", &file("config")]);
        command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let server = Running::start(&mut command);
        wait::until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { directory, port, _server: server }
    }

    /// The options that `ssh` needs to get there.
    fn options(&self) -> Vec<String> {
        let (key, port) = (self.directory.path().join("client"), self.port);
        let known = "-F none -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR \
                     -o UserKnownHostsFile=/dev/null -o HostName=127.0.0.1";
        let options = format!("{known} -p {port} -i {}", key.display());
        options.split_whitespace().map(str::to_owned).collect()
    }

    /// Runs a command there, with the socket `there` forwarded to the socket `here`.
    fn run(&self, there: &Path, here: &Path, command: &str) -> Outcome {
        let mut ssh = std::process::Command::new(find("ssh", "openssh-client"));
        ssh.args(self.options()).args(["-o", "ExitOnForwardFailure=yes"]);
        ssh.arg("-R").arg(format!("{}:{}", there.display(), here.display()));
        ssh.args(["host", command]);
        ssh.stdin(std::process::Stdio::null());
        Outcome::from(ssh.output().unwrap())
    }

    /// A directory with an `ssh` that gets there.
    fn client(&self) -> std::path::PathBuf {
        let directory = self.directory.path().join("bin");
        fs::create_dir(&directory).unwrap();
        let (program, options) = (find("ssh", "openssh-client"), self.options().join(" "));
        let script = format!("#!/bin/sh\nexec {} {options} \"$@\"\n", program.display());
        fs::write(directory.join("ssh"), script).unwrap();
        set_mode(&directory.join("ssh"), 0o755);
        directory
    }
}

#[test]
fn a_login_is_lent_to_another_host_over_ssh() {
    let sandbox = sandbox();
    let (home, name) = with_session(&sandbox, -1);
    let lender = Lender::start(&home, &[]);
    let (ssh, host) = (Ssh::start(), Home::new());
    let there = host.path().join("baseten.sock");
    let variables = format!(
        "env -i HOME={} BASETEN_AUTH_SOCK={} {} auth",
        host.path().display(),
        there.display(),
        baseten()
    );
    let outcome = ssh.run(&there, lender.socket(), &format!("{variables} token")).succeeded();
    assert_eq!(outcome.stdout.trim(), tokens_of(&home, &name)["access_token"]);
    assert_eq!(sandbox.refresh_count(), 1);
    // The socket stays behind when the session ends, and is in the way of the next one.
    assert!(there.exists());
    assert_eq!(host.run(&["auth", "token"]).status, 3, "without the variable, nobody is logged in");
    let again = ssh.run(&there, lender.socket(), "true");
    assert_ne!(again.status, 0, "{again}");
    fs::remove_file(&there).unwrap();
    let list = ssh.run(&there, lender.socket(), &format!("{variables} list -o json")).succeeded();
    assert_eq!(list.json()[0]["storage"], "socket");
}

#[test]
fn the_recipe_for_an_ssh_host_works_and_leaves_no_socket_behind() {
    let recipe = block("many-machines.md", "sh", "sock=");
    let sandbox = sandbox();
    let (mut home, name) = with_session(&sandbox, 3600);
    let runtime = home.path().join("run");
    fs::create_dir(&runtime).unwrap();
    home.set("XDG_RUNTIME_DIR", runtime.to_str().unwrap());
    let _lender = Lender::start(&home, &[]);
    let (ssh, path) = (Ssh::start(), std::env::var("PATH").unwrap());
    let mut shell = home.command_of(find("sh", "dash"), &["-c", &recipe]);
    shell.env("PATH", format!("{}:{path}", ssh.client().display())).env("USER", "me");
    let there = format!("echo $BASETEN_AUTH_SOCK\n{} auth token\n", baseten());
    let outcome = Running::with_input(&mut shell, &there).end();
    let (socket, token) = outcome.stdout.split_once('\n').unwrap_or_else(|| panic!("{outcome}"));
    assert_eq!(token.trim(), tokens_of(&home, &name)["access_token"], "{outcome}");
    assert!(socket.starts_with("/tmp/baseten-me-") && !Path::new(socket).exists(), "{socket}");
}
