"""A wheel carries the apps and the notebooks, which a clone keeps beside the package; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("apps", "notebooks")


class BuildWithApps(build_py):
    """Copies apps/ to milbench/_apps and notebooks/ to milbench/_notebooks, unless the installation is editable."""

    def run(self) -> None:
        super().run()
        for name in () if self.editable_mode else CARRIED:
            into = Path(self.build_lib) / "milbench" / f"_{name}"
            self.mkpath(str(into))
            for file in sorted(Path(name).glob("[a-z0-9]*.*")):
                self.copy_file(str(file), str(into / file.name))


setup(cmdclass={"build_py": BuildWithApps})
