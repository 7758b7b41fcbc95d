"""The migrations, in order of their numbers; `playhouse.migrations` runs them."""
