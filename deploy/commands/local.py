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
from deploy.emulator.limits import parse_assumptions
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
    assumed = parse_assumptions(options.assume)
    if options.init and (options.backend or options.empty):
        raise ConfigError(
            "--init is for what is there from the start, which --backend and --empty "
            "leave out",
            hint="chandra-sagemaker init writes a chandra.toml with the defaults",
        )
    region = _region(context)
    name = _name(context)
    if context.is_dry_run:
        where = options.server or "a server of its own for each endpoint and job"
        context.console.result(
            {"port": options.port, "assumed": asdict(assumed)},
            [f"would listen on 127.0.0.1:{options.port} in front of {where}"],
        )
        return 0
    with contextlib.ExitStack() as stack:
        stop = _stop_requests(stack)
        account = None if options.backend else EmulatedAccount()
        if account is not None:
            stack.callback(account.close)
        url = options.backend or (account.address if account else "")
        credentials = _credentials()
        backend = Backend(
            url,
            lambda where, address: AWSClient.connect(
                region=where, endpoint_url=address, credentials=credentials
            ),
            s3_url=options.s3,
        )
        server = options.server or _program(options.weights, credentials)
        try:
            emulator = Emulator(
                backend,
                server=server,
                region=region,
                print_line=context.console.say,
                port=options.port,
                assumptions=assumed,
            )
        except OSError as error:
            raise ConfigError(
                f"port {options.port} cannot be used: {error.strerror}",
                hint="chandra-sagemaker local --port 0 takes one that is free",
            ) from error
        stack.callback(emulator.close)
        made = None
        if account is not None and not options.empty:
            made = create_samples(backend, region, name)
        emulator.start()
        written = options.init and made is not None and _init(context, made, region)
        environ = _to_copy(emulator.address, region, credentials)
        context.console.result(
            {
                "address": emulator.address,
                "backend": url,
                "environment": environ,
                "made": asdict(made) if made else None,
                "wrote": str(context.config_path) if written else None,
            },
            [
                f"SageMaker's data plane: {emulator.address}",
                f"everything else:        {url}",
                *(made.describe() if made else ()),
                *([f"wrote {context.config_path}"] if written else ()),
                "in another terminal, in this folder:",
                "  export " + " ".join(f"{n}={value}" for n, value in environ.items()),
                *(_next(context, made) if made else ()),
                "Ctrl-C ends it, and everything that it has started",
            ],
        )
        stop.wait()
        context.console.say("ending what was started")
    return 0


def _init(context: Context, made: SampleResources, region: str) -> bool:
    """Write chandra.toml unless it exists; return whether it was written."""
    try:
        with context.config_path.open("x") as file:
            file.write(made.format_settings(region))
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            f"{context.config_path} cannot be written: {error.strerror}",
            hint="chandra-sagemaker local --init in a folder of yours",
        ) from error
    return True


def _next(context: Context, made: SampleResources) -> Iterator[str]:
    """Yield the next commands to type."""
    if not context.config_path.exists():
        yield "  (for async and transform, end it and start it with --init)"
        return
    ledger = context.config_path.with_suffix(".ledger.db")
    if ledger.exists():
        yield f"  rm {ledger}*   # of an earlier time, of which nothing is left"
    yield "  chandra-sagemaker async submit FOLDER"
    yield f"  chandra-sagemaker transform start FOLDER s3://{made.bucket}/md/"


def _stop_requests(stack: contextlib.ExitStack) -> threading.Event:
    """Treat SIGTERM like Ctrl-C: both are the usual way to end the emulator."""
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, lambda *_: stop.set())
            stack.callback(signal.signal, number, before)
    return stop


def _program(weights: str, credentials: Mapping[str, str] | None) -> ServerProgram:
    folder = find_server_folder()
    chosen: str | None = None
    if weights == MINI:
        chosen = str(folder / "model-store" / "mini")
    elif weights != DEPLOYED:
        chosen = str(Path(weights).resolve())
    if chosen is not None and not (Path(chosen) / "config.json").is_file():
        raise ConfigError(
            f"{chosen} is no folder of weights",
            hint="--weights takes a folder with a config.json, or mini",
        )
    build_archive(folder)
    return ServerProgram(folder, chosen, dict(_for_containers(credentials)))


def _credentials() -> dict[str, str] | None:
    """Return credentials for moto, which accepts any; None if the user has some."""
    if AWSClient.connect(region=REGION).has_credentials:
        return None
    return {"aws_access_key_id": "local", "aws_secret_access_key": "local"}


def _for_containers(credentials: Mapping[str, str] | None) -> Iterator[tuple[str, str]]:
    if credentials is not None:
        yield from ((name.upper(), value) for name, value in credentials.items())
    for name, value in os.environ.items():
        if name.startswith("AWS_") and not name.startswith("AWS_ENDPOINT_URL"):
            yield name, value


def _to_copy(
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
