"""Processes that end with the one that started them, and take with them what they have started."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from types import FrameType

from codec.anchors.process import kill_running

PRELOADED = ["codec.evaluation.codecs.learned", "hydra"]


def forked() -> BaseContext:
    """Processes forked from one that has only imported, once for all of them: soon there, and
    without state of ours.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def end_with_parent() -> None:
    """In a new process: leave Ctrl-C to the parent; end on SIGTERM, or when the parent has ended in
    whatever way.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=[parent], daemon=True).start()
    Finalize(
        None, _end_children, exitpriority=1
    )  # a child of `multiprocessing` waits for its own children, which wait for work


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    _end()


def _end_children() -> None:
    for child in multiprocessing.active_children():
        child.terminate()


def _end(signal_number: int = 0, frame: FrameType | None = None) -> None:
    kill_running()
    _end_children()
    os._exit(1)
