"""What pyproject.toml cannot say: the folders assets/ and configs/ travel inside the package synth."""

from setuptools import find_packages, setup

SHIPPED = {f"synth._data.{name}": name for name in ("assets", "configs")}

setup(packages=[*find_packages(include=["synth*", "train*"]), *SHIPPED], package_dir=SHIPPED)
