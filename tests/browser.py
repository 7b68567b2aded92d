"""Chromium without a window, in which tests open pages."""

import shutil
import subprocess
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def dumped(address: str, folder: Path, *, reachable: str = "") -> str:
    """Open a page and return its content after its scripts ran.

    Args:
        address: Of the page.
        folder: For the browser's profile.
        reachable: The one host that is found; by default none is.
    """
    assert BROWSER is not None
    hosts = "MAP * ~NOTFOUND" + (f", EXCLUDE {reachable}" if reachable else "")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--virtual-time-budget=60000",
            f"--host-resolver-rules={hosts}", f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", "--dump-dom", address,
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
