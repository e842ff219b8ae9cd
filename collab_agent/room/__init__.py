"""The collaboration room: the only importer of pycrdt and jupyter_ydoc (beside collab_agent.testing)."""
