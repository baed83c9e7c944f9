"""The interaction model: embeddings, attention, experts, heads and losses."""
