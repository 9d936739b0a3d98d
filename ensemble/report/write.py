"""The report of a run: one HTML file that opens offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.errors import ArtifactError, InputError
from ensemble.report.collect import collect
from ensemble.report.page import render_damage, render_page
from ensemble.run_dir.layout import REPORT
from ensemble.storage.json_files import write_text

if TYPE_CHECKING:
    from pathlib import Path


def write_report(run_directory: Path) -> Path:
    """Write ``report.html`` into a run directory, from what is in it and nothing else.

    A run that has got only part of the way gives a report with gaps that say so. The same files
    give the same report, byte for byte.

    Parameters
    ----------
    run_directory
        The run.

    Returns
    -------
    Path
        Where the report is.

    Raises
    ------
    InputError
        There is no such directory.
    ArtifactError
        A file of the run that scores are made from is damaged. The report then says so and nothing
        else: a former one is not left in its place.
    """
    if not run_directory.is_dir():
        raise InputError(
            "there is no such run directory",
            where=str(run_directory),
            hint="give the `run_dir` of a config that has been run",
        )
    target = run_directory / REPORT
    try:
        collected = collect(run_directory)
    except ArtifactError as error:
        write_text(target, render_damage(run_directory, error))
        raise
    write_text(target, render_page(collected))
    return target
