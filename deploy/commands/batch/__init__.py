"""Commands of `transform`: batch transform jobs, from the request to the results."""
