"""Table [asynchronous] of chandra.toml."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.config.rules import require

__all__ = ["AsynchronousTable"]


@dataclass(frozen=True, slots=True)
class AsynchronousTable:
    """Settings of the asynchronous endpoint, which `async deploy` creates."""

    bucket: str | None = None
    """Bucket for documents and results, in the region of the endpoint."""
    prefix: str = "async"
    sources: tuple[str, ...] = ()
    """Each a bucket or bucket/prefix from which documents are read without a copy."""
    min_instances: int = 0
    max_instances: int = 2
    backlog_per_instance: int = 5
    """Number of waiting documents per machine above which a machine is added."""
    concurrency: int | None = None
    """Documents that a machine reads at once; None: as many pages as its GPUs hold."""
    timeout_seconds: int = 3600
    """Limit for one document, and the service's deadline for it."""
    wait_seconds: int = 21_600
    """Time in the queue after which SageMaker gives a document up."""
    idle_seconds: int | None = None
    """Time without work after which machines are removed; None: a little above the
    timeout."""
    scale_out_seconds: int = 600
    """Time that a new machine takes to start; no other one is added meanwhile."""
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
        # It may be shorter than the timeout: the use of the GPU also shows that a
        # machine is busy.
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
        """Idle time in seconds, rounded up to whole minutes."""
        seconds = self.idle_seconds
        if seconds is None:
            seconds = self.timeout_seconds + 300
        return -(-seconds // 60) * 60
