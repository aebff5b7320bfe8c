"""Many networks at once, in miniature: each way trains the same networks, and the ledger says how fast."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import ledger, networks


def test_grouped_networks_score_like_each_alone() -> None:
    case = networks.Case(3, width=4, count=5)
    alone, (images, _, draws) = case.all_networks(), case.joined()
    together, images = networks.Grouped(alone), case.shown(images, draws)
    expected = torch.stack([network(batch) for network, batch in zip(alone, images, strict=True)])
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(together(images), expected, rtol=1e-4, atol=1e-5)


def test_many_networks_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pool(count: int, mp_context: Any, **options: Any) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(count, **options)  # a process takes seconds to begin

    monkeypatch.setattr(networks, "ProcessPoolExecutor", pool)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(ledger, "RESULTS", tmp_path)
    threads = torch.get_num_threads()
    rows = networks.on_cpu(networks.Case(2, 4, 3), 1, compiling=False, parallel=True)
    assert torch.get_num_threads() == threads
    names = [one["name"].partition(": ")[2] for one in rows]
    assert names == [
        "one after the other", "vmap", "grouped convolutions", "grouped convolutions, channels-last",
        "one after the other", "threads", "processes",
    ]  # fmt: skip
    for one in rows:
        assert one["value"] > 0
        assert ("ratio" in one) == (not one["name"].endswith("one after the other"))
    stored = json.loads((tmp_path / "networks_4.json").read_text())
    assert networks.on_gpu() == []  # there is none
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(networks, "resolve_device", lambda name: torch.device("cpu"))
    rows = networks.on_gpu(1, networks.Case(2, 4, 3))
    assert [one["name"] for one in rows[::4]] == ["width 32: one after the other", "width 128: one after the other"]
    assert len(json.loads((tmp_path / "networks_cuda.json").read_text())) == len(rows) == 8
    assert stored[0]["command"].endswith("networks --width 4 --rounds 1 --networks 2 --images 3 --parallel")
