"""Commands that the server adds to `pushserve`, each by a function `main`.

The command itself belongs to the client, which imports these by name where they are installed.
"""
