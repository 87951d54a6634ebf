"""CONTRIBUTING, pre-commit and hosted CI agree with the Makefile and the repository."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def hooks() -> dict[str, dict]:
    """pre-commit's hooks by name."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    return {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}


def test_contributing_names_what_exists():
    """Catches a make target, a file or a folder that is gone or renamed."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z]+)\b", text)) <= set(targets)
    paths = re.findall(r"`((?:codec|common|data|conf|benchmarks|tests|\.ci)/[\w/.]*)`", text)
    paths += re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"pytest (\S+)", text)
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path


def test_hooks_use_the_versions_of_the_installation():
    """Catches a formatter at the commit that differs from the one in `make lint`."""
    ruff = re.search(r"^ruff==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    assert hooks()["ruff"]["additional_dependencies"] == [ruff]
    assert hooks()["ruff-format"]["additional_dependencies"] == [ruff]


def test_no_file_is_over_the_limit_of_large_files():
    """Catches a limit that the repository's own files exceed, and one that the page misstates."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    limit = int(re.search(r"--maxkb=(\d+)", hooks()["large-files"]["entry"])[1])
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert max(file.stat().st_size for file in files if file.is_file()) <= limit * 1024
    assert f"{limit // 1024} MB" in (ROOT / "CONTRIBUTING.md").read_text()


def test_hosted_ci_runs_the_same_script():
    """Catches a hosted check that passes what `.ci/run` refuses."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in commands and (ROOT / ".ci" / "run").stat().st_mode & 0o111
