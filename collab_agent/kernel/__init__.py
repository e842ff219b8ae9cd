"""The kernel: the only importer of jupyter_client."""
