//! Tests of what is shipped: the static program with the command's own tests, the Debian package on
//! a clean system root, and the other packages with their own tools.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use fs_err as fs;

use crate::dist::{self, Target};
use crate::needs::Need;
use crate::process::{Outcome, cargo, command, output, poll, root, run, spawn};
use crate::system::{DEBOOTSTRAP, System};

pub(crate) const NEEDS: &[Need] = &[
    Need::Program("musl-gcc", "musl-tools"),
    Need::Program("dpkg-deb", "dpkg"),
    DEBOOTSTRAP,
    Need::Program("openssl", "openssl"),
    Need::Program("lintian", "lintian"),
    Need::Program("rpmbuild", "rpm"),
    Need::Program("makepkg", "makepkg"),
    Need::Program("fakeroot", "fakeroot"),
    Need::Program("bsdtar", "libarchive-tools"),
    Need::Program("pacman", "pacman-package-manager"),
    Need::Program("curl", "curl"),
    Need::Program("wget", "wget"),
    Need::Program("python3", "python3"),
    Need::Program("shellcheck", "shellcheck"),
    Need::Program("nix-instantiate", "nix-bin"),
    Need::Program("ruby", "ruby"),
];

/// Runs the command's tests with the static program: its name look-ups, trusted certificates,
/// keyring.
pub(crate) fn static_build(words: &[&str]) -> Outcome {
    let program = dist::build(Target::HERE)?;
    let mut test = cargo(["test", "--locked", "--package", "baseten-cli", "--test", "it"]);
    test.env("BASETEN_TEST_BINARY", program).arg("--").args(words);
    run(&mut test)
}

/// Installs, uses and removes the package on a system with only Debian's essential packages.
pub(crate) fn package(_: &[&str]) -> Outcome {
    dist::make(&[Target::HERE])?;
    let lintian = ["--fail-on", "error,warning", "--allow-root"];
    run(command("lintian", lintian).arg(package_file()?))?;
    let system = CleanSystem::make()?;
    system.has_all_of_the_package()?;
    let version = concat!("baseten version ", env!("CARGO_PKG_VERSION"));
    expect(&system.run("baseten --version")?, version)?;
    expect(&system.run("baseten auth status; echo $?")?, "3")?;
    system.names_and_certificates()?;
    system.run("dpkg --remove baseten")?;
    let left = system.run("dpkg --listfiles baseten 2>&1; find / -xdev -name '*baseten*' -not -path '/proc/*' -not -path '/var/lib/dpkg/*' -not -name '*.deb'; true")?;
    if left.lines().any(|line| line.starts_with('/') && line.contains("baseten")) {
        return Err(format!("the package left behind: {left}").into());
    }
    system.0.remove()?;
    run(&mut command("packaging/prove.sh", ["dist"]))
}

fn expect(text: &str, part: &str) -> Outcome {
    if text.contains(part) { Ok(()) } else { Err(format!("no \"{part}\" in: {text}").into()) }
}

/// A clean system with the package in it.
struct CleanSystem(System);

impl CleanSystem {
    fn make() -> Outcome<Self> {
        let system = Self(System::make("package", &[])?);
        fs::copy(package_file()?, system.path("baseten.deb"))?;
        system.run("dpkg --install /baseten.deb")?;
        Ok(system)
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path(inside)
    }

    /// What a shell prints there; an error if its last command fails.
    fn run(&self, script: &str) -> Outcome<String> {
        let mut shell = command("chroot", [self.0.root()]);
        shell
            .args(["/bin/sh", "-c", script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root");
        println!("  # {script}");
        let output =
            spawn(shell.stdout(Stdio::piped()).stderr(Stdio::piped()))?.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(text) } else { Err(format!("{script}: {text}").into()) }
    }

    fn has_all_of_the_package(&self) -> Outcome {
        for file in [
            "usr/bin/baseten",
            "usr/share/man/man1/baseten-auth-login.1.gz",
            "usr/share/bash-completion/completions/baseten",
            "usr/share/zsh/vendor-completions/_baseten",
            "usr/share/fish/vendor_completions.d/baseten.fish",
            "usr/share/doc/baseten/copyright",
        ] {
            if !self.path(file).exists() {
                return Err(format!("the package has no {file}").into());
            }
        }
        Ok(())
    }

    /// A name in `/etc/hosts`, and `localhost`; an authority in the system's collection, and in
    /// `SSL_CERT_FILE`. The static program does not use the C library of Debian's own programs for
    /// any of these.
    fn names_and_certificates(&self) -> Outcome {
        let server = TlsServer::start()?;
        fs::write(self.path("etc/hosts"), "127.0.0.1 localhost api.baseten.test\n")?;
        let ask = |host: &str, more: &str| {
            self.run(&format!(
                "{more} BASETEN_API_KEY=key BASETEN_MANAGEMENT_API_URL_OVERRIDE=https://{host}:{} baseten whoami 2>&1; true",
                server.port
            ))
        };
        expect(&ask("api.baseten.test", "")?, "certificate")?;
        fs::copy(server.authority(), self.path("authority.pem"))?;
        expect(&ask("api.baseten.test", "SSL_CERT_FILE=/authority.pem")?, "ada@example.com")?;
        fs::create_dir_all(self.path("etc/ssl/certs"))?;
        fs::copy(server.authority(), self.path("etc/ssl/certs/ca-certificates.crt"))?;
        expect(&ask("api.baseten.test", "")?, "ada@example.com")?;
        expect(&ask("localhost", "")?, "ada@example.com")
    }
}

fn package_file() -> Outcome<PathBuf> {
    let mut entries = fs::read_dir(root().join("dist"))?.flatten().map(|entry| entry.path());
    let package = entries.find(|path| path.extension().is_some_and(|kind| kind == "deb"));
    package.ok_or_else(|| "no Debian package in dist/".into())
}

/// `openssl s_server` with one answer, on its own port.
struct TlsServer {
    directory: tempfile::TempDir,
    child: Child,
    port: u16,
}

impl TlsServer {
    fn start() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        certificates(directory.path())?;
        let answers = directory.path().join("v1/users");
        fs::create_dir_all(&answers)?;
        fs::write(
            answers.join("me"),
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"user_id\": \"u\", \"email\": \"ada@example.com\"}",
        )?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let files = ["s_server", "-quiet", "-HTTP", "-cert", "server.pem", "-key", "server.key"];
        let mut openssl = command("openssl", files);
        openssl
            .args(["-accept", &format!("127.0.0.1:{port}")])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log"))?.into_file());
        let child = spawn(&mut openssl)?;
        let server = Self { directory, child, port };
        let connect = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        if poll(Duration::from_secs(5), connect).is_some() {
            return Ok(server);
        }
        let said = fs::read_to_string(server.directory.path().join("log"))?;
        Err(format!("openssl s_server does not listen: {said}").into())
    }

    fn authority(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and its certificate for the server's two names.
fn certificates(directory: &Path) -> Outcome {
    const SCRIPT: &str = "\
set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=Authority \
    -addext keyUsage=keyCertSign -keyout authority.key -out authority.pem
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server \
    -keyout server.key -out server.csr
printf 'subjectAltName=DNS:localhost,DNS:api.baseten.test\\n' >server.ext
openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 \
    -extfile server.ext -out server.pem
";
    let mut shell = command("sh", ["-c", SCRIPT]);
    output(shell.current_dir(directory)).map(|_| ())
}
