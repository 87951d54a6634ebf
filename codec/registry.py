"""Short names of what a config can ask for: networks and layers, losses, data, schedules, anchors.

Checkpoints and configs hold these names and plain arguments, never import paths. What is built from
a file is what is registered here: by Corvid, by a plugin that the user named, or by an installed
package with an entry point.

A package of your own registers what it brings when it is imported::

    from codec.registry import register

    register("network", "global_shift", "mylab.motion:GlobalShift")

and the user names the package, `plugins=[mylab]` (`corvid --plugins mylab`), or installs it with an
entry point of the group `corvid.plugins`. Where a file names a package, an error says so; it is
never imported for that.
"""

import importlib
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from codec.errors import CodecError

KEY = "type"  # the field of a dictionary that says what to build
_FAMILY = "family"  # the same of an anchor
_OLD_KEY = "_target_"  # the same in files of before: an import path, which is an alias here
_DROPPED = ("_convert_",)  # beside it, without a meaning today
SAYS_WHAT = (KEY, _OLD_KEY, *_DROPPED)  # fields that are no arguments
# In the environment: names, comma-separated; processes that we start inherit it.
PLUGINS = "CORVID_PLUGINS"
ENTRY_POINTS = "corvid.plugins"

MOST_DEPTH = 16  # dictionaries and lists inside each other
MOST_VALUES = 1_000_000  # of the user and of a run; `data.root` may list many files
MOST_STORED_VALUES = 10_000  # of a codec in a file
MOST_CHARACTERS = 4096  # of a string
LARGEST = 65_536  # integer in a file; tables below know better for some arguments
_WIDTHS = ("width", "features", "hidden", "channels", "latent_channels", "hyper", "refinement")
_LIMITS = dict.fromkeys(_WIDTHS, 4096)
_LIMITS |= {
    "depth": 64,
    "levels": 16,
    "block": 64,
    "luma": 64,
    "chroma": 64,
    "references": 16,
    "largest": 256,
}

_BUILT_IN: dict[str, dict[str, str]] = {
    "network": {
        "video_codec": "codec.video:VideoCodec",
        # intra coders
        "intra_coder": "codec.intra.base:IntraCoder",
        "conditional_intra": "codec.intra.conditional:ConditionalIntra",
        "directional_intra": "codec.intra.directional:DirectionalIntra",
        "compressai_image": "codec.interop.compressai:CompressaiImage",
        # motion networks
        "block_matching": "codec.motion.block_matching:BlockMatching",
        "fixed_block_matching": "codec.motion.baselines:FixedBlockMatching",
        "feature_flow": "codec.motion.feature_flow:FeatureFlow",
        "optical_flow": "codec.motion.optical_flow:OpticalFlowMotion",
        "scale_space_flow": "codec.motion.scale_space:ScaleSpaceMotion",
        "implicit_motion": "codec.motion.baselines:ImplicitMotion",
        "zero_motion": "codec.motion.baselines:StillMotion",
        # residual networks and transforms
        "conditional_residual": "codec.residual.conditional:ConditionalResidual",
        "pixel_residual": "codec.residual.pixel:PixelResidual",
        "block_transform_residual": "codec.residual.block_transform:BlockTransformResidual",
        "block_transform": "codec.layers.dct:BlockTransform",
        # entropy networks
        "factorized": "codec.entropy.models.factorized:FactorizedEntropy",
        "hyperprior": "codec.entropy.models.hyperprior:Hyperprior",
        "mean_scale_hyperprior": "codec.entropy.models.gaussian_hyperprior:MeanScaleHyperprior",
        "checkerboard": "codec.entropy.models.checkerboard:CheckerboardEntropy",
        "quadtree": "codec.entropy.models.quadtree:QuadtreeEntropy",
        "intra_levels": "codec.intra.directional:level_entropy",
        "intra_modes": "codec.entropy.models.intra_modes:IntraModeEntropy",
        "unit_types": "codec.entropy.models.intra_modes:UnitTypeEntropy",
    },
    "loss": {"rate_distortion": "codec.losses.rate_distortion:RateDistortionLoss"},
    "data": {"clips": "data.loading.datamodule:ClipDataModule"},
    "schedule": {"stages": "codec.training.schedule:Schedule"},
    "anchor": {
        "x264": "codec.anchors:X264",
        "x265": "codec.anchors:X265",
        "svtav1": "codec.anchors:SvtAv1",
        "vvenc": "codec.anchors:Vvenc",
        "hm": "codec.anchors:HM",
        "vtm": "codec.anchors:VTM",
        "external": "codec.anchors.external:external",
        "learned": "codec.evaluation.codecs.learned:LearnedCodec",
        "compressai_zoo": "codec.evaluation.codecs.compressai_zoo:ZooCodec",
    },
    "metric": {
        "psnr_rgb": "codec.metrics.fidelity:PSNR_RGB",
        "psnr_y": "codec.metrics.fidelity:PSNR_Y",
        "psnr_u": "codec.metrics.fidelity:PSNR_U",
        "psnr_v": "codec.metrics.fidelity:PSNR_V",
        "psnr_yuv": "codec.metrics.fidelity:PSNR_YUV",
        "ms_ssim": "codec.metrics.fidelity:MS_SSIM",
        "lpips_alex": "codec.metrics.lpips:LPIPS_ALEX",
        "lpips_vgg": "codec.metrics.lpips:LPIPS_VGG",
        "dists": "codec.metrics.dists:DISTS",
        "vmaf": "codec.evaluation.vmaf:VMAF",
        "vmaf_neg": "codec.evaluation.vmaf:VMAF_NEG",
        "temporal_difference": "codec.metrics.fidelity:TEMPORAL_DIFFERENCE",
        "temporal_lpips": "codec.metrics.lpips:TEMPORAL_LPIPS",
    },
}

# Names of the past, of files and configs that were made before: an import path, or a short name.
# Never shortened.
_ALIASES: dict[str, dict[str, str]] = {
    "network": {
        "two_step": "checkerboard",
        "codec.video.VideoCodec": "video_codec",
        "codec.intra.network.IntraCoder": "intra_coder",
        "codec.intra.conditional.ConditionalIntra": "conditional_intra",
        "codec.intra.directional.DirectionalIntra": "directional_intra",
        "codec.intra.directional.level_entropy": "intra_levels",
        "codec.intra.compressai_image.CompressaiImage": "compressai_image",
        "codec.motion.block_matching.BlockMatching": "block_matching",
        "codec.motion.fixed_block_matching.FixedBlockMatching": "fixed_block_matching",
        "codec.motion.searched.SearchedMotion": "fixed_block_matching",
        "codec.motion.feature_flow.FeatureFlow": "feature_flow",
        "codec.motion.optical_flow.OpticalFlowMotion": "optical_flow",
        "codec.motion.scale_space.ScaleSpaceMotion": "scale_space_flow",
        "codec.motion.implicit.ImplicitMotion": "implicit_motion",
        "codec.motion.still.StillMotion": "zero_motion",
        "codec.residual.conditional.ConditionalResidual": "conditional_residual",
        "codec.residual.pixel.PixelResidual": "pixel_residual",
        "codec.residual.block_transform.BlockTransformResidual": "block_transform_residual",
        "codec.layers.dct.BlockTransform": "block_transform",
        "codec.entropy.factorized.FactorizedEntropy": "factorized",
        "codec.entropy.hyperprior.Hyperprior": "hyperprior",
        "codec.entropy.mean_scale.MeanScaleHyperprior": "mean_scale_hyperprior",
        "codec.entropy.two_step.TwoStep": "checkerboard",
        "codec.entropy.quadtree.QuadtreeEntropy": "quadtree",
        "codec.entropy.intra_modes.IntraModeEntropy": "intra_modes",
        "codec.entropy.unit_types.UnitTypeEntropy": "unit_types",
    },
    "loss": {"codec.losses.rate_distortion.RateDistortionLoss": "rate_distortion"},
    "data": {"data.module.ClipDataModule": "clips"},
    "anchor": {
        "codec.anchors.X264": "x264",
        "codec.anchors.X265": "x265",
        "codec.anchors.SvtAv1": "svtav1",
        "codec.anchors.Vvenc": "vvenc",
        "codec.anchors.HM": "hm",
        "codec.anchors.VTM": "vtm",
        "codec.evaluation.learned.LearnedCodec": "learned",
        "codec.evaluation.zoo.ZooCodec": "compressai_zoo",
    },
}

# Arguments of the past by kind and name: what they are called now; None: they mean nothing today.
_ARGUMENTS: dict[tuple[str, str], dict[str, str | None]] = {}
# Parameters of the past by a network's name: a prefix inside that network, and what it is now.
_PARAMETERS: dict[str, dict[str, str]] = {}

# Arguments that are files. The user may give them; a checkpoint or a stored config may not.
FILES = ("weights", "lpips_backbone")


@dataclass(frozen=True)
class Entry:
    """What a name stands for: `target` is it, or says where it is (`package.module:attribute`)."""

    kind: str
    name: str
    target: Any

    @property
    def path(self) -> str:
        """`package.module.attribute`."""
        if isinstance(self.target, str):
            return self.target.replace(":", ".")
        # an object, as a MetricSpec: where its function is
        if not hasattr(self.target, "__qualname__"):
            function = getattr(self.target, "function", type(self.target))
            return f"{function.__module__}.{self.name}"
        return f"{self.target.__module__}.{self.target.__qualname__}"

    @property
    def package(self) -> str:
        """The package that brings it."""
        return self.path.partition(".")[0]

    def load(self) -> Any:
        """The class or function itself.

        Raises:
            CodecError: its module cannot be imported, or has no such attribute.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            what = f"{self.kind} {self.name!r}: {self.path} cannot be imported ({_one_line(error)})"
            what = f"{what}; a package of your own must be installed, or its folder be"
            raise CodecError(f"{what} on PYTHONPATH") from error


_OWN: dict[str, dict[str, Entry]] = {kind: {} for kind in _BUILT_IN}  # by plugins
_PATHS: dict[str, dict[str, str]] = {kind: {} for kind in _BUILT_IN}  # their import paths
_loaded: set[str] = set()


def register(kind: str, name: str, target: Any = None) -> Any:
    """Give something of a package of your own a name that configs use.

    Args:
        kind: `network` (layers too), `loss`, `metric`, `schedule`, `anchor` or `data`.
        name: lower case letters, digits and `_`.
        target: a class, a function or a `MetricSpec`; or where it is, `"package.module:attribute"`,
            to be imported when it is first built. Left out, this is a decorator.

    Raises:
        CodecError: an unknown kind, a name that is not one, or one that something else has.
    """
    if target is None:
        return lambda found: register(kind, name, found) and found
    if kind not in _BUILT_IN:
        raise CodecError(f"register: kind {kind!r} given; choose from {', '.join(_BUILT_IN)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        what = f"register: name {name!r} given"
        raise CodecError(f"{what}; lower case letters, digits and _ expected, a letter first")
    if isinstance(target, str) and not re.fullmatch(r"[\w.]+:\w+", target):
        raise CodecError(f"register: {name}: {target!r} given; package.module:attribute expected")
    entry = Entry(kind, name, target)
    before = _OWN[kind].get(name)
    taken = name in _BUILT_IN[kind] or name in _ALIASES.get(kind, {})
    if taken or (before is not None and before.path != entry.path):
        owner = "Corvid" if taken or before is None else before.package
        raise CodecError(f"register: the {kind} {name!r} is taken by {owner}; choose another name")
    _OWN[kind][name] = entry
    _PATHS[kind][entry.path] = name
    return target


def use_plugins(names: list[str] | tuple[str, ...] | None) -> None:
    """Import the packages that the user named, here and in processes that are started later.

    Raises:
        CodecError: a name that is none, or a package that cannot be imported.
    """
    known = [name for name in os.environ.get(PLUGINS, "").split(",") if name]
    for name in names or ():
        if not is_package(name):
            what = f"plugins: {name!r} given"
            raise CodecError(f"{what}; the name of a Python package expected, such as mylab")
        _import_plugin(name)
        if name not in known:
            known.append(name)
            os.environ[PLUGINS] = ",".join(known)


def is_package(name: Any) -> bool:
    """Whether this can be the name of a Python package."""
    pattern = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
    return isinstance(name, str) and bool(re.fullmatch(pattern, name))


def _import_plugin(name: str) -> None:
    if name in _loaded:
        return
    try:
        importlib.import_module(name)
    except ImportError as error:
        what = f"plugins: {name} cannot be imported ({_one_line(error)})"
        raise CodecError(f"{what}; install it, or put its folder on PYTHONPATH") from error
    _loaded.add(name)


def _import_what_the_user_gave() -> None:
    """Packages named in the environment, and installed ones with an entry point."""
    use_plugins([name for name in os.environ.get(PLUGINS, "").split(",") if name])
    if ENTRY_POINTS in _loaded:
        return
    _loaded.add(ENTRY_POINTS)
    for point in entry_points(group=ENTRY_POINTS):
        _import_plugin(point.value.partition(":")[0])


def names_of(kind: str) -> list[str]:
    """All names of a kind, ours first."""
    _import_what_the_user_gave()
    return [*_BUILT_IN[kind], *_OWN[kind]]


def own_entries(kind: str) -> list[Entry]:
    """What plugins registered of a kind."""
    _import_what_the_user_gave()
    return list(_OWN[kind].values())


def find(kind: str, name: str) -> Entry | None:
    """What a name, of today or of the past, or an import path stands for; None: nothing."""
    current = _ALIASES.get(kind, {}).get(name, name)
    if current in _BUILT_IN[kind]:
        return Entry(kind, current, _BUILT_IN[kind][current])
    for again in (False, True):
        if again:
            _import_what_the_user_gave()
        own = _PATHS[kind].get(current, current)
        if own in _OWN[kind]:
            return _OWN[kind][own]
    return None


def lookup(kind: str, name: Any, field: str, plugins: tuple[str, ...] = ()) -> Entry:
    """As `find`, of what a config says in `field`.

    Args:
        plugins: packages that the file names, for the error.

    Raises:
        CodecError: the name is not registered.
    """
    if not isinstance(name, str):
        raise CodecError(f"{field}: {_shown(name)} given; the name of a registered {kind} expected")
    if (entry := find(kind, name)) is not None:
        return entry
    what = f"{field}: {_shown(name)} is not a registered {kind}"
    if named := ", ".join(name for name in plugins if is_package(name)):
        what += f"; the file says that it comes with {named}, and a file imports nothing"
        what += f". If you trust it give plugins=[{named}]"
        raise CodecError(f"{what} (corvid --plugins {named})")
    known = ", ".join(names_of(kind))
    what += f" ({known}). One of your own is registered by its package"
    what += ": codec.registry.register, and plugins=[PACKAGE]"
    raise CodecError(f"{what} (corvid --plugins PACKAGE)")


def build(
    kind: str,
    config: Any,
    field: str,
    stored: bool = False,
    plugins: tuple[str, ...] = (),
) -> Any:
    """Build what a plain dictionary with a `type` describes, from registered names alone.

    Args:
        kind: of the outermost; `network` for codecs and everything in them.
        config: names and plain arguments; import paths (`_target_`) are names of the past.
        field: where it stands, for errors, for example `checkpoint a.ckpt: codec`.
        stored: it comes from a file and not from the user: sizes are bounded, files refused.
        plugins: packages that the file names, for the error.

    Raises:
        CodecError: a name that is not registered, what is not plain, or arguments that are refused.
    """
    if stored:
        check_plain(config, field, check_stored_value, MOST_STORED_VALUES)
    else:
        check_plain(config, field)
    if not is_built(kind, config):
        what = f"{field}: {_shown(config)} given"
        raise CodecError(f"{what}; a dictionary with {key_of(kind)}: NAME expected")
    return _build(kind, config, field, plugins)


def key_of(kind: str) -> str:
    """The field that says what to build."""
    return _FAMILY if kind == "anchor" else KEY


def is_built(kind: str, config: Any) -> bool:
    """Whether a value of a config is something to build."""
    return isinstance(config, dict) and (key_of(kind) in config or _OLD_KEY in config)


def name_of(kind: str, config: dict[str, Any]) -> Any:
    """What a dictionary that is built says it is."""
    return config.get(key_of(kind), config.get(_OLD_KEY))


def _build(kind: str, config: dict[str, Any], field: str, plugins: tuple[str, ...]) -> Any:
    key = key_of(kind)
    if key in config and _OLD_KEY in config:
        raise CodecError(f"{field}: both {key} and {_OLD_KEY} given; remove {_OLD_KEY}")
    where = f"{field}.{key if key in config else _OLD_KEY}"
    entry = lookup(kind, name_of(kind, config), where, plugins)
    arguments = {}
    for name, value in _arguments(entry, config):
        if name.startswith("_"):
            raise CodecError(f"{field}.{name}: not an argument; remove it")
        arguments[name] = _value(kind, value, f"{field}.{name}", plugins)
    made = entry.load()
    try:
        found = made(**arguments)
    except CodecError:
        raise
    except Exception as error:  # a network refuses arguments with errors of many kinds
        what = f"{field}: {entry.name} refuses its arguments ({_one_line(error)})"
        raise CodecError(f"{what}; correct them") from error
    if entry.name in _PARAMETERS:
        found.renamed_parameters = _PARAMETERS[entry.name]
    return found


def _arguments(entry: Entry, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    renamed = _ARGUMENTS.get((entry.kind, entry.name), {})
    for name, value in config.items():
        if name in (key_of(entry.kind), _OLD_KEY, *_DROPPED):
            continue
        new_name = renamed.get(name, name)
        if new_name is not None:
            yield new_name, value


def _value(kind: str, value: Any, field: str, plugins: tuple[str, ...]) -> Any:
    if is_built(kind, value):
        return _build(kind, value, field, plugins)
    if isinstance(value, dict):
        items = value.items()
        return {name: _value(kind, below, f"{field}.{name}", plugins) for name, below in items}
    if isinstance(value, list | tuple):
        parts = enumerate(value)
        return [_value(kind, below, f"{field}[{number}]", plugins) for number, below in parts]
    return value


def check_plain(
    config: Any,
    field: str,
    look: Callable[[str, str, Any], None] | None = None,
    most: int = MOST_VALUES,
) -> None:
    """Refuse what is not plain: other objects than dictionaries, lists, numbers and words.

    Args:
        config: of any depth up to `MOST_DEPTH`.
        field: its name, for errors.
        look: called with the whole name, the last part of it and the value of each field; raises
            where it does not like it.
        most: values that it may have.

    Raises:
        CodecError: names the field and the remedy.
    """
    left, waiting = most, [(field, "", config, 0)]
    while waiting:
        where, name, value, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > MOST_DEPTH:
            limit = f"{MOST_DEPTH} levels" if depth > MOST_DEPTH else f"{most} values"
            what = f"{where[:200]}: nested or large beyond reason, more than {limit}"
            raise CodecError(f"{what}; do not use this config")
        if isinstance(value, dict):
            for key, below in value.items():
                if not isinstance(key, str) or len(key) > MOST_CHARACTERS or not key.isprintable():
                    what = f"{where}: {_shown(key)} is no name of a field"
                    raise CodecError(f"{what}; do not use this config")
                waiting.append((f"{where}.{key}", key, below, depth + 1))
        elif isinstance(value, list | tuple):
            for number, below in enumerate(value[: left + 1]):
                waiting.append((f"{where}[{number}]", name, below, depth + 1))
        elif value is not None and type(value) not in (bool, int, float, str):
            what = f"{where}: a {type(value).__name__} given"
            raise CodecError(f"{what}; numbers, words, lists and dictionaries expected")
        elif look:
            look(where, name, value)


def refuse_interpolation(where: str, name: str, value: Any) -> None:
    """Raise CodecError for `${...}`: what a file says stands for itself."""
    if isinstance(value, str) and "${" in value:
        what = f"{where}: {_shown(value)} given"
        raise CodecError(f"{what}; files are not interpolated, write the value itself")


def check_stored_value(where: str, name: str, value: Any) -> None:
    """Raise CodecError for what a network's argument in a file may not be: a file, huge, not
    finite.
    """
    refuse_interpolation(where, name, value)
    if name in FILES and value is not None:
        what = f"{where}: names the file {_shown(value)}, which a file may not"
        raise CodecError(f"{what}; give it on the command line, or null")
    if isinstance(value, str) and len(value) > MOST_CHARACTERS:
        raise CodecError(f"{where}: {len(value)} characters; at most {MOST_CHARACTERS} expected")
    most = _LIMITS.get(name, LARGEST)
    if type(value) is int and abs(value) > most:
        raise CodecError(f"{where}: {_shown(value)} given; at most {most} expected")
    if type(value) is float and not math.isfinite(value):
        raise CodecError(f"{where}: {value} given; a finite number expected")


def packages_in(kind: str, config: Any) -> list[str]:
    """Packages from outside whose registered names a config holds, for a reader who lacks them."""
    found: set[str] = set()
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if is_built(kind, value) and isinstance(name_of(kind, value), str):
                entry = find(kind, name_of(kind, value))
                if entry is not None and entry.name in _OWN[kind]:
                    found.add(entry.package)
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
    return sorted(found)


def renamed(modules: Iterator[tuple[str, Any]], stored: list[str]) -> dict[str, str]:
    """Today's names of stored parameters that had another name when they were stored.

    Args:
        modules: of `named_modules` of what `build` gave.
        stored: names of the parameters as a file holds them.
    """
    found: dict[str, str] = {}
    for path, module in modules:
        for old, new in getattr(module, "renamed_parameters", {}).items():
            before, now = (f"{path}.{name}".lstrip(".") for name in (old, new))
            for name in stored:
                known = found.get(name, name)
                if known == before or known.startswith(before + "."):
                    found[name] = now + known[len(before) :]
    return found


def _shown(value: Any) -> str:
    """At most a line of what a file holds."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, ImportError) or not text else f"{type(error).__name__}: {text}"
