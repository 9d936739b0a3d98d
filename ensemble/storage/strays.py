"""What an operating system, an editor or a file share drops beside other files, and is nobody's.

This is the one place that says so: such files are no part of a stored artifact, of a directory that
a learner reads, or of what an audit is of.
"""

from __future__ import annotations

import re

_STRAYS = re.compile(
    r"\.DS_Store|\.localized|\._.*|Icon\r|\.AppleDouble|\.Spotlight-V100|\.Trashes|\.fseventsd"
    r"|__MACOSX|\.TemporaryItems|\.apdisk"  # macOS
    r"|Thumbs\.db(:encryptable)?|ehthumbs(_vista)?\.db|desktop\.ini|\$RECYCLE\.BIN"
    r"|.*:Zone\.Identifier|System Volume Information"  # Windows
    r"|\.directory|\.Trash-\d+|\.fuse_hidden\w+|\.nfs\w+|lost\+found"
    r"|\.goutputstream-\w+|@eaDir|\.snapshot"  # Linux, NFS, file servers
    r"|\..+\.sw[a-px]|\..+\.un~|.*~|\.#.*|#.*#|\.~lock\..*#|~\$.*"
    r"|\.ipynb_checkpoints",  # editors
    re.IGNORECASE | re.DOTALL,
)


def is_stray(name: str) -> bool:
    """Say whether a file or directory of this name is dropped by a system and not written by us.

    Examples
    --------
    >>> [is_stray(name) for name in (".DS_Store", "._oof.parquet", ".nfs000a1", "oof.parquet")]
    [True, True, True, False]
    """
    return _STRAYS.fullmatch(name) is not None
