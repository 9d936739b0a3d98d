"""Made-up secrets."""

from __future__ import annotations

TOKEN, LOADER_TOKEN, PASSWORD = "tok-5f3a91c2", "ldr-77ab0d1e", "pw-0c9d8e7f"
URL = f"postgres://user:{PASSWORD}@host/base"
