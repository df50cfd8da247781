from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
from huggingface_hub import constants as hub_constants

from graphium.chem.featurizer import Featurizer
from graphium.errors import GraphiumError
from graphium.models.hub import pull
from graphium.models.push import push_to_hub
from graphium.models.saved import SavedModel, load_model, save_model
from graphium.nn.network import build_network
from graphium.types import Task, group_tasks


class Hub(ThreadingHTTPServer):
    """As much of the hub as finding, fetching and committing files takes, at a local address."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.created: list[dict[str, Any]] = []
        self.fetched: list[str] = []
        self.refusal = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | str:
        """The commit and the files of a branch or commit, or the code of an error."""
        branches = self.repositories.get(name)
        if branches is None:
            return "RepoNotFound"
        for branch, files in branches.items():
            content = json.dumps({key: hashlib.sha1(value).hexdigest() for key, value in files.items()}, sort_keys=True)
            commit = hashlib.sha1(f"{name}{branch}{content}".encode()).hexdigest()
            if revision in (branch, commit):
                return commit, files
        return "RevisionNotFound"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def _send(self, status: int, body: Any = b"", **headers: str) -> None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.server.refusal:
            return self._send(self.server.refusal, {"error": "no"})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            found = self.server.find(match[1], match[3] or "main")
            if isinstance(found, str):
                return self._send(404, {"error": found}, X_Error_Code=found)
            commit, files = found
            if match[2] == "tree":
                oids = {name: hashlib.sha1(data).hexdigest() for name, data in files.items()}
                listing = [{"type": "file", "path": n, "size": len(d), "oid": oids[n]} for n, d in files.items()]
                return self._send(200, listing)
            return self._send(200, {"id": match[1], "sha": commit, "siblings": [{"rfilename": n} for n in files]})
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            found = self.server.find(match[1], match[2])
            if isinstance(found, str) or match[3] not in found[1]:
                return self._send(404, {}, X_Error_Code="EntryNotFound")
            data = found[1][match[3]]
            self.server.fetched.append(match[3])
            return self._send(200, data, X_Repo_Commit=found[0], ETag=f'"{hashlib.sha1(data).hexdigest()}"')
        return self._send(404, {})

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refusal:
            return self._send(self.server.refusal, {"error": "no"})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.server.repositories:
                return self._send(409, {"url": f"{self.server.address}/{name}"})
            self.server.created.append(asked)
            self.server.repositories[name] = {"main": {}}
            return self._send(200, {"url": f"{self.server.address}/{name}"})
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/(.+)", path)
        assert match, path
        branches = self.server.repositories[match[1]]
        if match[2] == "branch":
            if match[3] in branches:
                return self._send(409, {"error": "exists"})
            branches[match[3]] = dict(branches["main"])
            return self._send(200, {})
        if match[2] == "preupload":
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            return self._send(200, {"files": files})
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                branches[match[3]][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                del branches[match[3]][entry["value"]["path"]]
        return self._send(200, {"commitUrl": f"{self.server.address}/{match[1]}/commit/1", "commitOid": "1" * 40})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()

    for name, value in {
        "ENDPOINT": server.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(hub_constants, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    featurizer = Featurizer(atom_onehot=["atomic-number"], encodings=[])
    heads = group_tasks([Task("y", "alpha", "graph", "regression")])
    torch.manual_seed(0)
    save_model(tmp_path / "model", build_network(featurizer.spec, heads, width=8), featurizer, heads)
    return tmp_path / "model"


def _same(one: SavedModel, other: SavedModel) -> bool:
    state = other.network.state_dict()
    return one.heads == other.heads and all(torch.equal(v, state[n]) for n, v in one.network.state_dict().items())


def test_there_and_back(hub: Hub, folder: Path) -> None:
    (folder / "calibration.safetensors").write_bytes(b"numbers")
    (folder / "notes.txt").write_text("private")
    assert push_to_hub(folder, "lab/model-1") == "hub:lab/model-1"
    files = hub.repositories["lab/model-1"]["main"]
    assert sorted(files) == ["README.md", "calibration.safetensors", "config.yaml", "model.safetensors"]
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert b'gf.load_model("hub:lab/model-1")' in files["README.md"] and b"path/to" not in files["README.md"]
    assert not hub.created[0].get("private") and hub.created[0].get("visibility") != "private"
    saved = load_model("hub:lab/model-1")
    assert _same(saved, load_model(folder))
    assert saved.folder is not None and (saved.folder / "calibration.safetensors").read_bytes() == b"numbers"


def test_a_loaded_model_and_one_that_was_never_on_a_disk(hub: Hub, folder: Path) -> None:
    saved = load_model(folder)
    push_to_hub(saved, "lab/one", private=True)
    assert hub.created[0].get("private") or hub.created[0].get("visibility") == "private"
    made = SavedModel(saved.network, saved.featurizer, saved.heads)
    push_to_hub(made, "lab/two")
    assert _same(load_model("hub:lab/two"), saved)


def test_a_revision_is_a_branch(hub: Hub, folder: Path) -> None:
    push_to_hub(folder, "lab/model", revision="v1.0")
    assert hub.repositories["lab/model"]["main"] == {}
    assert _same(load_model("hub:lab/model@v1.0"), load_model(folder))
    with pytest.raises(GraphiumError, match="holds no model of graphium"):
        load_model("hub:lab/model")
    with pytest.raises(GraphiumError, match="has no such revision"):
        load_model("hub:lab/model@v2")


def test_what_lay_beside_earlier_weights_goes(hub: Hub, folder: Path) -> None:
    (folder / "domain.safetensors").write_bytes(b"of the first")
    push_to_hub(folder, "lab/model")
    hub.repositories["lab/model"]["main"]["other.txt"] = b"kept"
    (folder / "domain.safetensors").unlink()
    push_to_hub(folder, "lab/model")
    assert sorted(hub.repositories["lab/model"]["main"]) == [
        "README.md",
        "config.yaml",
        "model.safetensors",
        "other.txt",
    ]


def test_files_of_a_stranger_are_not_fetched(hub: Hub, folder: Path, tmp_path: Path) -> None:
    push_to_hub(folder, "lab/model")
    strange = ["evil.py", "__init__.py", "pytorch_model.bin", "../../escaped.yaml", "sub/config.yaml", "config.yaml.py"]
    hub.repositories["lab/model"]["main"] |= dict.fromkeys(strange, b"import os")
    loaded = load_model("hub:lab/model")
    assert _same(loaded, load_model(folder)) and loaded.folder is not None
    assert sorted(path.name for path in loaded.folder.iterdir()) == ["README.md", "config.yaml", "model.safetensors"]
    assert not {*hub.fetched} & {*strange}
    assert not [path for path in tmp_path.rglob("*") if path.name in ("escaped.yaml", "evil.py")]


def test_a_hostile_model_is_refused(hub: Hub, folder: Path) -> None:
    push_to_hub(folder, "lab/model")
    hub.repositories["lab/model"]["main"]["config.yaml"] = b"model: !!python/name:os.system\n"
    with pytest.raises(GraphiumError, match="cannot be read"):
        load_model("hub:lab/model")


def test_what_was_fetched_is_there_without_a_network(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push_to_hub(folder, "lab/model")
    load_model("hub:lab/model")
    hub.shutdown()
    hub.server_close()
    assert _same(load_model("hub:lab/model"), load_model(folder))
    with pytest.raises(GraphiumError, match="cannot be reached .*; go online"):
        load_model("hub:lab/other")
    with pytest.raises(GraphiumError, match="cannot be reached"):
        push_to_hub(folder, "lab/model")
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(GraphiumError, match="cannot be reached"):
        load_model("hub:lab/other")


def test_a_repository_that_does_not_exist(hub: Hub) -> None:
    with pytest.raises(GraphiumError, match="'hub:lab/none' is not on the hub, or is private"):
        load_model("hub:lab/none")


def test_without_permission(hub: Hub, folder: Path) -> None:
    hub.refusal = 403
    with pytest.raises(GraphiumError, match="403.*hf auth login") as caught:
        push_to_hub(folder, "lab/model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["", "model", "a/b/c", "../b", "a/..", "a/../b", "/a/b", "a b/c", "a/b\n", "a/-b", "a/b--c", "https://x/y", "ä/b"],
)
def test_names_that_are_none(name: str, folder: Path) -> None:
    with pytest.raises(GraphiumError, match="is no name of a repository"):
        pull(f"hub:{name}")
    with pytest.raises(GraphiumError, match="is no name of a repository"):
        push_to_hub(folder, name)


@pytest.mark.parametrize("revision", ["../../x", "a/../b", "/etc", "a b", "-x", "x@y"])
def test_revisions_that_are_none(revision: str) -> None:
    with pytest.raises(GraphiumError, match="is no revision of a/b"):
        pull(f"hub:a/b@{revision}")


def test_only_models_are_sent(hub: Hub, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("private")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(secret)
    with pytest.raises(GraphiumError, match="is a link to another file"):
        push_to_hub(folder, "lab/model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GraphiumError, match="holds no model"):
        push_to_hub(tmp_path / "empty", "lab/model")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(GraphiumError, match="is damaged"):
        push_to_hub(folder, "lab/model")
    assert hub.repositories == {}


def test_what_is_no_model_is_not_sent() -> None:
    with pytest.raises(GraphiumError, match="a model is named by a text or a path, not by a NoneType"):
        push_to_hub(None, "org/name")  # type: ignore[arg-type]
