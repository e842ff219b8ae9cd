"""The Jupyter server: REST, discovery, and an embedded JupyterLab."""
