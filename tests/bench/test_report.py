"""Last line of a benchmark."""

from __future__ import annotations

import json
import os

from bench.report import finish


def test_the_last_line_is_one_object_with_machine_and_commit(capsys):
    finish("drafts", {"a": 2.5}, pages=3)

    line = capsys.readouterr().out
    result = json.loads(line)
    assert line.count("\n") == 1
    assert result["bench"] == "drafts"
    assert result["ratios"] == {"a": 2.5}
    assert result["pages"] == 3
    assert f"{os.cpu_count()} cores" in result["machine"]
    assert "commit" in result
