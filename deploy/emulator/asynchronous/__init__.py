"""Asynchronous endpoints: queues, processing of requests, notifications."""
