"""One login on a network file system (GlusterFS), used by two of its clients at the same time.

Needs namespaces of its own, with a network that has no other machines:

    unshare --net --mount --pid --fork --kill-child --mount-proc prove.py BASETEN SANDBOX
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

BASETEN, SANDBOX = sys.argv[1:3]
ADDRESS = "10.83.0.1"
PROCESSES = 16
ROUNDS = 5
# How long a client of this file system may see what another has replaced.
REMEMBERED = 1.5
# Where a user's own locks are, which hosts do not share.
LOCKS = [f"{place}/baseten-auth-{os.geteuid()}" for place in ("/run/user/0", "/tmp", "/var/tmp", "/dev/shm")]


def run(*words):
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if ended.returncode:
        sys.exit(f"{words}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def until(what, condition):
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    sys.exit(f"{what}: not within 30 s")


def share(directory):
    """A file system with two clients, mounted as two hosts would have it."""
    for words in (["link", "set", "lo", "up"], ["link", "add", "shared", "type", "veth", "peer", "name", "nobody"],
                  ["addr", "add", f"{ADDRESS}/24", "dev", "shared"], ["link", "set", "shared", "up"]):
        run("ip", *words)
    for state in ("/var/lib/glusterd", "/run", "/var/log/glusterfs"):
        run("mount", "-t", "tmpfs", "none", state)
    pathlib.Path("/run/gluster").mkdir()
    subprocess.Popen(["glusterd", "--no-daemon"], stdin=subprocess.DEVNULL)
    until("glusterd", lambda: not subprocess.run(["gluster", "volume", "info"], capture_output=True).returncode)
    brick = directory / "brick"
    brick.mkdir()
    run("gluster", "--mode=script", "volume", "create", "shared", f"{ADDRESS}:{brick}", "force")
    run("gluster", "--mode=script", "volume", "start", "shared")
    mounts = [directory / name for name in ("one", "other")]
    for mount in mounts:
        mount.mkdir()
        run("mount", "-t", "glusterfs", f"{ADDRESS}:/shared", str(mount))
    return mounts


def start(mount, environment, *words):
    """The program on the host that has this mount."""
    hide = "for it; do mkdir -p $it && mount -t tmpfs none $it || exit 99; done; "
    command = hide + "exec " + " ".join(["$BASETEN", *words])
    environment = {**environment, "BASETEN": BASETEN, "BASETEN_CONFIG_DIR": str(mount / "baseten")}
    return subprocess.Popen(["unshare", "--mount", "sh", "-c", command, "sh", *LOCKS], env=environment,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process):
    out, err = process.communicate(timeout=60)
    if process.returncode:
        sys.exit(f"{process.returncode}: {err}")
    return out.strip()


def expire(mount):
    """The stored token has ended, as every client sees it."""
    file = mount / "baseten/auth.json"
    store = json.loads(file.read_text())
    store["profiles"][store["current"]]["oauth_credential"]["expiry"] = "2020-01-01T00:00:00Z"
    file.write_text(json.dumps(store))
    time.sleep(REMEMBERED)


def prove(one, other, home):
    (one / "baseten").mkdir(mode=0o700)
    sandbox = subprocess.Popen([SANDBOX, "--port", "0", "--json", "--auto-approve", "ada", "--device-interval", "1"],
                               stdout=subprocess.PIPE, text=True)
    remote = json.loads(sandbox.stdout.readline())["remote_url"]
    environment = {"HOME": home, "PATH": os.environ["PATH"], "BASETEN_REMOTE_URL": remote,
                   "BASETEN_CREDENTIAL_STORE": "file"}
    said(start(one, environment, "auth", "login", "--web", "--no-browser"))
    seen = set()
    for _ in range(ROUNDS):
        # One after the other: the second host has cached what the first one replaces.
        time.sleep(REMEMBERED)
        expire(one)
        (one / "baseten/auth.json").read_bytes()
        tokens = {said(start(mount, environment, "auth", "token")) for mount in (other, one)}
        assert len(tokens) == 1 and not tokens & seen, "the second used the refresh token again"
        seen |= tokens
        # All at once.
        time.sleep(REMEMBERED)
        expire(other)
        running = [start((one, other)[it % 2], environment, "auth", "token") for it in range(PROCESSES)]
        tokens = {said(process) for process in running}
        assert len(tokens) == 1 and not tokens & seen, tokens
        seen |= tokens
    print(f"{ROUNDS} times two processes and {PROCESSES} at once, on two clients: {len(seen)} refreshes")


def main():
    with tempfile.TemporaryDirectory() as home:
        one, other = share(pathlib.Path(home))
        try:
            prove(one, other, home)
        finally:
            for mount in (one, other):
                run("umount", "--lazy", str(mount))


main()
