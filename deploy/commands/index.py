"""List of all commands, in the order in which a newcomer needs them."""

from __future__ import annotations

from deploy.commands.command import Entry, Group

__all__ = ["COMMANDS", "names"]

COMMANDS: tuple[Entry | Group, ...] = (
    Entry("init", "write a commented chandra.toml", "deploy.commands.init"),
    Entry(
        "doctor",
        "check credentials, quotas, role, bucket, image, driver and network",
        "deploy.commands.doctor",
    ),
    Entry(
        "iam",
        "print the minimal roles and policies, or create the roles",
        "deploy.commands.iam",
    ),
    Entry(
        "image",
        "build the image, push it to ECR, and check that SageMaker accepts it",
        "deploy.commands.image.command",
    ),
    Entry(
        "model",
        "upload weights to S3, from a folder or the Hugging Face Hub",
        "deploy.commands.model",
    ),
    Entry(
        "plan",
        "show what deploy would change and cost; needs no credentials",
        "deploy.commands.endpoint.plan",
    ),
    Entry(
        "deploy",
        "create or update the endpoint from chandra.toml (idempotent)",
        "deploy.commands.endpoint.deploy",
    ),
    Entry(
        "invoke",
        "read one document as Markdown, HTML, JSON or an HTML report",
        "deploy.commands.invoke.command",
    ),
    Group(
        "async",
        "read thousands of documents with an asynchronous endpoint that scales to zero",
        "Read thousands of documents through an asynchronous endpoint. Its queue "
        "holds the documents, and its machines scale with the queue, down to zero.",
        (
            Entry(
                "deploy",
                "create or update the asynchronous endpoint and its scaling",
                "deploy.commands.queue.deploy",
            ),
            Entry(
                "submit",
                "submit files, folders, s3:// prefixes or manifests to the queue",
                "deploy.commands.queue.submit",
            ),
            Entry(
                "wait",
                "show progress until every document is read or has failed",
                "deploy.commands.queue.wait",
            ),
            Entry(
                "fetch",
                "write results beside their documents, or into a folder",
                "deploy.commands.queue.fetch",
            ),
        ),
        (
            "async deploy --dry-run",
            "async submit scans/",
        ),
    ),
    Entry(
        "status",
        "show the endpoints, their health, queue and cost, and recent batch jobs",
        "deploy.commands.endpoint.status",
    ),
    Entry(
        "list",
        "list the endpoints in the region and the configs for rollback",
        "deploy.commands.endpoint.list",
    ),
    Entry(
        "logs",
        "show or follow the logs of the containers",
        "deploy.commands.monitoring.logs",
    ),
    Entry(
        "metrics",
        "show latency, requests, errors, GPU, memory and disk",
        "deploy.commands.monitoring.metrics",
    ),
    Entry(
        "update",
        "change settings of the running endpoint with flags",
        "deploy.commands.endpoint.update",
    ),
    Entry(
        "rollback",
        "go back to the endpoint config that was live before",
        "deploy.commands.endpoint.rollback",
    ),
    Entry(
        "stop",
        "delete the endpoint to save its cost; start brings it back",
        "deploy.commands.endpoint.stop",
    ),
    Entry(
        "start",
        "bring a stopped endpoint back with the same config",
        "deploy.commands.endpoint.start",
    ),
    Entry(
        "schedule",
        "start and stop the endpoint at set times (EventBridge Scheduler)",
        "deploy.commands.endpoint.schedule",
    ),
    Entry(
        "alarms",
        "show or create CloudWatch alarms, which also roll back a bad update",
        "deploy.commands.monitoring.alarms",
    ),
    Entry(
        "dashboard",
        "show or create the CloudWatch dashboard",
        "deploy.commands.monitoring.dashboard",
    ),
    Entry(
        "cost",
        "compare the cost of instance types for a workload; makes no AWS call",
        "deploy.commands.cost",
    ),
    Group(
        "transform",
        "read all documents in a bucket with a batch transform job",
        "Read all documents in a bucket with a SageMaker batch transform job. Its "
        "machines run only for the job, and no endpoint is needed.",
        (
            Entry(
                "start",
                "start a job that reads INPUT and writes results to OUTPUT",
                "deploy.commands.batch.start",
            ),
            Entry(
                "status",
                "list the jobs of this deployment, or show one",
                "deploy.commands.batch.status",
            ),
            Entry(
                "wait",
                "show the progress of a job until it has ended",
                "deploy.commands.batch.wait",
            ),
            Entry(
                "stop",
                "stop a job and keep the results that it has written",
                "deploy.commands.batch.stop",
            ),
            Entry(
                "fetch",
                "write the results of jobs under the names of their documents",
                "deploy.commands.batch.fetch",
            ),
            Entry(
                "retry",
                "start a job for the documents of another job that failed",
                "deploy.commands.batch.retry",
            ),
        ),
        (
            "transform start s3://my-bucket/scans/ s3://my-bucket/text/ --dry-run",
            "transform status",
        ),
    ),
    Entry(
        "local",
        "run an emulator of SageMaker on this machine, for tests without AWS",
        "deploy.commands.local",
    ),
    Entry(
        "destroy",
        "delete everything that carries this deployment's tag",
        "deploy.commands.destroy",
    ),
    Entry(
        "completion",
        "print a completion script for bash, zsh or fish",
        "deploy.commands.completion",
    ),
)


def names() -> list[tuple[str, ...]]:
    """Return the words of every command, such as ("async", "submit")."""
    return [
        words
        for command in COMMANDS
        for words in (
            [(command.name, entry.name) for entry in command.entries]
            if isinstance(command, Group)
            else [(command.name,)]
        )
    ]
