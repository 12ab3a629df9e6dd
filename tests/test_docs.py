"""The documents keep up with the code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    source = (ROOT / "dataflows" / "settings.py").read_text(encoding="utf-8")
    names = re.findall(r'read\.\w+\(\s*"([A-Z_]+)"', source)

    assert len(names) > 25
    for name in names:
        assert f"`{name}`" in README, name


def test_the_readme_stays_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("document", ["README.md", "DECISIONS.md", "CONTRIBUTING.md"])
def test_every_file_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:schemas|features|model|dataflows|observability|infra|tests)/[\w./]*)`", text))

    assert named
    for path in named - {"model/artifacts"}:
        assert (ROOT / path).exists(), path


def test_no_file_names_a_package_index() -> None:
    hosts = re.compile("|".join(["py" + "pi.org", "python" + "hosted", "repo1.mav" + "en", "npm" + "js.org"]))

    for path in [*ROOT.glob("*.*"), *ROOT.glob("infra/**/*.*"), ROOT / "Makefile", ROOT / ".ci" / "run"]:
        if path.is_file() and path.suffix != ".pyc":
            assert not hosts.search(path.read_text(encoding="utf-8")), path
