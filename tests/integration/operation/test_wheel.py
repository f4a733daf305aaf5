"""The wheel: what it carries is found wherever it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from routoo.predictor.artifact import load_artifact, shipped_artifact

ROOT = Path(__file__).parents[3]


def test_a_wheel_brings_the_predictor_wherever_it_is_installed(tmp_path: Path) -> None:
    tree, target = tmp_path / "tree", tmp_path / "target"
    for name in ("server", "export", "model_repository", "proto"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tree / name, ignore=skipped)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(tree)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    asked = "from routoo.predictor.artifact import shipped_artifact; print(shipped_artifact())"
    ended = subprocess.run(
        [sys.executable, "-c", asked],
        env={**os.environ, "PYTHONPATH": str(target)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    found = Path(ended.stdout.strip())
    assert found.is_relative_to(target)
    assert load_artifact(found).version == load_artifact(shipped_artifact()).version
    protos = {path.name for path in (ROOT / "proto/routoo/v1").iterdir()}
    assert protos == {path.name for path in (target / "routoo/v1").glob("*.proto")}
