"""Stages of reading one document: fetch, decode, run the engine, convert."""
