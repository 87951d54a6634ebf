import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import resources as threads

ROOT = Path(__file__).parents[2]
ASK = """
import runpy, sys
import common.resources

def asked():
    print("torch" in sys.modules)
    sys.exit()

common.resources.prepare_threads = asked
sys.argv = ["program"]
{start}
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """With nothing said about threads, on two cores of eight."""
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    monkeypatch.setattr(threads, "allowed_cores", lambda: 8)
    settled = (*threads.WAITING, *threads.ALSO_WAITING, "OMP_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in settled}
    monkeypatch.setattr(os, "environ", kept)
    return kept


def test_threads_sleep_and_are_as_many_as_the_quota(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    """Catches threads that spin beside another busy process, and eight of them in a container of
    two cores.
    """
    threads.prepare_threads()
    assert environment.items() >= {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"}.items()
    assert int(environment["GOMP_SPINCOUNT"]) <= 10_000
    del environment["OMP_NUM_THREADS"]
    monkeypatch.setattr(threads, "available_cores", lambda: 8)
    threads.prepare_threads()
    assert "OMP_NUM_THREADS" not in environment  # torch finds them itself


@pytest.mark.parametrize(
    "name, value", [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7"), ("KMP_BLOCKTIME", "0")]
)
def test_what_the_user_says_stays(environment: dict[str, str], name: str, value: str):
    """Catches a user's choice that is overridden, or undone by another variable."""
    environment |= {name: value, "OMP_NUM_THREADS": "5"}
    before = dict(environment)
    threads.prepare_threads()
    assert environment == before


@pytest.mark.parametrize(
    "start",
    [
        "runpy.run_path('train.py', run_name='__main__')",
        "runpy.run_path('eval.py', run_name='__main__')",
        "import codec.cli; codec.cli.main([])",
    ],
)
def test_threads_are_settled_before_torch_is_there(start: str):
    """Catches an import of torch above: OpenMP reads its settings when its library is loaded, and
    never again.
    """
    code = ASK.format(start=start)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stdout + done.stderr
