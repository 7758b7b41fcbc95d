"""Webhook: GitHub's push events become calls of Register. It holds no state."""
