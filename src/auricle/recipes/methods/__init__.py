"""One file per published method, in a folder per paradigm: its choices, and nothing else.

Every module registers its recipes when it is imported; `auricle.recipes` imports all of them.
"""
