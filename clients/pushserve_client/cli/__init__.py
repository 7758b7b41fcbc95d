"""Command `pushserve`: one module for each kind of thing that one does with it.

Modules that hold commands do not import `annotations` from `__future__`: typer evaluates what
is annotated, and under Python 3.9 it loses the `Annotated` of what is left as text.
"""
