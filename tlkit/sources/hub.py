"""Files of the model hub huggingface.co: download them, and find them in huggingface_hub's cache.

The rule: a download is held against the sha256 that the hub names in its answer; nothing is fetched of which it names none.

Source: huggingface_hub's environment variables and cache layout, huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path

from tlkit import files
from tlkit.plugin import HUB_SITE, Download
from tlkit.sources import redirects

_MAIN = "/resolve/main/"
_ETAG = "X-Linked-Etag"  # the sha256 of a file that lies elsewhere
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')


def open_(download: Download, *, headers: Mapping[str, str], timeout: float) -> tuple[HTTPResponse, str]:
    """Request a file; return the response, and "sha256:<hex>" as the hub names it, "" if it names none.

    Args:
        download: With an address of the hub; $HF_ENDPOINT names another that has the same files.
        headers: Of the request.
        timeout: Seconds without a byte.

    Raises:
        OSError: as urllib.
    """
    answer, etag = redirects.open_(_address(download.url), headers=headers, timeout=timeout, remember=_ETAG)
    found = _SHA256.fullmatch(etag)
    return answer, f"sha256:{found[1]}" if found else ""


def folder(download: Download) -> Path:
    """Return the folder of a file's repository in huggingface_hub's own cache."""
    repository = download.url.removeprefix(f"{HUB_SITE}/").partition(_MAIN)[0]
    home = files.named_folder("HF_HOME") or files.home_cache().parent / "huggingface"
    return (files.named_folder("HF_HUB_CACHE") or home / "hub") / f"models--{repository.replace('/', '--')}"


def cached(download: Download) -> Path | None:
    """Return the path of a file in huggingface_hub's own cache, or None."""
    own = folder(download)
    try:
        commit = (own / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    path = own / "snapshots" / commit / download.url.partition(_MAIN)[2]
    return path if path.is_file() else None


def _address(url: str) -> str:
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    return endpoint + url.removeprefix(HUB_SITE) if endpoint and url.startswith(f"{HUB_SITE}/") else url
