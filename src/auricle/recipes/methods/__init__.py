"""One file per published method: its choices, and nothing else.

Every module of this folder registers its recipes when it is imported; `auricle.recipes` imports all of them.
"""
