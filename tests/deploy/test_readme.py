"""Tests that deploy/README.md agrees with the program.

Help texts and example outputs in the README are generated. With UPDATE_DOCS=1 in the
environment, these tests write them to the README instead of comparing them.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import typing
from pathlib import Path

import pytest

from deploy import cli, config
from deploy.commands.index import names
from deploy.config import AsynchronousTable, DeployConfig, write_lock
from deploy.machines.catalogue import INSTANCES
from deploy.machines.prices import hourly_price
from deploy.machines.throughput import rate_of
from deploy.plan.advice import ADVICE
from tests.deploy.accounts import IMAGE
from tests.deploy.batch.transformer import TRANSFORM_CONFIG, create_batch_resources
from tests.deploy.contents import PNG
from tests.deploy.images import publish

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "deploy" / "README.md"
GETTING_STARTED = "## Getting started"
BATCH = "## Batch transform"
HELP = "## Commands"
SETTINGS = "## Settings in chandra.toml"
TROUBLE = "## Troubleshooting"
START_MINUTES = 8
"""Start of an instance, as in bench/autoscaling.py."""
BLOCK = re.compile(r"```console\n\$ chandra-sagemaker ([^\n]+)\n(.*?)```", re.DOTALL)


def read_section(heading):
    """Return the text below a heading, up to the next heading of the same level."""
    text = README.read_text()
    assert f"\n{heading}\n" in text
    return text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]


def compare_or_update(heading, expected):
    """Assert that a section has the expected text; with UPDATE_DOCS=1, write it."""
    current = read_section(heading)
    if os.environ.get("UPDATE_DOCS"):
        README.write_text(README.read_text().replace(current, expected))
        return
    assert current == expected


def list_commands():
    """Yield groups of commands and every command, in the order of the help."""
    for words in names():
        group = words[:-1]
        if group and words[-1] == next(w for w in names() if w[:-1] == group)[-1]:
            yield group
        yield words


def parser_of(parser, words):
    for word in words:
        commands = next(a for a in parser._actions if a.dest in ("command", "member"))
        parser = dict(commands.choices or {})[word]
    return parser


def test_help_of_every_command_is_current():
    root = cli.build_parser()
    introduction = read_section(HELP).partition("```text")[0]
    blocks = [f"```text\n{root.format_help()}```\n"]
    for words in list_commands():
        text = parser_of(root, words).format_help()
        text = text.replace(
            "\nFlags for every command are in chandra-sagemaker --help.\n", ""
        )
        blocks.append(f"### {' '.join(words)}\n\n```text\n{text}```\n")

    compare_or_update(HELP, introduction + "\n".join(blocks))


IMAGE_IN_LOCK = {"uri": IMAGE, "tag": "0123456789ab"}


def test_outputs_of_getting_started_are_current(chandra, tmp_path, wire):
    path = tmp_path / "chandra.toml"
    path.unlink()
    wire.call("s3", "create_bucket", Bucket="my-bucket")
    (tmp_path / "page.png").write_bytes(PNG + bytes(249_992))

    def run_example(match):
        arguments = [
            str(tmp_path / word) if word == "page.png" else word
            for word in shlex.split(match[1])
        ]
        ran = chandra(*arguments, yes=False)
        assert ran.status == 0, ran.err
        # The next example needs what the command itself does without --dry-run.
        if match[1] == "image push --dry-run":
            publish(wire, IMAGE)
            write_lock(path, "image", IMAGE_IN_LOCK)
        if match[1] == "model stage --dry-run":
            assert chandra("model", "stage").status == 0
        if match[1] == "init":
            path.write_text(path.read_text().replace("# region", "region"))
        text = ran.out.replace(f"{tmp_path}/", "")
        return f"```console\n$ chandra-sagemaker {match[1]}\n{text}```"

    shown = read_section(GETTING_STARTED)
    expected = BLOCK.sub(run_example, shown)

    assert len(BLOCK.findall(shown)) > 5
    compare_or_update(GETTING_STARTED, expected)


def test_outputs_of_batch_transform_are_current(chandra, cloud, wire, project, at):
    project(TRANSFORM_CONFIG)
    put = create_batch_resources(cloud, wire, at.now)
    for number in range(200):
        put(f"scans/{number:03}.pdf", b"%PDF-" + bytes(300_000))

    def run_example(match):
        ran = chandra(*shlex.split(match[1]), yes=False)
        assert ran.status == 0, ran.err
        return f"```console\n$ chandra-sagemaker {match[1]}\n{ran.out}```"

    shown = read_section(BATCH)
    expected = BLOCK.sub(run_example, shown)

    assert len(BLOCK.findall(shown)) >= 1
    compare_or_update(BATCH, expected)


def list_settings(cls=DeployConfig, where=""):
    """Yield the name and the default of every setting, as the README writes them."""
    kinds = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = kinds[field.name]
        if dataclasses.is_dataclass(kind):
            yield from list_settings(kind, f"{field.name}.")
            continue
        default = field.default
        if default is dataclasses.MISSING:
            default = "{}"
        elif isinstance(default, tuple):
            default = f"[{', '.join(default)}]"
        elif isinstance(default, bool | None):
            default = str(default).lower()
        yield f"`{where}{field.name}`", str(default)


def read_table(heading):
    """Return the cells of the rows of the table in a section, without its head."""
    lines = [
        line for line in read_section(heading).splitlines() if line.startswith("|")
    ]
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in lines[2:]]


def test_table_of_settings_is_complete():
    rows = read_table(SETTINGS)

    assert [(name, default) for name, default, _ in rows] == list(list_settings())
    assert all(meaning for *_, meaning in rows)


def read_sources():
    return "\n".join(path.read_text() for path in (ROOT / "deploy").rglob("*.py"))


def test_troubleshooting_quotes_real_messages():
    quoted = [row[0].strip("`") for row in read_table(TROUBLE)]
    code = re.sub(r'"\s+f?"', "", read_sources())

    assert {advice.message for advice in ADVICE} <= set(quoted)
    assert [message for message in quoted if message not in code] == []


def test_sagemaker_reasons_have_the_advice_of_the_program():
    rows = {row[0].strip("`"): row[1:] for row in read_table(TROUBLE)}

    for advice in ADVICE:
        assert rows[advice.message] == [advice.meaning, advice.hint]


@pytest.mark.parametrize("name", [" ".join(words) for words in names()])
def test_command_is_mentioned_outside_its_help(name):
    text = README.read_text().replace(read_section(HELP), "")

    assert re.search(rf"\b{name}\b", text)


def test_configuration_has_eight_tables():
    """Check their number; the test of the settings covers their fields."""
    tables = [name for name in config.__all__ if name.endswith("Table")]

    assert len(tables) == 8


def test_costs_of_the_queue_are_those_of_the_program(tmp_path):
    """Check the price of 1,000 pages, and of the start and idle time of a burst."""
    known = INSTANCES["ml.g6e.2xlarge"]
    rate = rate_of(known.gpu.name, tmp_path)
    price = hourly_price("ml.g6e.2xlarge", 1)
    assert rate is not None
    assert price is not None
    busy = f"${price * 1000 / rate.together / 3600:.2f}"
    idle_minutes = AsynchronousTable().idle / 60
    burst = f"${price * (START_MINUTES + idle_minutes) / 60:.2f}"

    for path in (README, ROOT / "README.md"):
        text = path.read_text()
        assert busy in text, path
        assert burst in text, path
