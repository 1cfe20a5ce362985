"""The file API below `storemount.fileio`: from a path or a URI (`session`) to the volume that has it (`volume`), and what is done there.

What it is not: part of a mount. A program that imports it talks to stores by itself (`portal`), with no kernel and no journal.
"""
