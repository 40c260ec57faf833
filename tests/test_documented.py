"""Documents say what the code does: commands, settings, files and stages named in them exist, and none is missing."""

import re
import subprocess

import pytest

from core.paths import ROOT, STAGES
from core.settings_table import SETTINGS

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
DEPLOY = ["deploy/raspberry-pi.md", "deploy/vps.md"]
INNER_TARGETS = {"help"}  # what a bare `make` shows: README says it in words


def test_every_make_target_is_in_the_readme() -> None:
    told = set(re.findall(r"make ([a-z]+)", README))
    assert TARGETS - told - INNER_TARGETS == set()


@pytest.mark.parametrize("name", ["README.md", "DECISIONS.md", "CHANGELOG.md", ".env.example", *DEPLOY])
def test_every_make_command_that_a_document_names_exists(name: str) -> None:
    told = set(re.findall(r"`make ([a-z]+)", (ROOT / name).read_text()))
    assert told - TARGETS == set()


def test_a_bare_make_lists_every_target() -> None:
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {target for target in TARGETS - INNER_TARGETS if not re.search(rf"\b{target}\b", shown)} == set()


def test_settings_named_in_the_readme_exist() -> None:
    known = set(SETTINGS)
    cells = re.findall(r"^\| (`[A-Z_`, ]+`) \|", README, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([A-Z_]+)`", cell)}
    assert named, "the README's table of settings was not found"
    assert named - known == set()


@pytest.mark.parametrize("name", DEPLOY)
def test_settings_named_in_the_deploy_notes_exist(name: str) -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)[`=]", (ROOT / name).read_text()))
    assert named and named - set(SETTINGS) == set()


def test_defaults_in_the_readme_are_the_settings_defaults() -> None:
    defaults = {setting.name: setting.default for setting in SETTINGS.values()}
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| (`[^|]+`) \|", README, re.MULTILINE)
    for names, values in rows:
        shown = re.findall(r"`([^`]+)`", values)
        for name, value in zip(re.findall(r"`([A-Z_]+)`", names), shown, strict=False):
            if " to " not in values:
                assert value == defaults[name], name


def test_files_linked_in_documents_exist() -> None:
    for name in ("README.md", "DECISIONS.md", "CHANGELOG.md", *DEPLOY):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
            if "://" not in target:
                assert ((ROOT / name).parent / target).exists(), f"{name} links to {target}"


def test_every_stage_is_described_and_supervised() -> None:
    conf = (ROOT / "supervisord.conf").read_text()
    for stage in (*STAGES, "sandbox"):
        assert f"[program:{stage}]" in conf
        assert f"`{stage}`" in README


def test_the_readme_begins_with_the_packages_to_install() -> None:
    commands = README.split("```bash", 1)[1].split("```", 1)[0].strip().splitlines()
    assert commands[0].startswith("sudo apt install git make python3-venv sqlite3")
    assert any(line.startswith("make run") for line in commands)
