"""A seeded random machine of humans, agents, edits and cuts in one room, and what must hold whatever happens."""
