"""SageMaker's data plane on loopback, in front of the real server.

Invocations and transform jobs are answered here; all other requests go on to a
backend, which is moto's server or whatever else speaks AWS's protocols.
"""
