"""How often each class wins, whichever side a response stood on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.swap import swap_classes

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray


def log_prior(counts: FloatArray) -> FloatArray:
    """Give the log shares of the classes over both orders, one row added to each: ``(3,)``.

    Parameters
    ----------
    counts
        ``(3,)`` rows, or their weight, of each class; zeros are finite shares too.
    """
    shares = (counts + swap_classes(counts)) / 2 + 1
    return np.asarray(np.log(shares / shares.sum()))
