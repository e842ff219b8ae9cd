"""Pure notebook logic: no I/O and no third-party imports."""
