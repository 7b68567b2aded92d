"""report.html in a browser: every chart is drawn, nothing is fetched, hover and theme work, and axe-core finds nothing serious."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_runs
import toy_search
from browser import BROWSER, dumped
from conftest import TOY_RECIPE

from tlkit import api
from tlkit.record import findings, run_folder
from tlkit.record.findings import Across, DoubtfulLabel, Findings, Image, Outlier, Pair, Sizes

ARMS = """
[data.split]
validation = 0.2
[arms.finetune]
[arms.head_only]
freeze = { backbone = true }
"""

# It runs after the page's own script, and writes what it found into the page, which is then dumped.
PROBE = """
window.found = { errors: [] };
window.addEventListener("error", (event) => window.found.errors.push(String(event.message)));
window.addEventListener("unhandledrejection", (event) => window.found.errors.push(String(event.reason)));
["error", "warn"].forEach((level) => {
  const before = console[level];
  console[level] = (...words) => { window.found.errors.push(words.map(String).join(" ")); before(...words); };
});
"""
LOOK = """
(async () => {
  const found = window.found, root = document.documentElement;
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  try {
    while (!root.dataset.drawn) await wait(50);
    document.querySelectorAll("details").forEach((each) => { each.open = true; });
    await wait(300);
    const plots = [...document.querySelectorAll(".plot")];
    found.plots = plots.length;
    found.search = plots.map((each) => each.id).filter((name) => ["importance-0", "trials-0"].includes(name)).length;
    found.empty = plots.filter((each) => !each.querySelector(".main-svg .trace, .main-svg .hm")).map((each) => each.id);
    found.wide = document.documentElement.scrollWidth > window.innerWidth + 1;
    found.width = window.innerWidth;
    found.data = [...document.querySelectorAll("#data figure img")].filter((each) => each.naturalWidth && each.alt).length;
    found.warned = document.querySelectorAll("#result .warnings li").length;
    const map = plots.find((each) => each.id.startsWith("map-"));
    map.scrollIntoView();
    await wait(100);
    const axes = map._fullLayout, shown = document.getElementById("hover");
    for (const trace of map.data) {  // another point may be above the one that is pointed at
      for (let point = 0; point < trace.x.length && shown.hidden; point += 1) {
        if (trace.customdata[point] < 0) continue;
        const box = map.getBoundingClientRect();
        const clientX = box.left + axes.xaxis._offset + axes.xaxis.d2p(trace.x[point]);
        const clientY = box.top + axes.yaxis._offset + axes.yaxis.d2p(trace.y[point]);
        map.querySelector(".nsewdrag").dispatchEvent(new MouseEvent("mousemove", { clientX, clientY, bubbles: true }));
        await wait(200);
      }
    }
    found.hover = [...map.querySelectorAll(".hovertext")].map((each) => each.textContent).join("|");
    found.picture = !shown.hidden && shown.style.backgroundImage.slice(0, 20);
    const ground = () => getComputedStyle(document.body).backgroundColor;
    const ink = () => plots[0]._fullLayout.font.color;
    found.light = [ground(), ink()];
    document.getElementById("theme").click();
    await wait(300);
    found.dark = [ground(), ink()];
    const select = document.querySelector("select[data-chart='curves-loss']");
    select.value = "seconds";
    select.dispatchEvent(new Event("change"));
    await wait(200);
    const loss = document.getElementById("curves-loss");
    const charts = JSON.parse(document.getElementById("charts").textContent);
    const seconds = charts.find((each) => each.name === "curves-loss").axes.seconds;
    found.axis = [loss._fullLayout.xaxis.title.text, loss.data[0].x[0] === seconds[0][0]];
    found.fetched = performance.getEntriesByType("resource").map((each) => each.name).filter((name) => !name.startsWith("data:"));
    if (window.axe) {
      found.axe = {};
      for (const theme of window.innerWidth < 600 ? ["light"] : ["dark", "light"]) {
        root.dataset.theme = theme;
        await wait(200);
        const result = await axe.run(document, { resultTypes: ["violations"] });
        found.axe[theme] = result.violations.filter((each) => ["serious", "critical"].includes(each.impact)).map(
          (each) => `${each.id}: ${each.nodes.length} x ${each.nodes[0].html.slice(0, 160)} ${each.nodes[0].failureSummary}`);
      }
    }
  } catch (error) { found.errors.push(String(error.stack || error)); }
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.replaceChildren(out);
})();
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if BROWSER is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    folder = tmp_path_factory.mktemp("browser")
    with toy_runs.applied(folder, TOY_RECIPE.replace("train = 80", "train = 400") + ARMS) as done:
        inspected(done.folder)
        toy_search.into(done.folder, next(done.folder.glob("finetune-*")).name)
        return api.report(done.folder, folder / "report.html")


def inspected(folder: Path) -> None:
    """Write duplicates, a doubtful label and an outlier for the data of a recipe's runs: toy images have none."""
    content = run_folder.resolved(next(folder.glob("finetune-*")))["inputs"]["data"]
    one, other, odd = (Image(part, row, f"{part} image {row}", "1", row) for row, part in enumerate(("train", "test", "train")))
    found = Findings(
        "synthetic", "", content, {"train": 320, "validation": 80, "test": 40}, {"0": {"train": 80}, "1": {"train": 80}},
        sizes=Sizes((16, 16), (16, 16), (16, 16)), embedded="toy, stage block2",
        across=[Across("train", "test", "near", 1, 40, (one.name, other.name))], pairs=[Pair(one, other, "near", 0.99)],
        labels=[DoubtfulLabel(one, "0", 0.01, 0.9)], outliers=[Outlier(odd, 3.5)],
        totals={"exact": 0, "near": 1, "labels": 1, "outliers": 1}, notes=["exact duplicates are looked for"],
    )  # fmt: skip
    findings.save(folder, found, np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8))


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from $TLKIT_AXE or from npm; "" where neither has it."""
    named = os.environ.get("TLKIT_AXE")
    if named:
        return Path(named).read_text()
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("npm")
    if npm is None:
        return ""
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4"],
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    source = folder / "node_modules" / "axe-core" / "axe.min.js"
    return source.read_text() if done.returncode == 0 and source.is_file() else ""


def look(page: Path, folder: Path, *, width: int, axe: str = "") -> dict[str, Any]:
    """Open a page in a frame of a width, and return what the probe found. A window of Chromium is at least 500 pixels wide."""
    text = page.read_text().replace("<style>", f"<script>{PROBE}</script><style>", 1)
    script = "".join(f"<script>{each}</script>" for each in (axe, LOOK) if each)
    inner = folder / f"inner-{width}.html"
    inner.write_text(text.replace("</body>", f"{script}</body>"))
    outer = folder / f"outer-{width}.html"
    copy = "document.body.textContent = 'FOUND' + JSON.stringify(frame.contentDocument.getElementById('found').textContent) + 'END'"
    outer.write_text(
        f"<!doctype html><body><iframe id=frame src='{inner.name}' style='border:0;width:{width}px;height:900px'></iframe><script>"
        "const frame = document.getElementById('frame');"
        f"setInterval(() => {{ if (frame.contentDocument && frame.contentDocument.getElementById('found')) {copy}; }}, 100);</script>"
    )
    found_page = dumped(outer.as_uri(), folder)
    match = re.search(r'FOUND"(.*)"END', found_page, re.DOTALL)
    assert match, found_page[-500:]
    text = match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&")
    found: dict[str, Any] = json.loads(json.loads(f'"{text}"'))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_page_works_in_a_browser(page: Path, axe: str, tmp_path: Path, width: int) -> None:
    found = look(page, tmp_path, width=width, axe=axe)
    assert found["errors"] == []
    assert found["width"] == width
    assert found["plots"] > 10
    assert found["search"] == 2
    assert found["empty"] == []
    assert found["fetched"] == []
    assert not found["wide"], "the page is wider than its window"
    assert found["data"] == 4  # two of the pair, the label's, the outlier's
    assert found["warned"] >= 1
    assert "class" in found["hover"]
    assert found["picture"] == 'url("data:image/jpeg'
    assert found["light"] == ["rgb(255, 255, 255)", "#1c1f23"]
    assert found["dark"] == ["rgb(21, 24, 28)", "#e8eaed"]
    assert found["axis"] == ["seconds", True]
    if not axe:
        pytest.skip("the rest passed; axe-core is not here and npm cannot install it, so accessibility was not checked")
    assert not any(found["axe"].values()), found["axe"]
