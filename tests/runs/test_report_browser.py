"""The report page in headless Chromium: nothing is refused, nothing is asked for, and headers sort."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cprspec.runs.report.content import page

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--enable-logging=stderr",
)  # fmt: skip
PRESSES = """
<script>
const table = document.querySelector("table.sortable");
const column = (n) => [...table.tBodies[0].rows].map((row) => row.cells[n].textContent.trim().split(/\\s/)[0]);
const seen = [];
for (const n of [1, 1, 0, 0]) {
  const button = table.tHead.rows[0].cells[n].querySelector("button");
  button.focus();
  if (document.activeElement !== button) throw new Error("a header cannot be reached by keyboard");
  button.click();
  seen.push([table.tHead.rows[0].cells[n].getAttribute("aria-sort"), column(n)]);
}
document.body.dataset.seen = JSON.stringify(seen);
</script>
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt install chromium)"),
]


def browse(file: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={folder / 'profile'}", *options, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture
def report(make_run, tmp_path):
    """A page of two runs."""
    text, _ = page([make_run("cpr", quality=0.3), make_run("coclr", lr=0.5)])
    file = tmp_path / "report.html"
    file.write_text(text)
    return file


def test_the_policy_refuses_nothing_of_the_page(report, tmp_path):
    done = browse(report, tmp_path, "--dump-dom")
    assert 'aria-label="Sections"' in done.stdout
    assert "<button" in done.stdout, "the script ran"
    assert "CONSOLE" not in done.stderr


def test_the_policy_refuses_whatever_asks_the_network_or_runs(report, tmp_path):
    asked = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        planted = (
            f'<img src="http://127.0.0.1:{server.server_port}/picture">'
            f'<script src="http://127.0.0.1:{server.server_port}/script"></script><script>document.title = "ran"</script>'
        )
        without = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.read_text())
        for text, ran in ((report.read_text(), False), (without, True)):
            asked.clear()
            report.write_text(text.replace("</main>", f"{planted}</main>"))
            done = browse(report, tmp_path, "--dump-dom")
            assert ("<title>ran" in done.stdout) == ran
            assert (set(asked) >= {"/picture", "/script"}) == ran
            assert (asked == []) != ran
            assert ("CONSOLE" in done.stderr) != ran
        server.shutdown()


def test_headers_sort_both_ways(report, tmp_path):
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.read_text())
    report.write_text(text.replace("</body>", PRESSES + "</body>"))
    done = browse(report, tmp_path, "--dump-dom")
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stderr
    seen = json.loads(found[1].replace("&quot;", '"'))
    assert [direction for direction, _ in seen] == ["descending", "ascending", "ascending", "descending"]
    numbers = [float(value) for value in seen[0][1]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) > 1
    assert [float(value) for value in seen[1][1]] == sorted(numbers)
    assert seen[2][1] == sorted(seen[2][1])
    assert seen[3][1] == sorted(seen[2][1], reverse=True)


def test_paper_shows_what_is_folded(report, tmp_path):
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext is installed (Debian: apt install poppler-utils)")
    browse(report, tmp_path, f"--print-to-pdf={tmp_path / 'report.pdf'}", "--no-pdf-header-footer")
    text = subprocess.run(
        ["pdftotext", tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    assert "Query:" in text
