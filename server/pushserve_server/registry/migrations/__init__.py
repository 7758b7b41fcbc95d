"""Migrations, in order of their numbers; `playhouse.migrations` runs them."""
