"""One file per published method, in a folder per paradigm: its choices, and nothing else.

A file declares its methods (`registry.Method`) and one function per size. The registry finds it by its source.
"""
