import pytest
import torch
from small_codec import build

from codec.errors import CodecError
from codec.quality import QualityPattern

PATTERN = QualityPattern(4, (-4, -4, -4, 3))


def test_a_pattern_repeats_from_the_intra_frame_on():
    """Catches an intra frame that counts as one of the pattern, and one that it goes on over."""
    assert [PATTERN.offset(t) for t in range(10)] == [4, -4, -4, -4, 3, -4, -4, -4, 3, -4]
    assert PATTERN.qualities(30, 7, -1) == (34, 26, 26, 26, 33, 26, 26)
    assert PATTERN.qualities(30, 7, 3) == (34, 26, 26, 34, 26, 26, 34)
    assert PATTERN.qualities(30, 3, 1) == (34, 34, 34)
    assert QualityPattern().qualities(30, 2, -1) == (30, 30)
    assert QualityPattern().flat and not PATTERN.flat


def test_qualities_are_clamped():
    """Catches tables read beyond their ends, and the two sides clamping otherwise."""
    ends = torch.tensor([0, 2, 61, 63])
    for position in range(5):
        own = PATTERN.at(ends, position).tolist()
        assert own == [PATTERN.qualities(int(quality), 5, -1)[position] for quality in ends]
        assert min(own) >= 0 and max(own) <= 63
    assert PATTERN.at(ends, 0).tolist() == [4, 6, 63, 63]
    assert PATTERN.at(ends, 1).tolist() == [0, 0, 57, 59]


def test_a_pattern_is_read_as_it_is_written():
    """Catches a pattern that `corvid info` shows and `corvid compress` does not take."""
    assert QualityPattern.parse(str(PATTERN)) == PATTERN and str(PATTERN) == "4:-4,-4,-4,3"
    assert QualityPattern.parse(str(QualityPattern())) == QualityPattern()


@pytest.mark.parametrize(
    "text",
    [*("", "4", "4:", "a:1", "1:1,,2", "0:1.5", "64:0", "0:0,-64"), "0:" + "1," * 64 + "1"],
)
def test_what_is_no_pattern_is_said(text: str):
    """Catches a traceback, and an offset that is taken for another."""
    with pytest.raises(CodecError, match="offsets"):
        QualityPattern.parse(text)


@pytest.mark.parametrize(
    "offsets",
    [
        *("{intra:64}", "{intra:1.5}", "{intra:true}", "{intra:x}", "{first:3}"),
        *("{predicted:[]}", "{predicted:3}", "{predicted:abc}"),
        *("{predicted:[0,-64]}", "{predicted:[null]}"),
        "{predicted:[" + ",".join("1" * 65) + "]}",
    ],
)
def test_senseless_offsets_are_refused(offsets: str):
    """Catches a codec that codes at qualities that are none, or ignores a misspelt field."""
    with pytest.raises(CodecError, match="quality_offsets"):
        build(f"quality_offsets={offsets}")
