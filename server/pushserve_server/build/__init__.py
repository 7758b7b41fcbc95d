"""Build: from a model's folder to a bundle; the contract, the build job and the bundle store."""
