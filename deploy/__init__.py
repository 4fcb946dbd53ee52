"""Ships: from an image and weights to a SageMaker endpoint, and back to nothing.

`python -m deploy` and `chandra-sagemaker` are the same. Nothing here serves: the two
halves meet at the image and at the JSON of a reply.
"""
