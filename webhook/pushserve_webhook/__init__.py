"""The webhook: GitHub's push events become calls of Register. It holds no state."""
