"""Tests of the old spelling of `transform`, which has no verb for INPUT OUTPUT."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given, strategies as st

from deploy import cli
from deploy.commands.batch.spelling import FLAGS_WITH_VALUE, rewrite_old_spelling
from deploy.commands.index import names
from deploy.errors import ConfigError

VERBS = ("start", "status", "wait", "stop", "fetch", "retry")
GLOBALS = (
    ["--json"], ["--yes"], ["--dry-run"], ["--region", "eu-west-1"],
    ["--config", "transform"], ["--profile=status"],
)  # fmt: skip
JOB_FLAGS = (
    ["--force"], ["--instance-type", "ml.g5.xlarge"], ["--within", "2"],
    ["--no-wait"], ["--timeout=60"], ["--results", "start"],
)  # fmt: skip
START_FLAGS = (
    *JOB_FLAGS, ["--format", "json"], ["--hidden"], ["--prompt", "fetch"],
    ["--max-output-tokens", "9"],
)  # fmt: skip
WORDS = st.sampled_from(["papers", "a.pdf", "s3://inbox/scans/", "-", *VERBS[1:]])


def flags_from(choices):
    """Return a strategy for several flags, each at most once, as a list of words."""
    some = st.lists(st.sampled_from(choices), unique_by=lambda flag: flag[0])
    return some.map(lambda flags: [word for flag in flags for word in flag])


def parse(arguments):
    arguments = rewrite_old_spelling(arguments)
    return vars(cli.build_parser(arguments).parse_args(arguments))


def assert_same(old, new):
    assert parse(old) == parse(new)
    assert rewrite_old_spelling(new) == new


@given(flags_from(GLOBALS), flags_from(START_FLAGS), flags_from(GLOBALS), WORDS,
       st.booleans())  # fmt: skip
def test_input_and_output_start_a_job(before, flags, after, source, is_first):
    words = [source, "s3://results/md"]
    ordered = [*flags, *after, *words] if is_first else [*words, *flags, *after]

    assert_same(
        [*before, "transform", *ordered],
        [*before, "transform", "start", *flags, *after, *words],
    )


@given(flags_from(GLOBALS), flags_from(JOB_FLAGS), flags_from(GLOBALS),
       st.sampled_from(["--retry-failed", "--retry-all"]), st.booleans(),
       st.booleans())  # fmt: skip
def test_retry_flags_are_the_verb_retry(
    before, flags, after, flag, is_joined, is_first
):
    old = [f"{flag}=ocr-1"] if is_joined else [flag, "ocr-1"]
    more = ["--all"] if flag == "--retry-all" else []
    ordered = [*old, *flags, *after] if is_first else [*flags, *after, *old]

    assert_same(
        [*before, "transform", *ordered],
        [*before, "transform", "retry", *flags, *after, *more, "ocr-1"],
    )


@given(flags_from(GLOBALS), flags_from(GLOBALS), st.booleans(),
       st.sampled_from([["status"], ["status", "ocr-1"], ["wait", "ocr-1"],
                        ["stop", "ocr-1"]]))  # fmt: skip
def test_verbs_may_come_after_flags(before, flags, is_first, words):
    ordered = [*flags, *words] if is_first else [*words, *flags]

    assert_same(
        [*before, "transform", *ordered], [*before, "transform", *words, *flags]
    )


@given(flags_from([["--into", "s3://named/"], ["--force"]]), flags_from(GLOBALS))
def test_fetch_may_come_after_its_flags(flags, after):
    if "--into" not in flags:
        flags = [*flags, "--into", "here"]

    assert_same(
        ["transform", *flags, *after, "fetch", "ocr-1", "ocr-2"],
        ["transform", "fetch", *flags, *after, "ocr-1", "ocr-2"],
    )


@pytest.mark.parametrize("verb", VERBS[1:])
def test_folder_named_like_a_verb_is_an_input(verb):
    options = parse(["transform", verb, "s3://results/md"])

    assert (options["member"], options["input"]) == ("start", verb)


def test_start_without_output_is_an_error():
    with pytest.raises(ConfigError, match="required: OUTPUT"):
        parse(["transform", "start", "s3://inbox/scans/"])


@given(st.lists(st.sampled_from([*VERBS, "invoke", "--json", "s3://a", "--config"])))
def test_arguments_of_other_commands_are_unchanged(more):
    for words in names():
        if words[0] != "transform":
            arguments = [*words, *more, "transform"]
            assert rewrite_old_spelling(arguments) == arguments


def test_rewriting_twice_is_rewriting_once():
    for words in (["a", "s3://b"], ["--retry-all", "j"], ["status"], ["--", "a", "b"]):
        once = rewrite_old_spelling(["transform", *words])

        assert rewrite_old_spelling(once) == once


def test_flags_with_a_value_are_those_of_the_parser():
    def flags_of(parser):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                continue
            if action.option_strings and action.nargs is None:
                yield from action.option_strings

    root = cli.build_parser()
    (commands,) = (a for a in root._actions if a.dest == "command")
    transform = dict(commands.choices or {})["transform"]
    (verbs,) = (a for a in transform._actions if a.dest == "member")
    expected = {*flags_of(root)}
    for verb in dict(verbs.choices or {}).values():
        expected |= {*flags_of(verb)}

    assert expected == FLAGS_WITH_VALUE
