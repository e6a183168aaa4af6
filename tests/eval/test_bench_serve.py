"""The serving benchmark runs whole, on data of its own size, and its callers count what comes."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console
from tiny_models import make_model

import cormorant as cm
from cormorant.errors import CormorantError
from cormorant.eval.bench import serve as bench
from cormorant.eval.bench import serve_process
from cormorant.eval.bench.serve_load import Load, send

CLIENTS = (1, bench.MANY)


@pytest.mark.soak
def test_the_whole_benchmark(tmp_path: Path) -> None:
    dense = cm.Dense(model=str(make_model(tmp_path / "model")), precision="float32")
    texts = [f"the {a} dives deep {b} fish" for a in "abcdefgh" for b in "nopqrstuvwxyz"]
    documents = [cm.Document(str(number), text) for number, text in enumerate(texts)]
    data = bench.Material("tiny", documents, None, [text[4:12] for text in texts[:40]], dense)
    plan = bench.Plan(None, 1, 5, CLIENTS, 0.8, 0.2, (30, 60))
    told = io.StringIO()
    rows, ratios = bench.run(data, plan, Console(file=told, width=200))
    by_setting = {(row["system"], row["setting"]): row for row in rows}
    for pipeline in bench.PIPELINES:
        for system in ("in process", "cormorant", "bare"):
            alone = by_setting[system, f"{pipeline}, one by one"]
            assert 0 < alone["p50_ms"] <= alone["p95_ms"] <= alone["p99_ms"]
        for clients in CLIENTS:
            crowd = by_setting["cormorant", f"{pipeline}, {clients} callers"]
            assert crowd["qps"] > 0 == crowd["refused_share"]
            assert 0 < ratios[f"{pipeline}_vs_bare@{clients}"] < 1
    assert by_setting["bare", "1 callers"]["qps"] > 0
    flood = by_setting["cormorant", "dense, queue 64, 512 callers"]
    assert 0 < flood["refused_share"] < 1
    impatient = by_setting["cormorant", "dense, queue 64, 256 impatient callers"]
    assert impatient["refused_share"] > 0
    assert ratios["batching_gain"] > 0 < ratios["overload_p99"]
    assert -50 < ratios["overhead_ms_p50"] < 1_000
    assert by_setting["cormorant", "after 60 requests"]["rss_mb"] > 20
    assert "512 callers" in told.getvalue()


class Scripted:
    """A server that gives the same answers, in turn, in pieces; then hangs up when told to."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.bodies: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            assert head.startswith(b"POST /here HTTP/1.1")
            length = 0
            while (line := await reader.readline()) != b"\r\n":
                if line.startswith(b"Content-Length:"):
                    length = int(line.split()[1])
            self.bodies.append(await reader.readexactly(length))
            answer = self.answers[(len(self.bodies) - 1) % len(self.answers)]
            for piece in (answer[:20], answer[20:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if not answer:
                break
        writer.close()
        await writer.wait_closed()


def _answered(server: Scripted, **load: object) -> dict[str, object]:
    async def run() -> dict[str, object]:
        listening = await asyncio.start_server(server, "127.0.0.1", 0)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            return await send(Load(port, "/here", ["one", "zwölf"], **load))  # type: ignore[arg-type]

    return asyncio.run(asyncio.wait_for(run(), 20))


FOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nsome answer"
REFUSED = b"HTTP/1.1 429 No\r\nretry-after: 3\r\ncontent-length: 2\r\n\r\nno"


def test_the_callers_count_answers_and_refusals() -> None:
    server = Scripted(FOUND, FOUND, REFUSED)
    came = _answered(server, clients=1, requests=9)
    assert came["statuses"] == {200: 6, 429: 3}
    assert (came["retry_after"], came["lost"]) == (3, 0)
    assert server.bodies[:3] == [b"one", "zwölf".encode(), b"one"]
    latencies = came["latencies_ms"][200]  # type: ignore[index]
    assert 0 < latencies["p50"] <= latencies["p99"] <= latencies["p100"] < 5_000


def test_callers_stop_after_their_time_and_wait_when_refused() -> None:
    came = _answered(Scripted(REFUSED), clients=2, seconds=0.5, pause_seconds=0.1)
    assert 0.5 <= came["elapsed_seconds"] < 3  # type: ignore[operator]
    assert 2 <= came["statuses"][429] <= 12  # type: ignore[index]


def test_a_broken_connection_is_counted() -> None:
    assert _answered(Scripted(FOUND, b""), clients=1, requests=5)["lost"] == 1


def test_a_strange_status_ends_the_benchmark(tmp_path: Path) -> None:
    with (
        serve_process.bare(tmp_path, b"{}") as ceiling,
        pytest.raises(CormorantError, match="404"),
    ):
        serve_process.put(Load(ceiling.port, "/nowhere", ["{}"], clients=1, requests=2))
