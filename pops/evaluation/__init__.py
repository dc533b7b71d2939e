"""Measures of what operators do, on data whose truth is known.

Packages:
    pocket  the pocket benchmark
"""
