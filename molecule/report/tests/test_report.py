"""The views answer the two questions, and programs can read them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

testinfra_hosts = ["local://"]


def test_the_result_says_whether_it_is_good(results: Path) -> None:
    result = json.loads((results / "result.json").read_text(encoding="utf-8"))
    assert (result["verdict"], result["exit_code"]) == ("good", 0), result["reason"]
    assert result["counts"]["pass"] > 10


def test_junit_holds_every_verdict(results: Path) -> None:
    cases = ET.parse(results / "junit.xml").getroot().iter("testcase")  # noqa: S314 - we wrote it
    lines = (results / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(list(cases)) >= len(lines)


def test_the_page_needs_nothing_but_itself(results: Path) -> None:
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "<html" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_the_manifest_says_what_was_under_test(results: Path, context: dict[str, Any]) -> None:
    manifest = json.loads((results / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["commit"], manifest["time_scale"]) == (context["commit"], 0.05)
