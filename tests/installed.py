"""Distributions of third parties, installed for a test as pip would install them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def install_distribution(
    site: Path, name: str, version: str, module: str, text: str, *, point: str = ""
) -> None:
    """Put a distribution with one module and one entry point into a directory of packages.

    Parameters
    ----------
    site
        The directory, to be put on the path of modules.
    name, version
        Of the distribution.
    module, text
        Name and source of its module, which is the plugin.
    point
        Name of the entry point; by default that of the distribution.
    """
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[ensemble]\n{point or name} = {module}\n")
