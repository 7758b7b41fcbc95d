"""From a model's folder to a bundle: the repository's contract, the gate and the store."""
