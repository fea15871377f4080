"""Coding agents as their makers ship them, with a token that `baseten auth setup` has them ask for.

Runs without a network, against the sandbox and a server on loopback that plays the inference API:
it takes the token that is stored at the moment, and answers 401 to any other.

    prove.py BASETEN SANDBOX
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).parent
BASETEN, SANDBOX = sys.argv[1:3]
ANSWER = "the-answer-of-the-model"


def profile(home):
    store = json.loads((home / ".config/baseten/auth.json").read_text())
    return store, store["profiles"][store["current"]]


class Inference(BaseHTTPRequestHandler):
    """Plays `/v1/messages` and `/v1/responses`, as streams."""

    home = None
    seen = []

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        self.answer(200, "application/json", json.dumps({"data": [], "models": []}))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        path = self.path.split("?")[0]
        good = token == profile(self.home)[1]["oauth_credential"]["access_token"]
        self.seen.append((path, good, token))
        if not good:
            self.answer(401, "application/json", '{"error":{"message":"bad token"}}')
        elif path == "/v1/messages":
            self.answer(200, "text/event-stream", messages(json.loads(body)))
        elif path == "/v1/responses":
            self.answer(200, "text/event-stream", responses())
        else:
            self.answer(200, "application/json", '{"input_tokens": 1}')

    def answer(self, status, kind, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def events(items):
    return "".join(f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n" for kind, data in items)


def messages(request):
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": request.get("model"),
               "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    return events([
        ("message_start", {"message": message}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": ANSWER}}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}),
        ("message_stop", {}),
    ])


def responses():
    text = {"type": "output_text", "text": ANSWER, "annotations": []}
    item = {"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    usage = {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 1,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2}
    done = {"id": "r", "object": "response", "status": "completed", "output": [item], "usage": usage}
    return events([
        ("response.created", {"response": {"id": "r", "object": "response", "status": "in_progress"}}),
        ("response.output_item.added", {"output_index": 0, "item": {**item, "content": []}}),
        ("response.output_text.delta", {"item_id": "i", "output_index": 0, "content_index": 0, "delta": ANSWER}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": done}),
    ])


def run(command, environment, home):
    ended = subprocess.run([str(word) for word in command], env=environment, cwd=home / "work", text=True,
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    if ended.returncode:
        sys.exit(f"{command}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}\n{Inference.seen}")
    return ended.stdout


def expire(home):
    """The stored token has ended; the next one who asks gets another."""
    store, current = profile(home)
    current["oauth_credential"]["expiry"] = "2020-01-01T00:00:00Z"
    (home / ".config/baseten/auth.json").write_text(json.dumps(store))


def prove(agent, command, environment, home, baseten):
    baseten("auth", "setup", agent, "--model", "a-model")
    for expired in (False, True):
        if expired:
            expire(home)
        Inference.seen.clear()
        said = run(command, environment, home)
        assert ANSWER in said, (agent, said, Inference.seen)
        good = [path for path, good, _ in Inference.seen if good]
        bad = [path for path, good, _ in Inference.seen if not good]
        assert good and not bad, (agent, Inference.seen)
        print(f"{agent}: {len(good)} requests with the {'next' if expired else 'first'} token", flush=True)
    token = profile(home)[1]["oauth_credential"]["access_token"]
    for file in [*home.glob(".claude/**/*"), *home.glob(".codex/**/*")]:
        if file.is_file():
            assert token.encode() not in file.read_bytes(), f"the token is in {file}"


def main():
    with tempfile.TemporaryDirectory() as directory:
        home = pathlib.Path(directory)
        (home / "work").mkdir()
        sandbox = subprocess.Popen([SANDBOX, "--port", "0", "--json", "--auto-approve", "ada", "--device-interval", "1"],
                                   stdout=subprocess.PIPE, text=True)
        try:
            remote = json.loads(sandbox.stdout.readline())["remote_url"]
            server = ThreadingHTTPServer(("127.0.0.1", 0), Inference)
            Inference.home = home
            threading.Thread(target=server.serve_forever, daemon=True).start()
            environment = {
                "HOME": directory, "PATH": os.environ["PATH"], "BASETEN_REMOTE_URL": remote,
                "BASETEN_INFERENCE_BASE_URL_OVERRIDE": f"http://127.0.0.1:{server.server_port}",
                "DISABLE_TELEMETRY": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_AUTOUPDATER": "1", "DISABLE_ERROR_REPORTING": "1", "CLAUDE_CODE_MAX_RETRIES": "2",
            }

            def baseten(*words):
                return run([BASETEN, *words], environment, home)

            baseten("auth", "login", "--web", "--no-browser", "--insecure-storage")
            programs = HERE / "node_modules/.bin"
            prove("claude-code", [programs / "claude", "-p", "say something"], environment, home, baseten)
            settings = home / ".codex/config.toml"
            settings.parent.mkdir()
            settings.write_text("check_for_update_on_startup = false\n\n[analytics]\nenabled = false\n")
            prove("codex", [programs / "codex", "exec", "--skip-git-repo-check", "say something"], environment, home, baseten)
        finally:
            sandbox.kill()


main()
