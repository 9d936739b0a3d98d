"""Fitted estimators on disk, by skops: a zip of JSON and arrays in which every type is named.

skops makes an object only of a type that is trusted; nothing is unpickled. What is trusted here:

- what skops trusts by itself: estimators of scikit-learn, arrays, sparse matrices, plain values;
- ``FITTED_TYPES``: what scikit-learn's classifiers hold once they are fitted. They are numbers, and
  scores of columns; skops holds them back because scikit-learn does not check the numbers, so that
  a crafted file could crash the process, as a crafted model of LightGBM could;
- what the config declares (``trusted``), which is the user's own code, or that of a package.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError, LearnerError
from ensemble.plugin.faults import plugin_errors
from ensemble.storage.atomic import is_disk_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FITTED_TYPES = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        *(
            f"sklearn.feature_selection.{function}"
            for function in (
                "_mutual_info.mutual_info_classif",
                "_univariate_selection.chi2",
                "_univariate_selection.f_classif",
            )
        ),
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        *(
            f"sklearn.gaussian_process.kernels.{kernel}"
            for kernel in ("ConstantKernel", "Matern", "Product", "RBF", "Sum", "WhiteKernel")
        ),
        *(
            f"sklearn.metrics._dist_metrics.{metric}Distance64"
            for metric in ("Euclidean", "Manhattan", "Minkowski")
        ),
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
    }
)
"""Types that skops does not trust by itself, and that are trusted here."""


def dump_estimator(
    estimator: Any, trusted: Mapping[str, str], file_module: tuple[str, str] | None
) -> bytes:
    """Write an estimator, and see that all of its types are trusted.

    Parameters
    ----------
    estimator
        Fitted.
    trusted
        Types that the config declares: their names in this process by their names in the config.
    file_module
        As in ``trusted_names``.

    Raises
    ------
    LearnerError
        It holds types that are not trusted, which are named with the line that declares them, or
        what skops cannot store.
    """
    import skops.io

    try:
        data: bytes = skops.io.dumps(estimator)
    except plugin_errors() as error:
        if is_disk_error(error):
            raise
        raise LearnerError(
            f"the fitted estimator cannot be stored by skops: {error}",
            hint="let its parts hold arrays, plain values and estimators; no lambda, no open file",
        ) from error
    unknown = [_as_config(name, file_module) for name in untrusted(data, trusted.values())]
    if any("<" in name for name in unknown):
        raise LearnerError(
            f"the fitted estimator holds what has no name: {', '.join(unknown)}",
            hint="write functions and classes at the top of their module, and no lambda",
        )
    if unknown:
        listed = ", ".join(f'"{name}"' for name in (*trusted, *unknown))
        raise LearnerError(
            f"the fitted estimator holds types that nobody has declared: {', '.join(unknown)}",
            hint=f"where you know that code, declare it: trusted = [{listed}]",
        )
    return data


def load_estimator(path: Path, trusted: Mapping[str, str]) -> Any:
    """Read what ``dump_estimator`` wrote.

    Raises
    ------
    ArtifactError
        The file is missing or damaged, or holds types that are not trusted.
    """
    import skops.io

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError("a stored estimator cannot be read", where=str(path)) from error
    try:
        unknown = untrusted(data, trusted.values())
        if not unknown:
            return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    except plugin_errors() as error:
        raise ArtifactError(
            f"a stored estimator cannot be read: {type(error).__name__}: {error}",
            where=str(path),
            hint="fit the learner again",
        ) from error
    raise ArtifactError(
        f"a stored estimator holds types that nobody has declared: {', '.join(unknown)}",
        where=str(path),
        hint="this config does not make it: fit the learner again, or declare them in `trusted`",
    )


def untrusted(data: bytes, declared: Any) -> list[str]:
    """Name the types in a file that are not trusted."""
    import skops.io

    # An empty file is none: skops takes no bytes for no file.
    found = skops.io.get_untrusted_types(file=io.BytesIO(data))
    return sorted({*found} - FITTED_TYPES - {*declared})


def trusted_names(declared: Sequence[str], file_module: tuple[str, str] | None) -> dict[str, str]:
    """Give the names that declared types have in this process, by those of the config.

    Parameters
    ----------
    declared
        ``"my_module.MyTransformer"``.
    file_module
        The stem of the file that the estimator is from, and the name that its module has here.
    """
    names = {}
    for name in declared:
        stem, dot, rest = name.partition(".")
        is_of_file = file_module is not None and stem == file_module[0]
        names[name] = f"{file_module[1]}{dot}{rest}" if file_module and is_of_file else name
    return names


def _as_config(name: str, file_module: tuple[str, str] | None) -> str:
    """Name a type as the config does."""
    if file_module is None:
        return name
    return re.sub(rf"^{re.escape(file_module[1])}\b", file_module[0], name)
