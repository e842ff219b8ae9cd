"""Opening and leaving notebooks again and again leaves nothing behind: ``python -m tests.leaks CYCLES``."""
