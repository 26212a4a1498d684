"""The parameters of all that is computed: the schema of params.yaml, and the runs that it declares."""
