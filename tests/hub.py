"""A small model hub on the loopback interface, and clients of it in processes of their own.

It answers what huggingface_hub asks to resolve, list and download a model repository: the commit of a branch, the tree
of a commit, and files by HEAD and GET, weights being redirected as the real hub does to its file store. Refusals have
the real hub's status and headers.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
STORED = (".safetensors", ".bin")
TOKEN = "hf_aReaderOfGatedModels"


@dataclass
class Repository:
    """Files of each commit by name, and the commit of each branch."""

    gated: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)


class Hub:
    """The repositories of the server and the requests that it received: (method, repository/file) -> count."""

    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[str, Repository] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.together = 1
        """A weight file is sent only when so many clients have asked for its size, or after 20 s."""
        self.changed = Condition()

    def push(self, source: str, folder: Path, branch: str = "main", *, gated: bool = False) -> str:
        """Make the files of the folder a commit, and move the branch to it."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        listing = "".join(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
        commit = hashlib.sha1(listing.encode()).hexdigest()
        repository = self.repositories.setdefault(source, Repository(gated))
        repository.commits[commit] = files
        repository.branches[branch] = commit
        return commit

    def note(self, method: str, name: str) -> None:
        """Count a request."""
        with self.changed:
            self.requests[method, name] += 1
            self.changed.notify_all()

    def sent(self) -> dict[str, int]:
        """Return how often the body of each file was sent."""
        return {
            name: count for (method, name), count in self.requests.items() if method == "GET" and "/api/" not in name
        }


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a hub without repositories while the block runs."""
    hub = Hub()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def start_client(code: str, url: str, home: Path, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Run Python code in a process whose hub is `url` and whose cache is below `home`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ours = {"HF_ENDPOINT": url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1,localhost"}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env={**inherited, **ours, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        if self.headers.get("Authorization", f"Bearer {TOKEN}") != f"Bearer {TOKEN}":
            self._send(401, X_Error_Message="Invalid credentials in Authorization header")
        elif path.startswith("store/"):
            assert "Authorization" not in self.headers, "the token is for the hub alone"
            self._stored(*path.removeprefix("store/").split("/", 3))
        else:
            owner, name, action, revision, file = (*path.removeprefix("api/models/").split("/", 4), *[""] * 4)[:5]
            self._repository(f"{owner}/{name}", action, revision, file)

    def _repository(self, source: str, action: str, revision: str, file: str) -> None:
        known, has_token = self.hub.repositories.get(source), "Authorization" in self.headers
        if known is None:  # the real hub does not say which are private
            return self._send(404, X_Error_Code="RepoNotFound") if has_token else self._send(401)
        commit = known.branches.get(revision or "main", revision)
        if commit not in known.commits:
            return self._send(404, X_Error_Code="RevisionNotFound")
        files = known.commits[commit]
        if action == "resolve":
            if known.gated and not has_token:
                return self._send(401, X_Error_Code="GatedRepo")
            return self._resolve(source, commit, file, files)
        self.hub.note(self.command, f"/api/{source}/{action}")
        if action == "tree":
            return self._send(200, json.dumps([_entry(name, data) for name, data in files.items()]).encode())
        siblings = [{"rfilename": name} for name in files]
        answer = {"id": source, "sha": commit, "siblings": siblings, "gated": known.gated and "auto", "private": False}
        return self._send(200, json.dumps(answer).encode())

    def _resolve(self, source: str, commit: str, file: str, files: Mapping[str, bytes]) -> None:
        if file not in files:
            return self._send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        data, tag = files[file], f'"{hashlib.sha256(files[file]).hexdigest()}"'
        if not file.endswith(STORED):
            self.hub.note(self.command, f"{source}/{file}")
            return self._send(200, data, ETag=tag, X_Repo_Commit=commit)
        self.hub.note("HEAD", f"{source}/{file}")
        # Another host than the hub's, so that the client neither asks it for a commit nor shows it the token.
        place = f"http://localhost:{self.server.server_address[1]}/store/{source}/{commit}/{file}"
        headers = {"X_Linked_Size": str(len(data)), "X_Linked_ETag": tag, "X_Repo_Commit": commit}
        return self._send(302, Location=place, **headers)

    def _stored(self, owner: str, name: str, commit: str, file: str) -> None:
        source = f"{owner}/{name}"
        self.hub.note(self.command, f"{source}/{file}")
        with self.hub.changed:
            self.hub.changed.wait_for(lambda: self.hub.requests["HEAD", f"{source}/{file}"] >= self.hub.together, 20)
        self._send(200, self.hub.repositories[source].commits[commit][file])

    def _send(self, status: int, data: bytes = b"", **headers: str) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            status, headers = 206, headers | {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        self.send_response(status)
        for name, value in {"Content_Length": str(len(data) - start), "Accept_Ranges": "bytes", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[start:])


def _entry(name: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    if name.endswith(STORED):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
