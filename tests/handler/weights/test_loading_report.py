"""Checkpoints that lack tensors are rejected; unexpected tensors are logged.

Most tests load modified copies of `mini` as the engine does. The others call
`check_report` with reports that such copies cannot produce.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from handler.engine.device.model import load_model
from handler.errors import ModelLoadError
from handler.settings import EngineSettings
from handler.weights.loading_report import check_report
from handler.weights.source import Source, fetch
from tests.checkpoints import mini_with

Tensors = dict[str, Any]
LAYER = "model.language_model.layers.3"


def load(folder: Path) -> None:
    source = Source("folder", str(folder))
    load_model(fetch(source, EngineSettings(), folder / "unused"), "cpu", 1)


@pytest.fixture
def events(caplog):
    """Return a function that returns the fields of the only event with a name."""
    caplog.set_level(logging.INFO, "handler")

    def event(name: str) -> dict[str, Any]:
        [record] = [r for r in caplog.records if r.getMessage() == name]
        fields: dict[str, Any] = vars(record)
        return fields

    return event


def test_missing_and_renamed_tensors_are_named(tmp_path, events):
    def change(tensors: Tensors) -> None:
        del tensors["model.language_model.norm.weight"]
        old = f"{LAYER}.mlp.up_proj.weight"
        tensors[f"{LAYER}.mlp.up.weight"] = tensors.pop(old)

    folder = mini_with(tmp_path / "mini", change)

    with pytest.raises(
        ModelLoadError,
        match=rf"mini lacks 2 of the \d+ tensors .* {LAYER}\.mlp\.up_proj\.weight, "
        rf"model\.language_model\.norm\.weight\. It has 1 .*{LAYER}\.mlp\.up\.weight",
    ):
        load(folder)

    assert events("loading report")["missing"] == 2


def test_unexpected_tensors_are_logged_with_transformers_report(tmp_path, events):
    def change(tensors: Tensors) -> None:
        tensors["mtp.fc.weight"] = torch.zeros(2, 2)
        tensors["mtp.norm.weight"] = torch.zeros(2)

    folder = mini_with(tmp_path / "mini", change)

    load(folder)

    report = events("loading report")
    assert (report["missing"], report["mismatched"], report["unexpected"]) == (0, 0, 2)
    assert report["unexpected_examples"] == ["mtp.fc.weight", "mtp.norm.weight"]
    assert report["levelno"] == logging.WARNING
    assert "LOAD REPORT" in events("transformers")["text"]
    assert "\x1b" not in events("transformers")["text"]


def test_wrong_shape_is_reported_with_both_shapes(tmp_path):
    def change(tensors: Tensors) -> None:
        tensors[f"{LAYER}.mlp.up_proj.weight"] = torch.zeros(256, 256)

    folder = mini_with(tmp_path / "mini", change)

    with pytest.raises(
        ModelLoadError,
        match=rf"{LAYER}\.mlp\.up_proj\.weight with the shape \[256, 256\], but its "
        r"config\.json describes \[512, 256\]",
    ):
        load(folder)


def test_untied_head_must_not_be_missing(tmp_path):
    folder = mini_with(tmp_path / "mini", lambda tensors: None)
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(ModelLoadError, match=r"lacks 1 of .*: lm_head\.weight\."):
        load(folder)


# Reports of transformers


def check(
    *, names: tuple[str, ...] = (), ignored: tuple[str, ...] = (), **report: Any
) -> None:
    whole: dict[str, Any] = {
        "missing_keys": set(),
        "unexpected_keys": set(),
        "mismatched_keys": set(),
    }
    check_report(
        Path("weights"),
        whole | report,
        num_expected=9,
        names=names,
        ignored_patterns=ignored,
    )


def test_report_of_complete_model_is_logged_as_info(events):
    check(names=("a",))

    assert events("loading report")["levelno"] == logging.INFO


def test_ignored_tensors_count_as_unexpected(events):
    check(names=("a", "mtp.fc", "mtp.norm"), ignored=(r"^mtp.*",))

    assert events("loading report")["unexpected"] == 2


def test_first_of_many_missing_tensors_are_named():
    with pytest.raises(ModelLoadError, match=r"lacks 8 .*: a, b, c, d, e and 3 more"):
        check(missing_keys=set("abcdefgh"))


def test_first_of_many_wrong_shapes_is_named():
    mismatched = {("b", (1, 2), (2, 1)), ("a", (3,), (4,))}

    with pytest.raises(
        ModelLoadError, match=r"a with the shape \[3\], .* \[4\] \(2 tensors differ\)"
    ):
        check(mismatched_keys=mismatched)
