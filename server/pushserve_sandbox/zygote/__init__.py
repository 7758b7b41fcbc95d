"""Zygote: the process that has imported scikit-learn and forks one jailed child a job."""
