"""Command `local`: emulator of SageMaker's data plane on this machine."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from deploy.aws import AWSClient
from deploy.commands.command import Command
from deploy.context import Context
from deploy.emulator.account import EmulatedAccount
from deploy.emulator.backend import Backend
from deploy.emulator.emulator import Emulator, ServerProgram
from deploy.emulator.limits import Assumptions, parse_assumptions
from deploy.emulator.process import build_archive, find_server_folder
from deploy.emulator.seed import SampleResources, create_samples
from deploy.errors import ConfigError

REGION = "us-east-1"
MINI = "mini"
DEPLOYED = "deployed"
LARGEST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=port,
        default=4600,
        metavar="N",
        help="port on 127.0.0.1, 0 for any free one (default 4600)",
    )
    parser.add_argument(
        "--server",
        metavar="URL",
        help="use a running server for every endpoint and job (default: start one for "
        "each)",
    )
    parser.add_argument(
        "--backend",
        metavar="URL",
        help="server for all other AWS calls (default: start a moto server, with a "
        "bucket, a real-time endpoint, an asynchronous endpoint and a model for jobs)",
    )
    parser.add_argument(
        "--empty",
        action="store_true",
        help="start with an empty account, without the sample resources",
    )
    parser.add_argument(
        "--init",
        action="store_true",
        help="write a chandra.toml for the emulator, unless there is one",
    )
    parser.add_argument(
        "--s3",
        metavar="URL",
        help="another server only for S3, with or without --backend",
    )
    parser.add_argument(
        "--weights",
        default=MINI,
        metavar="FOLDER",
        help="weights that the servers load: a folder, `mini`, or `deployed` for those "
        "of each model (default mini)",
    )
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set an assumption about SageMaker; deploy/emulator/README.md lists them",
    )


def port(text: str) -> int:
    """Return a TCP port, or 0; raises ArgumentTypeError otherwise."""
    if not text.isascii() or not text.isdigit() or int(text) > LARGEST_PORT:
        raise argparse.ArgumentTypeError(
            f"{text} is not a port: give a number from 0 to {LARGEST_PORT}"
        )
    return int(text)


def run(context: Context, options: argparse.Namespace) -> int:
    """Run the emulator until Ctrl-C or SIGTERM."""
    assumptions = parse_assumptions(options.assume)
    _refuse_init_without_samples(options)
    region, name = _region(context), _name(context)
    if context.is_dry_run:
        return _report_plan(context, options, assumptions)
    with contextlib.ExitStack() as stack:
        stop = _handle_stop_signals(stack)
        account = None if options.backend else EmulatedAccount()
        if account is not None:
            stack.callback(account.close)
        credentials = _emulated_credentials()
        backend = _connect_backend(options, account, credentials)
        server = options.server or _server_program(options.weights, credentials)
        emulator = _bind_emulator(context, options, backend, server, assumptions)
        stack.callback(emulator.close)
        samples = None
        if account is not None and not options.empty:
            samples = create_samples(backend, region, name)
        emulator.start()
        is_config_new = False
        if options.init and samples is not None:
            is_config_new = _write_config(context, samples, region)
        variables = _client_variables(emulator.address, region, credentials)
        _report_start(
            context, emulator, backend, variables, samples, is_config_new=is_config_new
        )
        stop.wait()
        context.console.say("stopping the emulator and its servers")
    return 0


def _refuse_init_without_samples(options: argparse.Namespace) -> None:
    if options.init and (options.backend or options.empty):
        raise ConfigError(
            "--init writes settings for the sample resources, which --backend and "
            "--empty leave out",
            hint="chandra-sagemaker init writes a chandra.toml with the defaults",
        )


def _report_plan(
    context: Context, options: argparse.Namespace, assumptions: Assumptions
) -> int:
    """Print what would listen, for --dry-run; return exit status 0."""
    server = options.server or "a server of its own for each endpoint and job"
    context.console.print_result(
        {"port": options.port, "assumed": asdict(assumptions)},
        [f"would listen on 127.0.0.1:{options.port} in front of {server}"],
    )
    return 0


def _connect_backend(
    options: argparse.Namespace,
    account: EmulatedAccount | None,
    credentials: Mapping[str, str] | None,
) -> Backend:
    """Return clients of the server for all AWS calls that the emulator forwards."""
    return Backend(
        account.address if account is not None else options.backend,
        lambda region, address: AWSClient.connect(
            region=region, endpoint_url=address, credentials=credentials
        ),
        s3_url=options.s3,
    )


def _bind_emulator(
    context: Context,
    options: argparse.Namespace,
    backend: Backend,
    server: str | ServerProgram,
    assumptions: Assumptions,
) -> Emulator:
    """Bind the port of the emulator, which answers once it is started.

    Raises ConfigError if the port cannot be used.
    """
    try:
        return Emulator(
            backend,
            server=server,
            region=_region(context),
            print_line=context.console.say,
            port=options.port,
            assumptions=assumptions,
        )
    except OSError as error:
        raise ConfigError(
            f"port {options.port} cannot be used: {error.strerror}",
            hint="chandra-sagemaker local --port 0 uses a free port",
        ) from error


def _report_start(
    context: Context,
    emulator: Emulator,
    backend: Backend,
    variables: Mapping[str, str],
    samples: SampleResources | None,
    *,
    is_config_new: bool,
) -> None:
    """Print the addresses, the sample resources and the next commands."""
    config_path = str(context.config_path)
    context.console.print_result(
        {
            "address": emulator.address,
            "backend": backend.url,
            "environment": dict(variables),
            "made": asdict(samples) if samples else None,
            "wrote": config_path if is_config_new else None,
        },
        [
            f"SageMaker's data plane: {emulator.address}",
            f"everything else:        {backend.url}",
            *(samples.describe() if samples else ()),
            *([f"wrote {config_path}"] if is_config_new else ()),
            "in another terminal, in this folder:",
            "  export " + " ".join(f"{n}={value}" for n, value in variables.items()),
            *(_next_commands(context, samples) if samples else ()),
            "Ctrl-C stops the emulator and its servers",
        ],
    )


def _write_config(context: Context, samples: SampleResources, region: str) -> bool:
    """Write chandra.toml unless it exists; return True if it was written.

    Raises ConfigError if the file cannot be written.
    """
    try:
        with context.config_path.open("x") as file:
            file.write(samples.format_settings(region))
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            f"{context.config_path} cannot be written: {error.strerror}",
            hint="chandra-sagemaker local --init in a writable folder",
        ) from error
    return True


def _next_commands(context: Context, samples: SampleResources) -> Iterator[str]:
    """Yield the next commands to type."""
    if not context.config_path.exists():
        yield "  (for async and transform, stop it and start it again with --init)"
        return
    ledger = context.config_path.with_suffix(".ledger.db")
    if ledger.exists():
        yield f"  rm {ledger}*   # ledger of an earlier emulator, which is gone"
    yield "  chandra-sagemaker async submit FOLDER"
    yield f"  chandra-sagemaker transform start FOLDER s3://{samples.bucket}/md/"


def _handle_stop_signals(stack: contextlib.ExitStack) -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set; `stack` restores their handlers.

    In other threads than the main one, signals are not handled.
    """
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, lambda *_: stop.set())
            stack.callback(signal.signal, number, before)
    return stop


def _server_program(
    weights: str, credentials: Mapping[str, str] | None
) -> ServerProgram:
    """Build the model archive, and return the server to start for each endpoint.

    Raises ConfigError if `weights` is a folder without config.json.
    """
    folder = find_server_folder()
    weights_folder: str | None = None
    if weights == MINI:
        weights_folder = str(folder / "model-store" / "mini")
    elif weights != DEPLOYED:
        weights_folder = str(Path(weights).resolve())
    if (
        weights_folder is not None
        and not (Path(weights_folder) / "config.json").is_file()
    ):
        raise ConfigError(
            f"{weights_folder} is not a folder of weights",
            hint="--weights needs a folder with a config.json, or mini",
        )
    build_archive(folder)
    return ServerProgram(
        folder, weights_folder, dict(_container_variables(credentials))
    )


def _emulated_credentials() -> dict[str, str] | None:
    """Return credentials for moto, which accepts any; None if the user has some."""
    if AWSClient.connect(region=REGION).has_credentials:
        return None
    return {"aws_access_key_id": "local", "aws_secret_access_key": "local"}


def _container_variables(
    credentials: Mapping[str, str] | None,
) -> Iterator[tuple[str, str]]:
    """Yield the AWS variables of a container, without those of endpoint URLs."""
    if credentials is not None:
        yield from ((name.upper(), value) for name, value in credentials.items())
    for name, value in os.environ.items():
        if name.startswith("AWS_") and not name.startswith("AWS_ENDPOINT_URL"):
            yield name, value


def _client_variables(
    address: str, region: str, credentials: Mapping[str, str] | None
) -> dict[str, str]:
    """Return the environment variables to set in another terminal."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        **{name.upper(): value for name, value in (credentials or {}).items()},
    }


def _region(context: Context) -> str:
    """Return the region of chandra.toml, or of --region or AWS_REGION without one."""
    if context.config_path.exists():
        return context.config.region or REGION
    return context.region or os.environ.get("AWS_REGION") or REGION


def _name(context: Context) -> str:
    return context.config.name if context.config_path.exists() else "chandra"


COMMAND = Command(
    run=run,
    description="Run an emulator of SageMaker's invocations and transform jobs on this "
    "machine, in front of the real server. Programs reach it through their endpoint "
    "URL.",
    examples=(
        "local --init",
        "local --port 4600 --server http://127.0.0.1:8080",
    ),
    add_arguments=add_arguments,
)
