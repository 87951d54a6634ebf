"""RD points, rd.json, and the checks of it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from codec.errors import CodecError
from codec.evaluation import Point, RDResult, load, save

ROOT = Path(__file__).parents[4]
VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((ROOT / "docs" / "rd.schema.json").read_text())
)

POINT = Point(
    codec="corvid",
    clip="clip",
    quality=7,
    frames=3,
    width=20,
    height=30,
    fps=25.0,
    bytes=600,
    metrics={"psnr_rgb": 31.5, "lpips_alex": None},
    encode_seconds=1.5,
    decode_seconds=0.5,
    file="streams/corvid/clip_q7.cvd",
    sha256="0123456789abcdef" * 4,
    frame_bytes=[400, 100, 90],
    per_frame={"psnr_rgb": [31.0, None, 32.0], "temporal_difference": [30.0, 31.0]},
    extra={"tune": None, "notes": ["small"]},
)


def write(folder: Path, **changes: Any) -> Path:
    """An rd.json of one point, with fields changed, or removed where the change is `...`."""
    path = folder / "rd.json"
    save(RDResult({}, [POINT]), path)
    content = json.loads(path.read_text())
    content["points"][0] = {
        k: v for k, v in {**content["points"][0], **changes}.items() if v is not ...
    }
    path.write_text(json.dumps(content))
    return path


def test_rate_is_the_size_of_the_file():
    """Catches bits for bytes, kilo of 1024, and a rate by coded in place of original frames."""
    assert POINT.bpp == 600 * 8 / (20 * 30 * 3)
    assert POINT.kbps == pytest.approx(600 * 8 / (3 / 25) / 1000)


def test_the_file_holds_the_documented_fields_and_comes_back(tmp_path: Path):
    """Catches a renamed field, which breaks whoever reads results, extra fields that are lost, and
    a schema that is not ours.
    """
    path = tmp_path / "rd.json"
    save(RDResult({"torch": "2"}, [POINT]), path)
    content = json.loads(path.read_text())
    assert content["schema"] == 2 and content["conditions"] == {"torch": "2"}
    fields = (
        "codec clip quality frames width height fps bytes bpp kbps metrics encode_seconds "
        "decode_seconds file"
    )
    assert list(content["points"][0])[:17] == [
        *fields.split(),
        "sha256",
        "frame_bytes",
        "per_frame",
    ]
    assert load(path) == RDResult({"torch": "2"}, [POINT])
    assert not list(tmp_path.glob("*.part"))
    VALIDATOR.validate(content)


def test_a_file_of_schema_1_is_still_read(tmp_path: Path):
    """Catches published results that a new version cannot read."""
    path = write(tmp_path, sha256=..., frame_bytes=..., per_frame=...)
    content = json.loads(path.read_text()) | {"schema": 1}
    path.write_text(json.dumps(content))
    (point,) = load(path).points
    assert (point.sha256, point.frame_bytes, point.per_frame) == (
        "",
        None,
        {},
    ) and point.metrics == POINT.metrics
    VALIDATOR.validate(content)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "results").rglob("rd.json")), ids=lambda path: path.parent.name
)
def test_the_results_in_docs_are_read_and_valid(path: Path):
    """Catches checks or a schema that our own published results do not pass."""
    assert load(path).points
    VALIDATOR.validate(json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bytes": ...}, r"points\[0\]: lacks bytes; code it again"),
        ({"sha256": ...}, r"points\[0\]: lacks sha256"),
        (
            {"bytes": 601},
            r"points\[0\].bpp: 2.66\d*, but its bytes, size and frames give 2.67\d*; put that",
        ),
        ({"kbps": None}, r"points\[0\].kbps: None"),
        ({"frames": "3"}, r"points\[0\].frames: '3', a whole number"),
        ({"frames": 0}, r"points\[0\].frames: 0, more than 0"),
        ({"metrics": {"psnr_rgb": "31"}}, r"points\[0\].metrics.psnr_rgb: '31', a number or null"),
        ({"metrics": [31]}, r"points\[0\].metrics: list"),
        ({"sha256": "xyz"}, r"points\[0\].sha256: 'xyz', 64 hex"),
        ({"frame_bytes": "400"}, r"points\[0\].frame_bytes: null or a list"),
        ({"frame_bytes": [1, -2, 3]}, r"points\[0\].frame_bytes: null or a list"),
        ({"per_frame": [1]}, r"points\[0\].per_frame: list, an object"),
        ({"per_frame": {"psnr_rgb": ["x"]}}, r"points\[0\].per_frame.psnr_rgb: a list of numbers"),
    ],
)
def test_a_point_that_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str):
    """Catches a hand-edited or foreign result that would be plotted without a word, and one that
    only the schema refuses.
    """
    path = write(tmp_path, **changes)
    with pytest.raises(CodecError, match=f"{path}: {message}"):
        load(path)
    own = {"bytes": 601}  # a sum, which a schema cannot check
    assert changes == own or not VALIDATOR.is_valid(json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame_bytes": [1, 2]}, r"points\[0\].frame_bytes: 2 sizes for 3 frames"),
        (
            {"per_frame": {"psnr_rgb": [1, 2, 3, 4]}},
            r"points\[0\].per_frame.psnr_rgb: 4 values for 3 frames",
        ),
    ],
)
def test_counts_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], message: str):
    """Catches curves along time that are of another clip."""
    with pytest.raises(CodecError, match=message):
        load(write(tmp_path, **changes))


def test_other_files_are_refused(tmp_path: Path):
    """Catches a traceback for a missing file, other JSON, another schema, or a point that stands
    there twice.
    """
    path = tmp_path / "rd.json"
    with pytest.raises(CodecError, match="not a readable rd.json"):
        load(path)
    for text, message in (
        ("{", "not a readable"),
        ("[]", "schema is 'list'"),
        ('{"schema": 3}', "schema is 3, this version of corvid reads 1 and 2"),
        ('{"schema": 2}', "conditions must be an object"),
        (
            '{"schema": 2, "conditions": {"clips": {"a": 1}}, "points": []}',
            "conditions.clips.a: 1, an object",
        ),
    ):
        path.write_text(text)
        with pytest.raises(CodecError, match=message):
            load(path)
    save(RDResult({}, [POINT, POINT]), path)
    with pytest.raises(CodecError, match=r"stand there twice \(points 0 and 1\)"):
        load(path)


def test_points_of_one_clip_are_of_the_same_frames(tmp_path: Path):
    """Catches a codec scored on fewer frames than its anchor: the easy beginning of a clip."""
    path = tmp_path / "rd.json"
    short = Point(
        **{**vars(POINT), "codec": "x265", "frames": 2, "frame_bytes": None, "per_frame": {}}
    )
    save(RDResult({}, [POINT, short]), path)
    with pytest.raises(
        CodecError, match=r"points\[1\].frames: 2, points\[0\] of the same clip has 3"
    ):
        load(path)
    save(RDResult({"clips": {"clip": {"frames": 9}}}, [POINT]), path)
    with pytest.raises(CodecError, match=r"points\[0\].frames: 3, conditions.clips.clip has 9"):
        load(path)


def test_nan_is_never_written(tmp_path: Path):
    """Catches NaN in rd.json, which is not JSON and which browsers refuse."""
    with pytest.raises(ValueError, match="JSON"):
        save(RDResult({"x": float("nan")}, []), tmp_path / "rd.json")
    assert not (tmp_path / "rd.json").exists()
