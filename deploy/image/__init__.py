"""The container image: which files, which engine, which tag, and is it taken?"""
