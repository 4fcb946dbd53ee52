"""Tests of the import contracts in setup.cfg.

A copy of the packages gets forbidden imports; import-linter must report each of them.
"""

from __future__ import annotations

import configparser
import fnmatch
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bench", "deploy", "handler", "mini", "server")
LAYERED_PACKAGES = ("deploy", "handler")

SETTINGS = configparser.ConfigParser()
SETTINGS.read(ROOT / "setup.cfg")
CONTRACTS = {
    section.rpartition(":")[2]: SETTINGS[section]
    for section in SETTINGS.sections()
    if section.startswith("importlinter:contract:")
}
LAYERS = [key for key in CONTRACTS if CONTRACTS[key]["type"] == "layers"]
# Contracts that forbid direct imports in a whole package, except for a few modules.
DIRECT = [key for key in CONTRACTS if "allow_indirect_imports" in CONTRACTS[key]]

# Imports that the other contracts forbid: the contract, a module, and what it imports.
PLANTED = [
    ("deploy-layers", "deploy.errors", "deploy.cli"),
    ("deploy-layers", "deploy.plan.actions", "deploy.batch.planner"),
    ("engine-layers", "handler.engine.steps", "handler.engine.batching.scheduler"),
    ("halves", "handler.errors", "bench"),
    ("halves", "handler.engine.steps", "deploy"),
    ("halves", "handler.pagination", "mini"),
    ("handler-layers", "handler.http.forms", "handler.service"),
    ("light", "handler.preprocess.ranges", "torch"),
    ("light", "handler.sandbox.wire", "ts"),
    ("planner", "deploy.machines.memory", "boto3"),
    (
        "postprocess-layers",
        "handler.postprocess.html.structure",
        "handler.postprocess.writers.plain",
    ),
    ("ships", "deploy.errors", "handler"),
    ("ships", "deploy.image.tar", "torch"),
    ("triton", "handler.engine.device.model", "triton"),
    ("triton", "server.host", "triton"),
]
# Imports that close a cycle within a folder: the folder, a module, and what it imports.
CYCLES = [
    ("deploy.batch", "deploy.batch.outcome", "deploy.batch.planner"),
    ("deploy.emulator", "deploy.emulator.http.wire", "deploy.emulator.emulator"),
    ("handler.worker", "handler.worker.state_file", "handler.worker.beacon"),
    ("server", "server.host", "server.container"),
]
# Packages that get a module without a layer.
UNLISTED = ("deploy", "handler", "handler.engine", "handler.postprocess")


def read_words(contract: configparser.SectionProxy, key: str) -> list[str]:
    return contract.get(key, "").split()


def list_modules(package: str) -> Iterator[str]:
    """Yield the dotted names of the modules below a package, without packages."""
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.name != "__init__.py":
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


def list_layers(contract: configparser.SectionProxy) -> list[str]:
    """Return the dotted names of all layers of a contract."""
    return [
        f"{container}.{layer}"
        for container in read_words(contract, "containers")
        for layer in re.findall(r"[\w.]+", contract["layers"])
    ]


def list_forbidden_imports() -> Iterator[tuple[str, str, str]]:
    """Yield contract, module and forbidden import, without the exceptions."""
    for key in DIRECT:
        contract = CONTRACTS[key]
        exceptions = {
            line.partition(" -> ")[0]
            for line in contract.get("ignore_imports", "").strip().splitlines()
        }
        for package in read_words(contract, "source_modules"):
            for module in list_modules(package):
                if not any(fnmatch.fnmatchcase(module, name) for name in exceptions):
                    for forbidden in read_words(contract, "forbidden_modules"):
                        yield key, module, forbidden


def module_path(root: Path, module: str) -> Path:
    return root.joinpath(*module.split(".")).with_suffix(".py")


@pytest.fixture(scope="module")
def broken_contracts(tmp_path_factory) -> dict[str, str]:
    """Output of import-linter per broken contract of the copy."""
    root = tmp_path_factory.mktemp("packages")
    shutil.copy(ROOT / "setup.cfg", root)
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "data")
        shutil.copytree(ROOT / package, root / package, ignore=ignored)
    for _, module, forbidden in [*PLANTED, *CYCLES, *list_forbidden_imports()]:
        with module_path(root, module).open("a") as file:
            file.write(f"\nimport {forbidden}\n")
    for package in UNLISTED:
        module_path(root, f"{package}.unlisted").touch()

    command = "from importlinter.cli import lint_imports_command as run; run()"
    output = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=root,
        # The output is wrapped at the width of the terminal.
        env={**os.environ, "COLUMNS": "500"},
        capture_output=True,
        text=True,
    )

    assert output.returncode == 1, output.stderr
    details = output.stdout.partition("\nBroken contracts\n")[2]
    sections = re.split(r"^(.+)\n-+\n", details, flags=re.MULTILINE)
    keys = {contract["name"]: key for key, contract in CONTRACTS.items()}
    return {
        keys[name]: text
        for name, text in zip(sections[1::2], sections[2::2], strict=True)
    }


def test_every_module_has_a_layer():
    layers = {layer for key in LAYERS for layer in list_layers(CONTRACTS[key])}

    modules = {name for package in LAYERED_PACKAGES for name in list_modules(package)}

    assert {
        module
        for module in modules
        if not any(f"{module}.".startswith(f"{layer}.") for layer in layers)
    } == set()


@pytest.mark.parametrize("key", LAYERS)
def test_no_module_has_two_layers_of_a_contract(key):
    layers = list_layers(CONTRACTS[key])

    assert len(layers) == len(set(layers))
    for layer in layers:
        assert [one for one in layers if one.startswith(f"{layer}.")] == []


@pytest.mark.parametrize("key", LAYERS)
def test_layers_are_exhaustive(key):
    assert CONTRACTS[key].getboolean("exhaustive")


@pytest.mark.parametrize(("key", "module", "forbidden"), PLANTED)
def test_planted_import_breaks_its_contract(broken_contracts, key, module, forbidden):
    assert f"{module} -> {forbidden} (l." in broken_contracts[key]


@pytest.mark.parametrize("folder", [folder for folder, _, _ in CYCLES])
def test_planted_cycle_is_reported(broken_contracts, folder):
    assert f"No cycles are allowed in {folder}." in broken_contracts["acyclic"]


@pytest.mark.parametrize("key", DIRECT)
def test_import_planted_in_any_module_is_reported(broken_contracts, key):
    planted = [
        planted_import
        for planted_import in list_forbidden_imports()
        if planted_import[0] == key
    ]

    assert planted
    for _, module, forbidden in planted:
        assert f"{module} -> {forbidden} (l." in broken_contracts[key]


@pytest.mark.parametrize("package", UNLISTED)
def test_module_without_a_layer_is_reported(broken_contracts, package):
    assert any(f"{package}.unlisted" in text for text in broken_contracts.values())
