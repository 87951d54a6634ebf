import pytest

from codec.errors import CodecError
from codec.training.rate_monitor import RateMonitor


def test_bits_that_explode_or_vanish_are_said_once():
    """Catches motion bits that grow for days unseen (DeepMC #8), and a warning at every row."""
    watch = RateMonitor()
    said = [
        watch.check({"bpp_motion": 0.02 + 0.001 * (k % 3), "bpp_residual": 0.3}) for k in range(15)
    ]
    assert not any(said)
    (text,) = watch.check({"bpp_motion": 0.5, "bpp_residual": 0.3})
    assert "motion costs 0.5000 bpp, 0.02" in text and "usual" in text
    assert watch.check({"bpp_motion": 0.6, "bpp_residual": 0.3}) == []
    assert watch.check({"bpp_motion": 0.02, "bpp_residual": 0.3}) == []
    assert len(watch.check({"bpp_motion": 0.02, "bpp_residual": 0.0})) == 1


def test_what_costs_next_to_nothing_is_left_alone():
    """Catches warnings about a component whose bits do not matter."""
    watch = RateMonitor()
    assert not any(
        watch.check({"bpp_motion.hyper": 1e-5 * 10**k})
        for k in (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    )


def test_a_new_stage_has_its_own_usual_bits():
    """Catches a warning for what a schedule does on purpose."""
    watch = RateMonitor()
    for _ in range(15):
        watch.check({"bpp_motion": 0.02})
    watch.reset()
    assert watch.check({"bpp_motion": 0.5}) == []


def test_a_stage_that_lacks_a_component_goes_on():
    """Catches a run that ends, after days, in a stage that does not code what a range is given for;
    and a silent typing error.
    """
    watch = RateMonitor({"motion": [0, 0.3], "residual": [0, 1]})
    assert watch.check({"bpp_motion": 0.1, "bpp_residual": 0.1}) == []
    for _ in range(2):
        watch.reset()
        said = ["training.bits_range: residual not coded in this stage, only motion"]
        assert watch.check({"bpp_motion": 0.1}) == said and watch.check({"bpp_motion": 0.1}) == []
    assert watch.check({"bpp_motion": 0.4}) == [
        "motion costs 0.4000 bpp, outside of its range 0 to 0.3"
    ]
    (text,) = RateMonitor({"motoin": [0, 1]}).check({"bpp_motion": 0.1})
    assert "motoin not coded" in text


def test_configured_ranges():
    """Catches a range that is not looked at, for a component that is not there, or turned round."""
    watch = RateMonitor({"motion": [0, 0.3]})
    assert watch.check({"bpp_motion": 0.31}) == [
        "motion costs 0.3100 bpp, outside of its range 0 to 0.3"
    ]
    kinds = {"bpp_motion.split": 0.01, "bpp_motion.vector": 0.31, "bpp_motions": 9.0}
    assert RateMonitor({"motion": [0, 0.3]}).check(kinds) == [
        "motion costs 0.3200 bpp, outside of its range 0 to 0.3"
    ]
    assert (
        RateMonitor({"motion": [0, 0.3], "motion.split": [0, 0.1]}).check({"bpp_motion.split": 0.1})
        == []
    )
    with pytest.raises(CodecError, match="expected .lowest, highest."):
        RateMonitor({"motion": [1, 0]})
    with pytest.raises(CodecError, match="bits_jump: 0.5"):
        RateMonitor(jump=0.5)
