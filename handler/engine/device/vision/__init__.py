"""Qwen3-VL's vision encoder."""
