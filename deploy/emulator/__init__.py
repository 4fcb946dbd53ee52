"""Emulator of SageMaker's data plane on the loopback interface, with the real server.

The emulator handles invocations and transform jobs. It forwards all other requests to a
backend: moto's server, or another server that implements AWS's protocols.
"""
