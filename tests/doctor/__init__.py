"""The doctor on real servers; ``python -m tests.doctor`` on those that other packages have changed, too."""
