"""The files outside of the packages that a wheel carries inside them.

The rest stands in pyproject.toml. The predictor and the API's definitions stand at the root of the
repository, where Triton and other languages look for them; package data would have to stand inside
a package, and data files end where ``pip install --user`` and ``--target`` do not find them.
"""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
CARRIED = {
    "model_repository/predictor": ("routoo/model_repository/predictor", "**/*"),
    "proto/routoo/v1": ("routoo/v1", "*.proto"),
}


class BuildWithCarried(build_py):
    """Copies the carried files beside the modules; an editable install reads them in place."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source, target in self._carried():
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:  # noqa: FBT001, FBT002 - setuptools'
        carried = [] if self.editable_mode else [str(target) for _, target in self._carried()]
        return [*super().get_outputs(include_bytecode), *carried]

    def _carried(self) -> list[tuple[Path, Path]]:
        found = []
        for folder, (place, pattern) in CARRIED.items():
            files = [path for path in sorted((ROOT / folder).glob(pattern)) if path.is_file()]
            found += [
                (path, Path(self.build_lib, place, path.relative_to(ROOT / folder)))
                for path in files
                if not path.name.endswith((".pyc", ".lock"))
            ]
        return found


setup(cmdclass={"build_py": BuildWithCarried})
