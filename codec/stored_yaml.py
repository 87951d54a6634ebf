"""YAML that a run's folder holds: plain values, read without interpolation or objects, bounded."""

from pathlib import Path
from typing import Any

import yaml

from codec.errors import CodecError
from codec.registry import check_plain, refuse_interpolation

MOST_BYTES = 16 << 20


class _Loader(yaml.SafeLoader):
    """Plain values alone, and what looks like a date is a word, as Hydra has it."""


_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> dict[str, Any]:
    """A dictionary of plain values. What a file says is never interpolated: `${...}` is an error.

    Raises:
        CodecError: it cannot be read, is larger than 16 MiB, or holds something else; the field is
            named.
    """
    try:
        text = path.read_bytes()[: MOST_BYTES + 1]
        if len(text) > MOST_BYTES:
            raise CodecError(f"{path}: larger than {MOST_BYTES} bytes; not the config of a run")
        content = yaml.load(text, _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        what = f"{path}: cannot be read ({type(error).__name__}: {reason})"
        raise CodecError(f"{what}; give the folder of a run") from error
    if not isinstance(content, dict):
        raise CodecError(f"{path}: no dictionary; give the folder of a run")
    check_plain(content, str(path), refuse_interpolation)
    return content


def write_yaml(content: dict[str, Any]) -> str:
    """Plain values as `read_yaml` reads them."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
