"""Deployment of Chandra OCR on Amazon SageMaker, with the command line.

`python -m deploy` and `chandra-sagemaker` are the same program. The package creates,
updates and deletes endpoints, and contains no serving code: it shares with `handler`
only the container image and the JSON of responses.
"""
