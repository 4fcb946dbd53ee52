"""Docker engine: the running one, or one started from Debian's packages.

If no image registry can be reached, a minimal Debian with Python replaces the published
base image. Everything except the packages lies in one folder, and `close` restores the
machine's network.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

__all__ = ["DockerEngine", "explain_missing_engine"]

RAW, BASE = "localhost/raw:test", "localhost/base:test"
TOOLS = "containerd runc tini iptables mmdebstrap docker-registry"
# Packages of the next Debian, whose engine has BuildKit and runs with this C library.
PACKAGES = "docker.io docker-cli docker-buildx docker-compose"
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
BRIDGE = Path("/sys/class/net/docker0")
LIBRARY_PORT, REGISTRY_PORT = 28990, 28991


class DockerEngine:
    """Docker client with its engine; `folder` holds the files of a started engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = dict(os.environ)
        self._started: list[subprocess.Popen[bytes]] = []
        self._undo: list[Callable[[], object]] = []
        self.is_ours = not self._answers_at_all()
        if self.is_ours:
            self._install()
            self._start()

    def __call__(
        self, *arguments: str | Path, check: bool = True, timeout_seconds: float = 600
    ) -> str:
        """Run a docker command and return both of its output streams."""
        result = subprocess.run(
            ["docker", *arguments],
            check=False,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
        )
        if check and result.returncode != 0:
            words = " ".join(map(str, arguments[:3]))
            raise RuntimeError(f"docker {words} failed: {result.stdout[-4000:]}")
        return result.stdout

    def build_base_image(self) -> str:
        """Build a replacement of the published image with Python 3.11."""
        if self("image", "inspect", BASE, check=False).startswith("[\n"):
            return BASE
        tar = self.folder / "base.tar"
        if not tar.is_file():
            _run(
                "mmdebstrap",
                *("--quiet", "--mode=root", "--variant=minbase"),
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--include=ca-certificates,python3.11,python3-pip,python3-venv",
                *("bookworm", str(tar), str(SOURCES)),
                environ=self.environ | {"TMPDIR": str(self.folder)},
            )
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self("import", "--change", f"ENV LANG=C.UTF-8 PATH={path}", tar, RAW)
        # Add a layer with the pip settings of this machine.
        context = self.folder / "base"
        (context / "ca").mkdir(parents=True, exist_ok=True)
        (context / "ca" / "none").touch()
        for file in Path("/usr/local/share/ca-certificates").glob("*.crt"):
            shutil.copy(file, context / "ca")
        (context / "pip.conf").write_text(
            "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n"
            "default-timeout = 180\n"
            f"find-links = http://127.0.0.1:{LIBRARY_PORT}/\n"
        )
        (context / "Dockerfile").write_text(
            f"FROM {RAW}\n"
            "COPY ca/ /usr/local/share/ca-certificates/\n"
            "COPY pip.conf /etc/pip.conf\n"
            "RUN update-ca-certificates; rm -f /usr/lib/python3*/EXTERNALLY-MANAGED\n"
        )
        self("build", "--network", "host", "-t", BASE, context)
        return BASE

    def build(self, context: Path, tag: str, *arguments: str) -> None:
        """Build an image like `make image`, with this machine's packages."""
        base = f"--network host --build-arg BASE_IMAGE={self.build_base_image()}"
        with _Library(self.folder / "library"):
            _run(
                *("make", "-C", str(context), "image", f"IMAGE={tag}"),
                *(f"BUILD_ARGS={base}", *arguments),
                environ=self.environ,
            )

    def start_registry(self) -> str:
        """Start an empty registry on loopback, and return its address."""
        settings = self.folder / "registry.yml"
        settings.write_text(
            "version: 0.1\nlog: {level: warn}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder}/registry}}}}\n"
            f'http: {{addr: "127.0.0.1:{REGISTRY_PORT}"}}\n'
        )
        self._spawn("docker-registry", "serve", str(settings))
        address = f"127.0.0.1:{REGISTRY_PORT}"
        _until(lambda: _answers(f"http://{address}/v2/"))
        return address

    def close(self) -> None:
        """End all started processes, newest first, and undo their changes."""
        if self.is_ours:
            for name in self("ps", "-aq", check=False).split():
                self("rm", "-f", name, check=False)
        for process in reversed(self._started):
            process.terminate()
            process.wait(60)
        for undo in reversed(self._undo):
            undo()

    def _answers_at_all(self) -> bool:
        return _answers_docker(self.environ)

    def _install(self) -> None:
        engine, apt = self.folder / "engine", self.folder / "apt"
        plugins = self.folder / "docker" / "cli-plugins"
        binaries = f"{engine}/usr/sbin:{engine}/usr/bin"
        self.environ |= {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "DOCKER_HOST": f"unix://{self.folder}/docker.sock",
            "DOCKER_CONFIG": str(plugins.parent),
            "DEBIAN_FRONTEND": "noninteractive",
        }
        # Packages must not start services of their own.
        policy = Path("/usr/sbin/policy-rc.d")
        if not policy.exists():
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
            self._undo.append(policy.unlink)
        if any(shutil.which(tool) is None for tool in TOOLS.split()):
            _run("apt-get", "update", "-qq", environ=self.environ)
            _run(
                *("apt-get", "install", "-y", "-qq", "--no-install-recommends"),
                *TOOLS.split(),
                environ=self.environ,
            )
        if (engine / "usr/sbin/dockerd").is_file():
            return
        for name in ("lists/partial", "cache/archives/partial", "sources"):
            (apt / name).mkdir(parents=True, exist_ok=True)
        suites = SOURCES.read_text().replace("bookworm", "trixie")
        (apt / "sources" / "next.sources").write_text(suites)
        options = [
            *("-o", "Dir::Etc::sourcelist=/dev/null"),
            *("-o", f"Dir::Etc::sourceparts={apt}/sources"),
            *("-o", f"Dir::State::lists={apt}/lists"),
            *("-o", f"Dir::Cache={apt}/cache"),
            *("-o", "APT::Sandbox::User=root"),
        ]
        _run("apt-get", *options, "update", "-qq", environ=self.environ)
        _run(
            *("apt-get", *options, "download", "-qq", *PACKAGES.split()),
            environ=self.environ,
            cwd=apt,
        )
        for package in apt.glob("*.deb"):
            _run("dpkg", "-x", str(package), str(engine), environ=self.environ)
        plugins.mkdir(parents=True, exist_ok=True)
        for plugin in (engine / "usr/libexec/docker/cli-plugins").iterdir():
            link = plugins / plugin.name
            link.unlink(missing_ok=True)
            link.symlink_to(plugin)

    def _start(self) -> None:
        if BRIDGE.exists():
            if any(process.name() == "dockerd" for process in psutil.process_iter()):
                raise RuntimeError("an engine runs but does not answer: end it first")
            # A killed engine has left this file.
            subprocess.run(["ip", "link", "del", BRIDGE.name], check=True)
        forward = Path("/proc/sys/net/ipv4/ip_forward")
        before = forward.read_text()
        rules = subprocess.run(
            ["iptables-save"], check=True, capture_output=True, env=self.environ
        ).stdout
        self._undo += [
            lambda: forward.write_text(before),
            lambda: subprocess.run(
                ["iptables-restore"], input=rules, check=False, env=self.environ
            ),
            lambda: subprocess.run(["ip", "link", "del", BRIDGE.name], check=False),
            lambda: subprocess.run(
                ["umount", f"{self.folder}/run/netns/default"],
                check=False,
                capture_output=True,
            ),
        ]
        # Without the capability to raise limits, containers get those of this shell.
        _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._spawn(
            *("dockerd", "--host", self.environ["DOCKER_HOST"]),
            *("--data-root", f"{self.folder}/data"),
            *("--exec-root", f"{self.folder}/run"),
            *("--pidfile", f"{self.folder}/docker.pid"),
            *("--storage-driver", "overlay2", "--ip6tables=false"),
            *("--default-ulimit", f"nofile={files}:{files}"),
            *("--log-level", "warn"),
        )
        _until(self._answers_at_all)

    def _spawn(self, *command: str) -> None:
        log = (self.folder / f"{Path(command[0]).name}.log").open("ab")
        self._started.append(
            subprocess.Popen(
                command,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )
        log.close()


def explain_missing_engine(
    environ: Mapping[str, str] = os.environ,
    user: int | None = None,
    sources: Path = SOURCES,
) -> str | None:
    """Return why this machine can run no engine; None if it can."""
    if _answers_docker(environ):
        return None
    if (os.geteuid() if user is None else user) != 0:
        return "no Docker engine answers, and only root can start one"
    if not sources.is_file() or "bookworm" not in sources.read_text():
        return f"no Docker engine answers, and {sources} names no Debian 12 to get one"
    # Containers need namespaces and mounts.
    namespaces = ["unshare", "--mount", "--net", "--pid", "--fork"]
    tried = subprocess.run(
        [*namespaces, "mount", "-t", "tmpfs", "none", "/mnt"],
        check=False,
        capture_output=True,
        text=True,
    )
    if tried.returncode != 0:
        return f"no Docker engine answers, and none may run: {tried.stderr.strip()}"
    return None


def _answers_docker(environ: Mapping[str, str]) -> bool:
    if shutil.which("docker", path=environ.get("PATH")) is None:
        return False
    result = subprocess.run(
        ["docker", "version"], check=False, env=environ, capture_output=True, text=True
    )
    return "Server:" in result.stdout


class _Library:
    """HTTP server for this machine's folders of wheels, which a build cannot see."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name in _wheel_folders():
            for wheel in name.glob("*.whl"):
                link = folder / wheel.name
                link.unlink(missing_ok=True)
                link.symlink_to(wheel)
        self._command = [
            *(sys.executable, "-m", "http.server", "--bind", "127.0.0.1"),
            *("--directory", str(folder), str(LIBRARY_PORT)),
        ]

    def __enter__(self) -> None:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)
        _until(lambda: _answers(f"http://127.0.0.1:{LIBRARY_PORT}/"))

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()


def _wheel_folders() -> list[Path]:
    pip_links = [os.environ.get("PIP_FIND_LINKS", "")]
    for key in ("global.find-links", "install.find-links"):
        result = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", key],
            check=False,
            capture_output=True,
            text=True,
        )
        pip_links.append(result.stdout if result.returncode == 0 else "")
    names = " ".join(pip_links).split()
    folders = [Path(name.removeprefix("file://")) for name in names]
    return [folder for folder in folders if folder.is_dir()]


def _run(*command: str, environ: dict[str, str], cwd: Path | None = None) -> None:
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environ, cwd=cwd
    )
    if result.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {result.stderr[-4000:]}")


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("a started process is not ready in time: see its log")
        time.sleep(0.2)


if __name__ == "__main__":
    # For scripts: exit with 0 if the tests can run, else with 1 and the reason.
    reason = explain_missing_engine()
    if reason is not None:
        sys.stdout.write(f"{reason}\n")
    sys.exit(reason is not None)
