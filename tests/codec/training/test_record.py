import logging
from pathlib import Path

import pytest
import torch

from codec.training.run_dir import write_record


def test_other_threads_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Catches a resumed run that ends with other weights than it would have, without a word."""
    for threads, warned in ((2, False), (2, False), (3, True)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            write_record(tmp_path, 5)
        assert (
            "started with 2 threads, goes on with 3; weights will not be the same bit by bit"
            in caplog.text
        ) == warned
