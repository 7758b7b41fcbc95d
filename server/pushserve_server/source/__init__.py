"""Sources: Git repositories that the operator allows; their URLs, refs, commits and files.

`rules` decides which URLs are served, `remote` asks where refs point, `fetch` brings one
commit here as a `tree.Tree`, `checkout` writes a folder of it for the sandbox. Nothing of
a repository is ever run, and git reads no configuration but ours.
"""
