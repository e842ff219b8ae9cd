"""collab_agent: an AI assistant as a real-time collaboration peer in a JupyterLab notebook."""
