"""``cormorant serve`` as a process: keys, kills, signals."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from serving import Process, make_birds

import cormorant as cm
from cormorant.__main__ import main

NDJSON = {"content-type": "application/x-ndjson"}


def cormorant(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cormorant", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_serve_with_keys_and_stop(tmp_path: Path) -> None:
    birds, keys = make_birds(tmp_path / "birds.cm"), tmp_path / "keys.json"
    made = cormorant("serve", "--new-key", "ann", "--keys", keys, "--right", "birds=write")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    with Process(birds, "--keys", keys) as server:
        assert httpx2.get(f"{server.url}/v1/collections").status_code == 401
        with httpx2.Client(base_url=server.url, headers={"X-API-Key": key}) as client:
            body = {"query": "fish"}
            found = client.post("/v1/collections/birds/search", json=body)
            assert len(found.json()["hits"]) == 2
            line = json.dumps({"id": "new", "text": "a pelican"})
            url = "/v1/collections/birds/documents"
            assert client.post(url, content=line, headers=NDJSON).json()["added"] == 1
            assert "server" not in found.headers
        assert server.stop() == 0
    with cm.Collection.open(birds) as collection:
        assert collection.search("pelican").ids == ["new"]
    assert key not in "".join(server.logged)


def test_kill_9_during_a_bulk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()

    def upload(url: str, numbers: range) -> int:
        lines = (json.dumps({"id": f"d{n}", "text": f"fish {n}"}) + "\n" for n in numbers)
        answer = httpx2.post(
            f"{url}/v1/collections/c/documents", content="".join(lines), headers=NDJSON, timeout=30
        )
        return int(answer.json()["added"])

    with Process("--root", root) as server:
        created = httpx2.post(f"{server.url}/v1/collections", json={"name": "c"})
        assert created.status_code == 201
        assert upload(server.url, range(1500)) == 1500
        # A bulk cut off in its middle: some whole transactions of it are in, or none.
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as opened:
            opened.sendall(
                b"POST /v1/collections/c/documents HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n"
            )
            for n in range(1500, 4200):
                opened.sendall(json.dumps({"id": f"d{n}", "text": f"fish {n}"}).encode() + b"\n")
            server.kill()
    with Process("--root", root) as server:
        there = httpx2.get(f"{server.url}/v1/collections/c").json()["documents"]
        assert there >= 1500
        assert (there - 1500) % 1000 == 0, "each transaction is whole or absent"
        assert upload(server.url, range(1500, 4200)) == 2700
        described = httpx2.get(f"{server.url}/v1/collections/c").json()
        assert described["documents"] == 4200
        assert httpx2.post(f"{server.url}/v1/collections/c/check").json()["ok"]
        assert server.stop() == 0


def test_without_keys_only_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    birds = make_birds(tmp_path / "birds.cm")

    def serve(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["cormorant", "serve", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        assert serve(birds, "--host", host) == 2
        assert "--new-key" in capsys.readouterr().err
    assert serve() == 2
    assert serve(tmp_path / "nothing.cm") == 4
    assert serve("--root", tmp_path / "nothing") == 2
    assert serve(birds, "--keys", tmp_path / "none.json") == 2
    assert serve("--new-key", "ann") == 2
    monkeypatch.setenv("CORMORANT_THREADS", "many")
    assert serve(birds) == 2
    assert "CORMORANT_THREADS" in capsys.readouterr().err
