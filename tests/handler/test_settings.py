"""Sources of settings, and errors for invalid ones."""

from __future__ import annotations

import dataclasses
import re
import typing

import pytest

from handler.errors import ModelLoadError
from handler.settings import (
    PREFIX,
    SHARED,
    VARIABLES,
    EngineSettings,
    HandlerSettings,
    read_settings,
)

KINDS = {
    name: kind
    for cls in (HandlerSettings, EngineSettings)
    for name, kind in typing.get_type_hints(cls).items()
}


def names_of_type(*kinds: type) -> list[str]:
    """Return the settings of one of the types `kinds`, optional or not."""
    return [
        name
        for name, kind in KINDS.items()
        if (set(typing.get_args(kind)) or {kind}) & set(kinds)
    ]


NUMBERS = names_of_type(int, float)
FLOATS = names_of_type(float)
REQUIRED = [name for name, kind in KINDS.items() if not typing.get_args(kind)]


def value_of(name: str, table: dict[str, object], environ: dict[str, str]) -> object:
    """Return the value of a setting of the handler or of the engine."""
    classes = read_settings(table, environ)
    return next(getattr(s, name) for s in classes if hasattr(s, name))


def test_defaults_apply_without_settings():
    assert read_settings({}, {}) == (HandlerSettings(), EngineSettings())


def test_table_overrides_the_default():
    assert value_of("max_pages", {"max_pages": 7}, {}) == 7


def test_variable_overrides_the_table():
    assert value_of("max_pages", {"max_pages": 7}, {"CHANDRA_MAX_PAGES": "8"}) == 8


def test_empty_variable_is_ignored():
    assert value_of("max_pages", {"max_pages": 7}, {"CHANDRA_MAX_PAGES": ""}) == 7


def test_other_variables_are_ignored():
    environ = {"PATH": "/bin", "MAX_PAGES": "3", "MODEL_SERVER": "x", "chandra_a": "b"}

    assert read_settings({}, environ) == read_settings({}, {})


@pytest.mark.parametrize(("variable", "name"), VARIABLES.items())
def test_short_variable_equals_its_long_form(variable, name):
    text = "1" if name in ("allow_cpu", "metrics_emf") else "chandra"
    long_variable = PREFIX + name.upper()

    value = value_of(name, {}, {variable: text})

    assert value == value_of(name, {}, {long_variable: text})
    assert value != value_of(name, {}, {})


@pytest.mark.parametrize("order", [1, -1])
def test_long_variable_overrides_its_short_form(order):
    variables = [("MODEL_DIR", "/short"), ("CHANDRA_MODEL_DIR", "/long")]

    value = value_of("model_dir", {}, dict(variables[::order]))

    assert value == "/long"


@pytest.mark.parametrize(
    "variable",
    [
        "CHANDRA_PORT",
        "CHANDRA_PORT_8080_TCP_ADDR",
        "CHANDRA_SERVICE_HOST",
        "CHANDRA_SERVICE_PORT_HTTP",
    ],
)
def test_kubernetes_service_variables_are_ignored(variable):
    environ = {variable: "tcp://10.0.0.1:8080"}

    assert read_settings({}, environ) == read_settings({}, {})


@pytest.mark.parametrize("name", KINDS)
def test_every_setting_has_one_name_in_both_tables(name):
    owners = [
        cls
        for cls in (HandlerSettings, EngineSettings)
        if name in {field.name for field in dataclasses.fields(cls)}
    ]

    assert len(owners) == (2 if name in SHARED else 1)


def test_an_unknown_setting_names_its_nearest_neighbour():
    with pytest.raises(ModelLoadError, match="max_seqences; did you mean max_seq"):
        read_settings({"max_seqences": 2}, {})


def test_unknown_setting_without_similar_name_is_named():
    with pytest.raises(ModelLoadError, match=r"unknown setting zzzz$"):
        read_settings({"zzzz": 2}, {})


@pytest.mark.parametrize("name", [1, True, None, 2.5])
def test_a_name_that_is_no_text_is_an_unknown_setting(name):
    with pytest.raises(ModelLoadError, match=f"^unknown setting {name}"):
        read_settings({name: 1}, {})


@pytest.mark.parametrize("table", [["max_pages"], "max_pages", 7])
def test_settings_that_are_no_table_are_refused(table):
    with pytest.raises(ModelLoadError, match=r"^handler: .* must be a table$"):
        read_settings(table, {})


def test_an_unknown_variable_names_its_nearest_neighbour():
    with pytest.raises(ModelLoadError, match=r"CHANDRA_MAX_PAGE; .* CHANDRA_MAX_PAGES"):
        read_settings({}, {"CHANDRA_MAX_PAGE": "2"})


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", "on"])
def test_spellings_of_true_allow_a_cpu(text):
    assert value_of("allow_cpu", {}, {"ALLOW_CPU": text}) is True


@pytest.mark.parametrize("text", ["0", "false", "False", "NO", "off"])
def test_spellings_of_false_forbid_a_cpu(text):
    assert value_of("allow_cpu", {"allow_cpu": True}, {"ALLOW_CPU": text}) is False


@pytest.mark.parametrize("value", [True, False])
def test_bool_in_yaml_is_kept(value):
    assert value_of("allow_cpu", {"allow_cpu": value}, {}) is value


@pytest.mark.parametrize("text", ["none", "None", "null"])
def test_word_none_in_a_variable_unsets_a_setting(text):
    environ = {"CHANDRA_DEADLINE_SECONDS": text}

    assert value_of("deadline_seconds", {}, environ) is None


def test_null_in_yaml_unsets_a_setting():
    assert value_of("deadline_seconds", {"deadline_seconds": None}, {}) is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("wait_seconds", "0.25", 0.25),
        ("wait_seconds", 1, 1.0),
        ("deadline_seconds", "2.5", 2.5),
        ("max_pages", "12", 12),
        ("max_pages", 12.0, 12),
        ("max_side", "2048", 2048),
        ("model_id", "datalab-to/chandra", "datalab-to/chandra"),
        ("model_revision", 1234567, "1234567"),
    ],
)
def test_value_is_converted_to_the_type_of_its_setting(name, value, expected):
    parsed = value_of(name, {name: value}, {})

    assert parsed == expected
    assert type(parsed) is type(expected)


def refusal(name: str, value: object) -> str:
    """Return the detail of the error for an invalid value."""
    with pytest.raises(ModelLoadError) as caught:
        read_settings({name: value}, {})
    return caught.value.detail


@pytest.mark.parametrize("name", [*NUMBERS, "allow_cpu"])
@pytest.mark.parametrize("value", ["many", "1.5.2", [], {}, "0x10"])
def test_value_of_wrong_type_is_refused_with_the_setting(name, value):
    assert re.match(f"{name} must be .*{re.escape(repr(value))}", refusal(name, value))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, "-1", True, float("nan"), float("-inf")])
def test_nonpositive_or_nan_number_is_refused_by_name(name, value):
    if value == float("-inf") and name not in FLOATS:
        value = -(10**30)

    assert refusal(name, value).startswith(f"{name} must be ")


@pytest.mark.parametrize("name", sorted(set(NUMBERS) - set(FLOATS)))
def test_fraction_for_a_whole_number_is_refused(name):
    assert refusal(name, 1.5) == f"{name} must be a whole number, not 1.5"


@pytest.mark.parametrize(
    ("name", "value"), [("max_pages", float("inf")), ("deadline_seconds", 10**400)]
)
def test_infinite_or_huge_number_is_refused_by_name(name, value):
    assert refusal(name, value).startswith(f"{name} must be ")


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "none"])
def test_required_setting_cannot_be_empty(name, value):
    assert refusal(name, value) == f"{name} cannot be left empty"


@pytest.mark.parametrize(
    ("name", "most"), [("decode_seconds", 60), ("wait_seconds", 5)]
)
def test_time_setting_above_its_maximum_is_refused(name, most):
    assert refusal(name, most + 1) == (
        f"{name} must be above 0 and at most {most} s, not {most + 1}.0"
    )


def test_a_page_smaller_than_a_patch_is_refused():
    assert refusal("max_side", 31) == "max_side must be at least 32 pixels, not 31"


@pytest.mark.parametrize("settings", read_settings({}, {}))
def test_settings_are_immutable(settings):
    field = dataclasses.fields(settings)[0].name

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, field, 1)


def test_invalid_document_bucket_is_refused_by_name():
    with pytest.raises(ModelLoadError, match=r"bucket/prefix.*'\*' is neither"):
        read_settings({}, {"DOCUMENT_BUCKETS": "docs/in, *"})
