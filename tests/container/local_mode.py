"""Deployment in the local mode of the SageMaker Python SDK, which reads a page.

It runs in a Python with `sagemaker[local]`, whose dependencies conflict with those of
the tests, and prints the answer.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import boto3
from sagemaker.deserializers import JSONDeserializer
from sagemaker.local import LocalSession
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import IdentitySerializer


def main(image: str, weights: str, page: str, port: str, scratch: str) -> None:
    # The archive's folder is mounted as /opt/ml/model, so it must hold nothing else.
    archive = Path(scratch, "data", "model.tar.gz")
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for file in sorted(Path(weights).iterdir()):
            tar.add(file, file.name)
    root = Path(scratch, "root")
    root.mkdir()
    session = LocalSession(boto3.Session(region_name="eu-west-1"))
    session.config = {
        "local": {
            "local_code": True,
            "serving_port": int(port),
            "container_root": str(root),
        }
    }
    model = Model(
        image_uri=image,
        model_data=f"file://{archive}",
        role="arn:aws:iam::111111111111:role/none",
        predictor_cls=Predictor,
        # On a busy machine, two torch threads wait for each other.
        env={"CHANDRA_CPU_THREADS": "1", "CHANDRA_MAX_OUTPUT_TOKENS": "40"},
        sagemaker_session=session,
    )
    predictor = model.deploy(
        1,
        "local",
        serializer=IdentitySerializer("image/png"),
        deserializer=JSONDeserializer(),
    )
    try:
        answer = predictor.predict(Path(page).read_bytes())
    finally:
        predictor.delete_endpoint()
    sys.stdout.write(f"\nanswer {json.dumps(answer)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
