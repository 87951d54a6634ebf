import multiprocessing

import pytest
from numba import njit
from numba.core.event import install_listener

from codec.layers.kernels import NOTICE, CompilationNotice


def test_compilation_is_said_once(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Catches minutes of silence at the first use, and a line for each kernel."""
    monkeypatch.setattr(NOTICE, "said", True)
    notice = CompilationNotice()
    with install_listener("numba:compile", notice):
        njit(lambda x: x + 1)(1), njit(lambda x: x + 2)(1)
    assert capsys.readouterr().err == "compiling kernels for this machine: a minute or two, once\n"


def test_workers_leave_it_to_the_first_process(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """Catches the line from each process of an evaluation or of a data loader."""
    monkeypatch.setattr("codec.layers.kernels.parent_process", multiprocessing.current_process)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    notice = CompilationNotice()
    notice.on_start(None)
    assert not capsys.readouterr().err
    monkeypatch.setenv("LOCAL_RANK", "0")
    CompilationNotice().on_start(None)
    assert "compiling" in capsys.readouterr().err
