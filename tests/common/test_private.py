import os
import pickle
from pathlib import Path

import pytest

from common.errors import CorvidError
from common.files import make_private, read_pickle, write_pickle


def test_a_private_folder_is_closed_to_others(tmp_path: Path):
    """Catches folders that follow the umask, and one that was made open before."""
    for folder in (tmp_path / "new" / "inside", tmp_path / "open"):
        (tmp_path / "open").mkdir(mode=0o777, exist_ok=True)
        assert make_private(folder).stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_user_is_not_taken_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches a folder with a known name in /tmp that somebody made first, or a link to one."""
    (tmp_path / "link").symlink_to(make_private(tmp_path / "theirs"))
    with pytest.raises(CorvidError, match="link: .*remove it, or choose another"):
        make_private(tmp_path / "link")
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(
        CorvidError, match=f"theirs: belongs to user {me} .*remove it, or choose another"
    ):
        make_private(tmp_path / "theirs")


def test_a_pickle_of_others_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches a pickle that others could have written: reading it would run what they like."""
    folder = make_private(tmp_path / "mine")
    write_pickle(folder / "a.pickle", {"a": 1})
    assert read_pickle(folder / "a.pickle") == {"a": 1}
    assert (folder / "a.pickle").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_pickle(folder / "a.pickle", {"a": 2})
    folder.chmod(0o777)
    with pytest.raises(CorvidError, match="mine: user .* others can write to it"):
        read_pickle(folder / "a.pickle")
    folder.chmod(0o700)
    (folder / "b.pickle").write_bytes(pickle.dumps(1))
    (folder / "b.pickle").chmod(0o666)
    with pytest.raises(CorvidError, match="b.pickle: user .* others can write to it"):
        read_pickle(folder / "b.pickle")
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(CorvidError, match=f"a.pickle: user {me} or others"):
        read_pickle(folder / "a.pickle")
