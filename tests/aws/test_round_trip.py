"""Round trip in a real account: deploy, read a page, update, destroy.

Opt-in: `make test-aws CONFIG=chandra.toml`, after `image push` and `model stage`.
The resources have a unique name, and are destroyed at the end even after a failure.
"""

from __future__ import annotations

import io
import json
import os
import uuid
from pathlib import Path

import pytest

from deploy.cli import main
from deploy.config import lock_path
from deploy.console import Console

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "samples" / "page.png"


@pytest.fixture
def config(tmp_path):
    """Path of the user's configuration under a unique name."""
    given = os.environ.get("CONFIG")
    if not given:
        pytest.fail("which deployment? make test-aws CONFIG=chandra.toml")
    path = tmp_path / "chandra.toml"
    kept = [
        line
        for line in Path(given).read_text().splitlines()
        if not line.startswith("name")
    ]
    name = f"chandra-test-{uuid.uuid4().hex[:8]}"
    path.write_text("\n".join([f'name = "{name}"', *kept]))
    lock = lock_path(Path(given))
    if lock.exists():
        lock_path(path).write_text(lock.read_text())
    return path


def run(config, *arguments):
    """Run a command and return its JSON output; fail with its error."""
    out = io.StringIO()
    console = Console(as_json=True, assume_yes=True, out=out)
    status = main([*arguments, "--json", "--config", str(config)], console=console)
    assert status == 0, out.getvalue()
    return json.loads(out.getvalue())


@pytest.mark.aws
# Two machines start one after the other, with a baking period in between.
@pytest.mark.timeout(3 * 3600)
def test_deploy_invoke_stop_start_and_destroy_work(config):
    try:
        run(config, "iam", "--create")
        run(config, "deploy")
        again = run(config, "deploy")
        document = run(config, "invoke", str(PAGE), "--format", "json")
        run(config, "stop")
        run(config, "start")
        facts = run(config, "status")
    finally:
        run(config, "destroy", "--all")

    assert again["actions"] == []
    assert document["pages"][0]["status"] == "success"
    assert facts["health"] == "serving"
    assert run(config, "destroy", "--all")["actions"] == []
