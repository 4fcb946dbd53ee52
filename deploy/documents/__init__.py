"""Documents before and after: what is to be read, and what an answer says of it."""
