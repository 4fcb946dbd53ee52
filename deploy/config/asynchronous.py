"""The table [asynchronous]."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.config.rules import require

__all__ = ["AsynchronousTable"]


@dataclass(frozen=True, slots=True)
class AsynchronousTable:
    """The second endpoint, for documents in S3; made by `async deploy` only."""

    bucket: str | None = None
    """Where documents wait and results come; in the region of the endpoint."""
    prefix: str = "async"
    sources: tuple[str, ...] = ()
    """bucket or bucket/prefix that documents are read from, where they lie already."""
    min_instances: int = 0
    max_instances: int = 2
    backlog_per_instance: int = 5
    """Documents that may wait for each machine before there is another one."""
    concurrency: int | None = None
    """Documents a machine reads at once; None: as many pages as its GPUs hold."""
    timeout_seconds: int = 3600
    """For one document, and the service's own deadline for it."""
    wait_seconds: int = 21_600
    """A document that has waited this long is given up by SageMaker."""
    idle_seconds: int | None = None
    """Machines go after so long without work; None: a little above the timeout."""
    scale_out_seconds: int = 600
    """What a new machine takes to help; until then no further one is asked for."""
    success_topic: str | None = None
    error_topic: str | None = None

    def __post_init__(self) -> None:
        require(
            self.bucket is None or not self.bucket.startswith("s3://"),
            f"asynchronous.bucket is a name without s3://, not {self.bucket}",
        )
        for source in self.sources:
            require(
                not source.startswith("s3://") and bool(source.strip("/")),
                f"asynchronous.sources are bucket or bucket/prefix, not {source}",
            )
        require(
            0 <= self.min_instances <= self.max_instances and self.max_instances >= 1,
            "asynchronous.min_instances must be 0 to max_instances, and that at least "
            f"1, not {self.min_instances} and {self.max_instances}",
        )
        for name, least, most in (
            ("backlog_per_instance", 1, 100_000),
            ("concurrency", 1, 1000),
            ("timeout_seconds", 1, 3600),
            ("wait_seconds", 60, 21_600),
            ("scale_out_seconds", 0, 7200),
        ):
            value = getattr(self, name)
            require(
                value is None or least <= value <= most,
                f"asynchronous.{name} must be {least} to {most}, not {value}",
            )
        # The GPU says so too, so less than the timeout is allowed to whoever asks.
        require(
            300 <= self.idle <= 86_400,
            f"asynchronous.idle_seconds must be 300 to 86400, not {self.idle}",
        )
        for topic in (self.success_topic, self.error_topic):
            require(
                topic is None or topic.startswith("arn:"),
                f"asynchronous.success_topic and error_topic are ARNs, not {topic}",
            )

    @property
    def idle(self) -> int:
        """Seconds, in whole minutes."""
        seconds = self.idle_seconds
        if seconds is None:
            seconds = self.timeout_seconds + 300
        return -(-seconds // 60) * 60
