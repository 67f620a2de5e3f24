"""Contents of the state: read-out of earlier characters, and states that are exchanged."""
