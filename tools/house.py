"""How a source tree is cut up: files and lines by package, small modules, lengths, import closures.

    python tools/house.py                             # this tree
    python tools/house.py --tree ../before --tree .   # two trees beside each other

Only the text of the files is read: nothing is imported, so any tree will do.
"""

import argparse
import ast
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("codec", "data", "common")
CLOSURES = ("codec.video", "codec.training.module")
SMALL = 50  # lines of a small module
WIDE = 100  # columns


@dataclass(frozen=True)
class Module:
    """A Python file.

    Attributes:
        name: dotted; a package's own name for its `__init__.py`.
        lines: its text.
        functions: lines of each function and method, decorators not counted.
        imports: names of modules that it imports anywhere.
        imports_at_once: names of modules that are imported with it: not in functions, not only for
            type checkers.
    """

    name: str
    lines: list[str]
    functions: list[int]
    imports: frozenset[str]
    imports_at_once: frozenset[str]


def read_modules(tree: Path, packages: Sequence[str] = PACKAGES) -> dict[str, Module]:
    """The modules of the packages of a tree, by name."""
    files = {}
    for package in packages:
        for path in sorted((tree / package).rglob("*.py")):
            parts = path.relative_to(tree).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            files[name] = path
    return {name: _read(name, path, files.keys()) for name, path in files.items()}


def _read(name: str, path: Path, known: Sequence[str]) -> Module:
    text = path.read_text(encoding="utf-8")
    nodes = ast.parse(text)
    is_package = path.name == "__init__.py"
    functions = [
        node.end_lineno - node.lineno + 1
        for node in ast.walk(nodes)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    def resolved(found: Iterator[ast.Import | ast.ImportFrom]) -> frozenset[str]:
        names = {target for node in found for target in _targets(node, name, is_package, known)}
        return frozenset(names - {name})

    anywhere = (n for n in ast.walk(nodes) if isinstance(n, ast.Import | ast.ImportFrom))
    return Module(
        name=name,
        lines=text.splitlines(),
        functions=functions,
        imports=resolved(anywhere),
        imports_at_once=resolved(_at_once(nodes)),
    )


def _at_once(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run with the module."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _at_once(other)
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _at_once(child)


def _targets(
    node: ast.Import | ast.ImportFrom, name: str, is_package: bool, known: Sequence[str]
) -> Iterator[str]:
    """Names of known modules that a statement imports; `from package import module`, too."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
        return
    base = node.module or ""
    if node.level:
        parts = name.split(".")
        above = parts[: len(parts) - node.level + is_package]
        base = ".".join([*above, base] if base else above)
    modules = [f"{base}.{alias.name}" for alias in node.names]
    inner = [module for module in modules if module in known]
    yield from inner
    if base in known and len(inner) < len(modules):
        yield base


def closure(modules: dict[str, Module], name: str) -> set[str]:
    """The modules that importing one of them loads, with the packages that they lie in."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in found or current not in modules:
            continue
        found.add(current)
        waiting += modules[current].imports_at_once
        if "." in current:
            waiting.append(current.rpartition(".")[0])
    return found


def measure(tree: Path, closures: Sequence[str] = CLOSURES) -> dict[str, str]:
    """The figures of a tree by name, as text.

    Raises:
        SystemExit: the tree has none of the packages.
    """
    modules = read_modules(tree)
    if not modules:
        raise SystemExit(f"{tree}: no {', '.join(PACKAGES)} with Python files; give another --tree")
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for module in modules.values():
        package = module.name.split(".")
        is_package = any(other.startswith(f"{module.name}.") for other in modules)
        inner = package[:2] if len(package) > 2 or is_package else package[:1]
        files[".".join(inner)] += 1
        lines[".".join(inner)] += len(module.lines)
    importers = Counter(
        target for module in modules.values() for target in module.imports if target in modules
    )
    functions = [length for module in modules.values() for length in module.functions]
    wide = sum(len(line) > WIDE for module in modules.values() for line in module.lines)
    figures = {name: f"{files[name]} / {lines[name]}" for name in sorted(files)}
    figures["all files / lines"] = f"{files.total()} / {lines.total()}"
    small = sum(len(module.lines) <= SMALL for module in modules.values())
    figures[f"modules of {SMALL} lines or fewer"] = str(small)
    figures["modules with one importer"] = str(sum(count == 1 for count in importers.values()))
    figures["lines of a function, median / 95 %"] = (
        f"{statistics.median(functions):.0f} / {percentile(functions, 95)}"
    )
    figures[f"lines over {WIDE} columns"] = str(wide)
    for name in closures:
        count = len(closure(modules, name))
        figures[f"import closure of {name}"] = str(count) if count else "–"
    return figures


def percentile(values: Sequence[int], percent: int) -> int:
    """The smallest value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]


def main(arguments: list[str] | None = None) -> None:
    """Print a Markdown table with a column per tree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", action="append", type=Path, help="may be repeated; default: this")
    parser.add_argument(
        "--closure",
        action="append",
        metavar="MODULE",
        help=f"count the files that importing it loads; repeatable; default: {', '.join(CLOSURES)}",
    )
    choice = parser.parse_args(arguments)
    trees = choice.tree or [Path(__file__).parents[1]]
    measured = [measure(tree, choice.closure or CLOSURES) for tree in trees]
    names = list(dict.fromkeys(name for figures in measured for name in figures))
    print("| | " + " | ".join(str(tree) for tree in trees) + " |")
    print("|---|" + "--:|" * len(trees))
    packages = sorted(name for name in names if name.split(".")[0] in PACKAGES)
    for name in packages + [name for name in names if name not in packages]:
        print(f"| {name} | " + " | ".join(figures.get(name, "–") for figures in measured) + " |")


if __name__ == "__main__":
    main()
