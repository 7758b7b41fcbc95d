"""The `pushserve` command: one module for each kind of thing that one does with it."""
