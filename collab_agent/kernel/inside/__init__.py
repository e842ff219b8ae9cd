"""Code that runs *inside* the user's kernel: sent as text, never imported there, and imported here by tests only.

Each file is whole in itself, needs nothing but the standard library, and is executed in a namespace of its own, so that
no name is left behind in the user's.  Python: 3.9 and newer.
"""
