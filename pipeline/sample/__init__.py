"""The sample film: a drawn call with the sound of a real conversation."""
