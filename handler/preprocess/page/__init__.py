"""Pixels of a page: is there ink, is it dark on light, which way up is it?"""
